"""Layers as kernels take them: one type whatever the units, functions by address, errors of those not asked for."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import EVERY_UNIT, make, slope

import tapcore as tc
from tapcore._base.blocks import run_blocks
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore._base.jit import kernel, scalar
from tapcore._base.threads import split
from tapcore.equations.compiled import compiled
from tapcore.equations.fields import _Third, _third_of_block
from tapcore.equations.layers import empty_state
from tapcore.inference.sweeps.kernels import sweep_block
from tapcore.units import UNITS, Unit
from tapcore.units import sites as units
from tapcore.units.rows import row_third
from tapcore.units.sites import CUMULANTS, DRAW, LOG_Z, MOMENTS, SLAB, THIRD, Sites, can, sites_of

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")


@kernel()
def _everything(sites: Sites, layer: int, B: Any, A: Any, stream: Any, out: Any) -> None:
    units.layer_moments(sites, layer, B, A, out[0], out[1])
    units.layer_log_z(sites, layer, B, A, out[2])
    units.layer_cumulants(sites, layer, B, A, out[3], out[4])
    units.layer_slab(sites, layer, B, A, out[5])
    units.layer_draw(sites, layer, B, A, stream, out[6])


@kernel()
def _third(sites: Sites, mean: Any, out: Any) -> None:
    units.layer_third(sites, 0, mean, out[0], out[1])


ALL = (MOMENTS, LOG_Z, CUMULANTS, SLAB, DRAW)


def everything(sites: Sites, layer: int, B: np.ndarray, A: np.ndarray) -> np.ndarray:
    out, stream = np.full((7, B.size), 7.0, B.dtype), np.arange(1, 5).astype(np.uint64)
    _everything(sites, layer, B, A, stream, out)
    return out


@pytest.mark.nojit
@EVERY_UNIT
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_called_by_address_are_those_of_the_unit(kind: str, dtype: str) -> None:
    unit, other = make(kind).astype(np.dtype(dtype)), tc.Spin(3, U=0.5).astype(np.dtype(dtype))
    B, A = np.linspace(-1, 1, unit.n).astype(dtype), np.linspace(0.1, 0.9, unit.n).astype(dtype)
    sites = sites_of([other, unit], *ALL)
    found = everything(sites, 1, B, A)
    log_z, mean, var = unit.moments(B, A)
    assert_array_equal(found[:3], [mean, var, log_z])
    assert np.isfinite(found).all()
    assert unit.contains(found[6]).all()
    # Nothing of the layer before is mixed in.
    assert_array_equal(found, everything(sites_of([unit], *ALL), 0, B, A))


@pytest.mark.nojit
@EVERY_UNIT
def test_third_order_is_of_types_that_register_it(kind: str) -> None:
    unit = make(kind)
    known = row_third.implementation(unit.site_type) is not None
    assert can(unit, THIRD) == known == (kind in ("Binary", "Spin", "Gaussian"))
    if known:
        mean, out = unit.moments(0.3, 0.2)[1], np.full((2, unit.n), np.nan)
        _third(sites_of([unit], THIRD), mean, out)
        assert_allclose(out[0], slope(lambda h: unit.moments(0.3 + h, 0.2)[2]), rtol=1e-8, atol=1e-10)


class Plain(NamedTuple):
    """Parameters of a layer that has moments and ln Z, and nothing else."""

    U: Any


class PlainLayer:
    names, site_type, columns, widths = ("U",), Plain, 2, None
    parameters: ClassVar[dict[str, Any]] = {"U": np.zeros(2)}

    @property
    def blocks(self) -> tuple[Any, ...]:
        return (self,)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("function", "what"), [(MOMENTS, "moments"), (THIRD, "third order"), (CUMULANTS, "cumulants"), (DRAW, "draws")]
)
def test_what_a_type_does_not_register_is_refused_by_name(function: int, what: str) -> None:
    layers = [tc.Binary(3), PlainLayer()]
    sites = sites_of(layers)
    code = sites.code.copy()
    for refused in (
        lambda: sites.need(SLAB, function),
        lambda: sites_of(layers, function),
        lambda: units.check_can(layers, SLAB, function),
    ):
        with pytest.raises(ValueError, match=rf"^PlainLayer layers have no .*{what}.*: row_\w+ is not .* for Plain$"):
            refused()
    # Before any work.
    assert_array_equal(sites.code, code)
    units.check_can(layers[:1], *range(6))
    assert can(PlainLayer(), SLAB)


def test_a_layer_is_named_by_the_type_that_brings_its_site() -> None:
    class Quiet(tc.TruncatedGaussian):
        pass

    with pytest.raises(ValueError, match=r"^TruncatedGaussian layers have no third order"):
        sites_of([Quiet(2)], THIRD)


@compiled_only
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_that_were_not_asked_for_give_nan_and_an_error(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: errors.append(str(report.exc_value)))
    sites, x = sites_of([tc.Binary(4).astype(dtype)], MOMENTS), np.zeros(4, dtype)
    assert (sites.code != 0).all()
    result = everything(sites, 0, x, x)
    assert np.isfinite(result[:2]).all()
    assert np.isnan(result[2:]).all()
    missing = "row_log_z", "row_cumulants", "row_slab", "row_draw"
    assert [e.split(" was not asked for")[0] for e in errors] == [f"{name} of BinarySite" for name in missing]
    sites.need(*ALL)
    assert np.isfinite(everything(sites, 0, x, x)).all()
    out = np.zeros((2, 4), dtype)
    _third(sites, x, out)
    assert np.isnan(out).all()
    assert len(errors) == 5


@compiled_only
def test_so_they_do_on_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: errors.append(str(report.exc_value)))
    machine = tc.RBM(tc.Binary(4), tc.Spin(3), sigma=0.1, seed=0)
    own = compiled(machine.layers, machine.weights, 2)
    state = empty_state(machine.sizes, 64, 8, np.float64, 3)
    run_blocks(_third_of_block, 8, _Third(own, state.flat, np.array(split(64, 8))))
    assert len(errors) == 2 * 64
    assert all(np.isnan(x).all() for x in state.third)


@pytest.mark.nojit
@pytest.mark.skipif(not JIT_DISABLED, reason="compiled code cannot raise")
def test_functions_that_were_not_asked_for_raise_in_python() -> None:
    sites, x = sites_of([tc.Binary(4)], MOMENTS), np.zeros(4)
    with pytest.raises(RuntimeError, match="row_log_z of BinarySite was not asked for"):
        everything(sites, 0, x, x)
    everything(sites.need(*ALL), 0, x, x)


@compiled_only
def test_a_kernel_compiles_once_for_all_units_and_depths() -> None:
    def solve(visible: Unit, hidden: Unit) -> None:
        machine = tc.RBM(visible, hidden, sigma=0.1, seed=0)
        tc.solve(machine, np.zeros((2, visible.n)))

    solve(tc.Binary(3), tc.Binary(2))
    known = len(sweep_block.compiled)
    solve(tc.Spin(3), tc.Gaussian(2))
    solve(tc.GaussBernoulli(5), tc.Binary(4))
    tc.solve(tc.DBM(tc.Binary(3), tc.Spin(2), tc.Gaussian(2), sigma=0.1, seed=0), np.zeros((2, 3)))
    assert len(sweep_block.compiled) == known


@pytest.mark.nojit
def test_parameters_are_views_and_units_are_copied() -> None:
    unit = tc.TruncatedGaussian(3, U=[1.0, 2.0, 3.0], lo=-1.0, hi=[0.0, 1.0, 2.0])
    sites = sites_of([tc.Binary(2), unit])
    own = sites.parameters(1)
    assert list(own) == ["U", "V", "lo", "hi"]
    for name, array in own.items():
        assert_array_equal(array, unit.parameters[name])
    own["U"] += 1
    assert_array_equal(sites.site(1).U, [2.0, 3.0, 4.0])
    assert_array_equal(unit.U, [1.0, 2.0, 3.0])


def test_a_site_must_have_the_units_parameters_in_order() -> None:
    class Swapped(NamedTuple):
        V: Any
        U: Any

    with pytest.raises(TypeError, match="in this order"):
        type("Odd", (tc.Gaussian,), {"site_type": Swapped})
    assert "Odd" not in UNITS


@compiled_only
def test_helpers_can_be_called_from_python() -> None:
    @scalar
    def add(x: Any, y: Any) -> Any:
        return x + y

    @kernel()
    def twice(x: Any) -> Any:
        return add(x, x)

    for _ in range(2):
        assert add(1.5, 2) == 3.5
        assert twice(1.5) == 3.0
        assert add(1, 2) == 3
