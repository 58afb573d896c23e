"""Machines: construction, what they refuse, and that they never change."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_array_equal

import tapcore as tc

pytestmark = pytest.mark.nojit


def deep() -> tc.Machine:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(4, 3)), rng.normal(size=(3, 2))]
    return tc.Machine([tc.Binary(4, U=0.5), tc.Spin(3), tc.Binary(2, U=[0.1, 0.2])], weights)


def test_layers_and_weights_are_kept() -> None:
    W = np.arange(6.0).reshape(3, 2)
    machine = tc.RBM(tc.Binary(3, U=[1, 2, 3]), tc.Spin(2), weights=W)
    assert machine.sizes == (3, 2)
    assert machine.layers == (tc.Binary(3, U=[1, 2, 3]), tc.Spin(2))
    assert_array_equal(machine.weights[0], W)
    assert machine.dtype == np.float64


def test_deep_machine() -> None:
    machine = deep()
    assert machine.sizes == (4, 3, 2)
    assert [W.shape for W in machine.weights] == [(4, 3), (3, 2)]
    assert [type(layer).__name__ for layer in machine.layers] == ["Binary", "Spin", "Binary"]


@pytest.mark.parametrize("weights", [[[1, 0], [2, 3]], np.asfortranarray([[1, 0], [2, 3]]), np.array([[1, 0], [2, 3]])])
def test_any_real_weights_become_c_ordered_floats(weights: Any) -> None:
    (W,) = tc.RBM(tc.Binary(2), tc.Binary(2), weights=weights).weights
    assert_array_equal(W, [[1.0, 0.0], [2.0, 3.0]])
    assert W.dtype == np.float64
    assert W.flags.c_contiguous


def test_equal_seeds_draw_equal_weights() -> None:
    first, again, other = (tc.RBM(tc.Binary(5), tc.Binary(4), seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert (first.weights[0] != other.weights[0]).all()


@pytest.mark.parametrize("sigma", [1e-3, 0.5])
def test_weights_are_drawn_with_the_given_width(sigma: float) -> None:
    (W,) = tc.RBM(tc.Binary(80), tc.Binary(50), sigma=sigma, seed=1).weights
    assert abs(W.mean()) < 5 * sigma / np.sqrt(W.size)
    assert abs(W.std() / sigma - 1) < 5 / np.sqrt(2 * W.size)
    assert abs((W**4).mean() / sigma**4 - 3) < 5 * np.sqrt(96 / W.size)  # Gaussian, not another law of this width


def test_width_by_default_and_none() -> None:
    same = tc.RBM(tc.Binary(8), tc.Binary(5), sigma=1e-3, seed=1)
    assert tc.RBM(tc.Binary(8), tc.Binary(5), seed=1) == same
    assert not tc.RBM(tc.Binary(8), tc.Binary(5), sigma=0).weights[0].any()


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_float32_machine(dtype: Any) -> None:
    machine = tc.RBM(tc.Binary(3, U=0.1), tc.Spin(2), weights=np.full((3, 2), 0.1), dtype=dtype)
    assert machine.dtype == machine.weights[0].dtype == np.float32
    assert all(layer.dtype == np.float32 for layer in machine.layers)
    assert machine.replace(dtype="float64").layers[0].U[0] == np.float64(np.float32(0.1))


@pytest.mark.parametrize("dtype", ["float16", "int64", "longdouble", "wide", 3, object])
def test_other_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"^dtype must be one of 'float64', 'float32'"):
        tc.RBM(tc.Binary(3), tc.Binary(2), dtype=dtype)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((2, 3)), "weights[0] must have shape (3, 2), got (2, 3): give its transpose"),
        (np.zeros(6), "weights[0] must have shape (3, 2), got (6,)"),
        (0.0, "weights[0] must have shape (3, 2), got ()"),
        ([[0, 0], [0, np.nan], [np.inf, 0]], "weights[0] must be finite: weights[0][1, 1] is nan"),
        ([[0, 0], [0, 0], [-np.inf, 0]], "weights[0] must be finite: weights[0][2, 0] is -inf"),
        (np.zeros((3, 2), complex), "weights[0] must hold real numbers, got dtype complex128"),
        ([["a", "b"]] * 3, "weights[0] must hold real numbers"),
        ([[0, 0], [0]], "weights[0] must be a rectangular array of numbers"),
    ],
)
def test_bad_weights_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tc.RBM(tc.Binary(3), tc.Binary(2), weights=weights)


def test_the_weights_at_fault_are_named() -> None:
    W = [np.zeros((4, 3)), np.zeros((3, 2))]
    layers = [tc.Binary(4), tc.Binary(3), tc.Binary(2)]
    W[1][2, 0] = np.nan
    with pytest.raises(ValueError, match=re.escape("weights[1] must be finite: weights[1][2, 0] is nan")):
        tc.Machine(layers, W)
    with pytest.raises(ValueError, match=re.escape("weights[1] must have shape (3, 2), got (2, 3)")):
        tc.Machine(layers, [W[0], W[1].T])


@pytest.mark.parametrize("layers", [[], [tc.Binary(3)], [tc.Binary(3), 2], [tc.Binary(3), tc.Spin]])
def test_a_machine_needs_two_layers_of_units(layers: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"^layers must be at least two units"):
        tc.Machine(layers, [np.zeros((3, 2))])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_machine_needs_weights_for_each_pair_of_layers(count: int) -> None:
    with pytest.raises(ValueError, match=f"^weights must hold 2 matrices, one per pair of layers, got {count}"):
        tc.Machine([tc.Binary(2)] * 3, [np.zeros((2, 2))] * count)


def test_rbm_names_the_layer_at_fault() -> None:
    with pytest.raises(ValueError, match=r"^visible must be a layer of units such as .*, got 784"):
        tc.RBM(784, tc.Binary(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^hidden must be a layer of units"):
        tc.RBM(tc.Binary(2), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [-1e-9, np.nan, np.inf, "1", None, True])
def test_bad_widths_are_refused(sigma: Any) -> None:
    with pytest.raises(ValueError, match=r"^sigma must be"):
        tc.RBM(tc.Binary(3), tc.Binary(2), sigma=sigma)


def test_nothing_in_a_machine_can_be_changed() -> None:
    machine = deep()
    for name in ("layers", "weights", "dtype", "sizes", "more"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(machine, name, ())
    for W in machine.weights:
        with pytest.raises(ValueError, match="read-only"):
            W[0, 0] = 1.0
    assert isinstance(machine.layers, tuple)
    assert isinstance(machine.weights, tuple)


def test_weights_passed_in_are_copied() -> None:
    W = np.zeros((3, 2))
    machine = tc.RBM(tc.Binary(3), tc.Binary(2), weights=W)
    W[0, 0] = 5.0
    assert not machine.weights[0].any()


def test_replace() -> None:
    machine = deep()
    assert machine.replace() == machine
    halved = machine.replace(weights=[W / 2 for W in machine.weights])
    assert halved.layers == machine.layers
    assert_array_equal(halved.weights[1], machine.weights[1] / 2)
    layers = (tc.Binary(4), tc.Binary(3), tc.Binary(2))
    changed = machine.replace(layers=layers)
    assert changed.layers == layers
    assert_array_equal(changed.weights[0], machine.weights[0])
    assert machine.replace(dtype="float32").weights[1].dtype == np.float32
    assert machine == deep()
    with pytest.raises(ValueError, match=re.escape("weights[0] must have shape (9, 3)")):
        machine.replace(layers=(tc.Binary(9), *layers[1:]))


def test_equality() -> None:
    machine = random_rbm(0)
    nudged = machine.weights[0].copy()
    nudged[6, 4] *= 1 + 1e-15
    assert machine == random_rbm(0)
    assert machine != random_rbm(1)
    assert machine != machine.replace(weights=[nudged])
    assert machine != machine.replace(dtype="float32")
    assert machine != machine.replace(layers=(machine.layers[0], tc.Binary(5)))
    assert machine != deep()
    assert machine != "machine"
    with pytest.raises(TypeError, match="unhashable"):
        hash(machine)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pickle(dtype: str) -> None:
    for machine in (deep().replace(dtype=dtype), random_rbm(3).replace(dtype=dtype)):
        again = pickle.loads(pickle.dumps(machine))
        assert again == machine
        assert again.dtype == machine.dtype
        with pytest.raises(ValueError, match="read-only"):
            again.weights[0][0, 0] = 1.0


def test_repr_shows_the_layers() -> None:
    assert repr(deep()) == "Machine(Binary(4, U=0.5), Spin(3, U=0), Binary(2, U=<0.1 to 0.2>), dtype='float64')"


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_copies_are_as_immutable_as_the_machine(copied: Callable[[tc.Machine], tc.Machine], dtype: str) -> None:
    machine = copied(random_rbm(0).replace(dtype=dtype))
    assert machine == random_rbm(0).replace(dtype=dtype)
    assert not machine.weights[0].flags.writeable
    for layer in machine.layers:
        assert not layer.U.flags.writeable
    with pytest.raises(AttributeError, match="immutable"):
        del machine.dtype
    with pytest.raises(AttributeError, match="immutable"):
        machine.layers[0].n = 3
    with pytest.raises(AttributeError, match="immutable"):
        del machine.layers[0].parameters


def test_values_too_large_for_float32_are_refused() -> None:
    W = np.zeros((3, 2))
    W[2, 1] = 1e300
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite in float32: weights\[0\]\[2, 1\] is inf"):
        tc.RBM(tc.Binary(3), tc.Binary(2), weights=W, dtype="float32")
    with pytest.raises(ValueError, match=r"layers\[1\]\.U must be finite in float32: layers\[1\]\.U\[0\] is -inf"):
        tc.RBM(tc.Binary(3), tc.Binary(2, U=[-1e300, 0]), dtype="float32")


@pytest.mark.parametrize(
    "call",
    [
        lambda m: tc.solve(m, np.zeros((1, 3))),
        lambda m: tc.fit(m, np.zeros((1, 3)), epochs=1),
        lambda m: tc.gradient(m, np.zeros((1, 3)), None),
        lambda m: tc.log_likelihood(m, np.zeros((1, 3)), 0.0),
        lambda m: tc.free_energy(m, [], []),
        lambda m: tc.save("nowhere", m),
    ],
)
def test_what_is_no_machine_is_refused(call: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"machine must be a tapcore\.Machine, got Binary"):
        call(tc.Binary(3))


@pytest.mark.parametrize("seed", [1.5, -1, "1"])
def test_seed_of_the_weights_is_an_integer(seed: Any) -> None:
    with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
        tc.RBM(tc.Binary(3), tc.Binary(2), seed=seed)


def test_one_matrix_is_no_sequence_of_matrices() -> None:
    with pytest.raises(ValueError, match="weights must be a sequence of matrices"):
        tc.Machine((tc.Binary(3), tc.Binary(2)), np.zeros((3, 2)))
