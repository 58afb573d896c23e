"""Layers as kernels take them: one type whatever the units, functions by address, NaN for those not asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from unit_cases import EVERY_UNIT, make

import tapcore as tc
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore._base.jit import kernel, scalar
from tapcore.inference.sweeps.kernels import sweep_block
from tapcore.units import UNITS, Unit
from tapcore.units import sites as units
from tapcore.units.sites import LOG_Z, MOMENTS, Sites, sites_of

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")


@kernel()
def _everything(sites: Sites, layer: int, B: Any, A: Any, stream: Any, out: Any) -> None:
    units.layer_moments(sites, layer, B, A, out[0], out[1])
    units.layer_log_z(sites, layer, B, A, out[2])
    units.layer_third(sites, layer, B, out[3], out[4])
    units.layer_cumulants(sites, layer, B, A, out[5], out[6])
    units.layer_slab(sites, layer, B, A, out[7])
    units.layer_draw(sites, layer, B, A, stream, out[8])


def everything(sites: Sites, layer: int, B: np.ndarray, A: np.ndarray) -> np.ndarray:
    out, stream = np.full((9, B.size), 7.0, B.dtype), np.arange(1, 5).astype(np.uint64)
    _everything(sites, layer, B, A, stream, out)
    return out


@pytest.mark.nojit
@EVERY_UNIT
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_called_by_address_are_those_of_the_unit(kind: str, dtype: str) -> None:
    unit, other = make(kind).astype(np.dtype(dtype)), tc.Spin(3, U=0.5).astype(np.dtype(dtype))
    B, A = np.linspace(-1, 1, unit.n).astype(dtype), np.linspace(0.1, 0.9, unit.n).astype(dtype)
    sites = sites_of([other, unit], *range(6))
    found = everything(sites, 1, B, A)
    log_z, mean, var = unit.moments(B, A)
    assert_array_equal(found[:3], [mean, var, log_z])
    assert np.isfinite(found).all()
    assert unit.contains(found[8]).all()
    # Nothing of the layer before is mixed in.
    assert_array_equal(found, everything(sites_of([unit], *range(6)), 0, B, A))


@compiled_only
def test_functions_that_were_not_asked_for_give_nan() -> None:
    unit = tc.Binary(4)
    sites = sites_of([unit], MOMENTS)
    found = everything(sites, 0, np.zeros(4), np.zeros(4))
    assert np.isfinite(found[:2]).all()
    assert np.isnan(found[2:]).all()
    sites.need(LOG_Z)
    assert np.isfinite(everything(sites, 0, np.zeros(4), np.zeros(4))[:3]).all()


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
