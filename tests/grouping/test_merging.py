"""Merging: which chains are at the same solution, at once and in a stream, against a loop over all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tapcore.grouping import splitting
from tapcore.grouping.merging import Gathered, merge, merging_distance
from tapcore.grouping.rows import rows_in
from tapcore.grouping.tree import empty_tree

Means = tuple[np.ndarray, ...]


def naive_merge(values: np.ndarray, order: list[int], tol: float) -> tuple[list[int], list[int]]:
    """Leaders and labels of the rows in `order`, all pairs compared; -1 for other rows."""
    leaders: list[int] = []
    labels = [-1] * len(values)
    for row in order:
        gaps = [float(np.abs(values[row] - values[leader]).max()) for leader in leaders]
        near = min(range(len(gaps)), key=gaps.__getitem__, default=-1)
        if near < 0 or gaps[near] > tol:
            near = len(leaders)
            leaders.append(row)
        labels[row] = near
    return leaders, labels


class NaiveGathered:
    """The stream, one row after the other: labels of a batch by the solutions before it, then by its own."""

    def __init__(self, tol: float) -> None:
        self.tol = tol
        self.values: list[np.ndarray] = []
        self.distance: list[float] = []
        self.counts: list[int] = []

    def add(self, values: np.ndarray, distance: np.ndarray) -> list[int]:
        order = [int(k) for k in np.argsort(distance)]
        labels = [-1] * len(values)
        for row in order:
            gaps = [float(np.abs(values[row] - known).max()) for known in self.values]
            near = min(range(len(gaps)), key=gaps.__getitem__, default=-1)
            if near >= 0 and gaps[near] <= self.tol:
                labels[row] = near
        leaders, groups = naive_merge(values, [k for k in order if labels[k] < 0], self.tol)
        labels = [
            len(self.values) + group if group >= 0 else label for group, label in zip(groups, labels, strict=True)
        ]
        self.values += [values[k] for k in leaders]
        self.distance += [float(distance[k]) for k in leaders]
        self.counts += [0] * len(leaders)
        for row, label in enumerate(labels):
            self.counts[label] += 1
            if distance[row] < self.distance[label]:
                self.values[label], self.distance[label] = values[row], float(distance[row])
        return labels


def layers_of(values: np.ndarray, cut: int = 3) -> Means:
    return values[:, :cut].copy(), values[:, cut:].copy()


def different(rng: np.random.Generator, count: int) -> np.ndarray:
    """Distances of which no two are equal."""
    return np.asarray(rng.permutation(count) + 1) * 1e-9


def clouds(kind: str, count: int, rng: np.random.Generator, width: int = 9) -> np.ndarray:
    """Rows of many kinds, about 1 wide."""
    if kind == "uniform":
        return rng.random((count, width))
    if kind == "lattice":
        return rng.integers(0, 3, (count, width)) / 2.0
    if kind == "curve":
        return np.asarray(np.sort(rng.random((count, 1)), axis=0) * rng.normal(size=width) + rng.normal(size=width))
    if kind == "sparse":
        values = np.tile(rng.normal(size=width), (count, 1))
        values[np.arange(count), rng.integers(0, width, count)] += rng.choice([0.0, 0.5, 1.0], count)
        return values
    assert kind == "copies"
    centers = rng.random((max(count // 10, 1), width))
    return np.asarray(centers[rng.integers(0, len(centers), count)] + rng.normal(0.0, 1e-9, (count, width)))


KINDS = ("uniform", "lattice", "curve", "sparse", "copies")
TOLERANCES = (0.0, 1e-8, 1e-3, 0.03, 0.25, 0.5, 1.0, 100.0)
some = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "count": st.integers(0, 50),
        "width": st.integers(2, 12),
        "tol": st.sampled_from(TOLERANCES),
        "dtype": st.sampled_from(["float64", "float32"]),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def drawn(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(case["seed"])
    values = clouds(case["kind"], case["count"], rng, case["width"]).astype(case["dtype"])
    return values, different(rng, case["count"]), rng


@pytest.mark.nojit
@settings(max_examples=200)
@given(some)
def test_merging_is_that_of_all_pairs(case: dict[str, Any]) -> None:
    values, distance, _ = drawn(case)
    leaders, labels = merge(layers_of(values, 1), distance, case["tol"])
    # Differences of float32 numbers are not rounded to float32.
    wanted = naive_merge(values.astype(np.float64), np.argsort(distance).tolist(), case["tol"])
    assert_array_equal(leaders, wanted[0])
    assert_array_equal(labels, wanted[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tol", TOLERANCES)
@pytest.mark.parametrize("width", [9, 150])
def test_merging_of_many_rows_is_that_of_all_pairs(kind: str, tol: float, width: int) -> None:
    rng = np.random.default_rng(5)
    values, distance = clouds(kind, 700, rng, width), different(rng, 700)
    leaders, labels = merge(layers_of(values, 5), distance, tol)
    wanted = naive_merge(values, np.argsort(distance).tolist(), tol)
    assert_array_equal(leaders, wanted[0])
    assert_array_equal(labels, wanted[1])


@pytest.mark.nojit
@given(some, st.booleans())
def test_merging_does_not_depend_on_the_order_of_rows(case: dict[str, Any], ties: bool) -> None:
    values, distance, rng = drawn(case)
    if ties:
        distance = rng.choice([0.0, 1e-9, np.inf], len(distance))
    order = rng.permutation(len(values))
    leaders, labels = merge(layers_of(values), distance, case["tol"])
    again, moved = merge(layers_of(values[order]), distance[order], case["tol"])
    assert_array_equal(values[leaders], values[order][again])
    assert_array_equal(labels[order], moved)


@pytest.mark.nojit
def test_rows_are_one_or_all_their_own() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 40):
        leaders, labels = merge(layers_of(np.full((count, 5), 0.3)), np.zeros(count), 0.0)
        assert len(leaders) == 1
        assert_array_equal(labels, np.zeros(count))
        leaders, labels = merge(layers_of(rng.random((count, 5))), np.zeros(count), 0.0)
        assert_array_equal(np.sort(leaders), np.arange(count))
        assert_array_equal(leaders[labels], np.arange(count))


@pytest.mark.nojit
def test_zeros_of_either_sign_are_equal() -> None:
    leaders, labels = merge((np.array([[0.0, -0.0], [-0.0, 0.0]]),), np.zeros(2), 0.0)
    assert len(leaders) == 1
    assert_array_equal(labels, [0, 0])


@pytest.mark.nojit
def test_a_difference_of_exactly_the_tolerance_is_within_it() -> None:
    for dtype in (np.float64, np.float32):
        values = np.arange(40, dtype=dtype)[:, None] * np.ones(3, dtype)
        assert len(merge((values,), np.zeros(40), np.nextafter(1.0, 0.0))[0]) == 40
        leaders, labels = merge((values,), np.arange(40.0), 1.0)
        assert_array_equal(leaders, np.arange(0, 40, 2))
        assert_array_equal(labels, np.arange(40) // 2)


@pytest.mark.nojit
def test_the_earlier_of_two_leaders_as_near_wins() -> None:
    values = np.array([[1.0], [-1.0], [0.0], [5.0]])
    assert_array_equal(merge((values,), np.array([1.0, 2.0, 3.0, 0.0]), 1.0)[1], [1, 2, 1, 0])
    assert_array_equal(merge((values,), np.array([2.0, 1.0, 3.0, 0.0]), 1.0)[1], [2, 1, 1, 0])


@pytest.mark.nojit
def test_rows_that_are_not_numbers_are_in_no_group() -> None:
    values = np.array([[0.0, 0.0], [np.nan, 0.0], [0.0, np.inf], [0.0, 0.0], [0.0, -np.inf], [0.0, 0.0]])
    leaders, labels = merge(layers_of(values, 1), np.array([2.0, 0.0, 0.0, np.nan, 0.0, 1.0]), 1.0)
    assert_array_equal(leaders, [5])
    assert_array_equal(labels, [0, -1, -1, -1, -1, 0])


@pytest.mark.nojit
def test_rows_of_any_memory_are_left_as_they_are() -> None:
    values = np.asfortranarray(np.random.default_rng(1).integers(0, 2, (30, 4)) / 1.0)
    fixed = values.copy()
    fixed.setflags(write=False)
    means = (values, fixed, fixed.astype(np.float32))
    labels = merge(means, np.arange(30.0), 0.0)[1]
    assert_array_equal(labels, naive_merge(fixed, list(range(30)), 0.0)[1])


def test_rare_rows_are_told_apart_among_many_copies() -> None:
    """A sample of the rows would show copies only."""
    values = np.full((20_000, 30), 0.5)
    values[::97, 7] += np.arange(len(values[::97])) * 0.01
    leaders, _ = merge(layers_of(values), np.zeros(len(values)), 1e-6)
    assert len(leaders) == len(values[::97])
    tree = empty_tree(2 * len(values) + 1, 30)
    layers = layers_of(values)
    used = splitting.grow(rows_in(layers), np.arange(len(values)), tree, 0, 1, 1e-6)
    assert used > len(leaders) / 8


def test_rows_that_differ_in_few_columns_are_parted_evenly() -> None:
    rng = np.random.default_rng(2)
    values = np.tile(rng.random(884), (5000, 1))
    for _ in range(3):
        values[np.arange(5000), rng.integers(0, 884, 5000)] += 0.5
    tree = empty_tree(10_001, 884)
    layers = layers_of(values)
    used = splitting.grow(rows_in(layers), np.arange(5000), tree, 0, 1, 1e-4)
    depth = tree.depth[:used][tree.column[:used] < 0]
    assert depth.max() < 40
    assert len(merge(layers_of(values), np.zeros(5000), 1e-4)[0]) == len(np.unique(values, axis=0))


@pytest.mark.nojit
def test_merging_distance_follows_from_convergence() -> None:
    distance = np.array([1e-7, 3e-7, np.inf])
    assert merging_distance(distance, np.float64) == pytest.approx(3e-5, rel=1e-15)
    assert merging_distance(distance * 1e-6, np.float64) == 2.0**-26
    assert merging_distance(distance, np.float32) == np.sqrt(np.finfo(np.float32).eps)
    assert merging_distance(distance * 1e5, np.float64) == 0.01
    assert merging_distance(np.array([]), np.float64) == 2.0**-26


# The stream


def batches_of(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    cuts = np.sort(rng.integers(0, count + 1, rng.integers(0, 6)))
    return np.split(np.arange(count), cuts)


def check_findable(store: Gathered) -> None:
    """Every solution is found where it is."""
    if len(store) == 0:
        return
    others = {name: x.copy() for name, x in store.kept.items()}
    means, counts = tuple(m.copy() for m in store.means), store.counts.copy()
    labels = store.add(means, np.full(len(counts), np.inf), **others)
    assert_array_equal(labels, np.arange(len(counts)))
    assert_array_equal(store.counts, counts + 1)
    for a, b in zip(store.means, means, strict=True):
        assert_array_equal(a, b)


@pytest.mark.nojit
@settings(max_examples=200)
@given(some)
@example({"kind": "uniform", "count": 50, "width": 2, "tol": 0.25, "dtype": "float64", "seed": 0})
def test_a_stream_is_that_of_all_pairs(case: dict[str, Any]) -> None:
    values, distance, rng = drawn(case)
    store = Gathered((1, case["width"] - 1), case["dtype"], case["tol"])
    naive = NaiveGathered(case["tol"])
    for rows in batches_of(len(values), rng):
        labels = store.add(layers_of(values[rows], 1), distance[rows], row=rows)
        assert_array_equal(labels, naive.add(values[rows].astype(np.float64), distance[rows]))
        assert_array_equal(store.counts, naive.counts)
        assert_array_equal(store.distance, naive.distance)
        assert_array_equal(np.concatenate(store.means, axis=1), np.reshape(naive.values, (-1, case["width"])))
        assert_array_equal(values[store.kept["row"]], np.concatenate(store.means, axis=1))
    check_findable(store)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tol", TOLERANCES[1:6])
def test_a_long_stream_is_that_of_all_pairs(kind: str, tol: float) -> None:
    rng = np.random.default_rng(6)
    values, distance = clouds(kind, 900, rng, 20), different(rng, 900)
    store, naive = Gathered((3, 17), np.float64, tol), NaiveGathered(tol)
    for rows in np.array_split(np.arange(900), 30):
        labels = store.add(layers_of(values[rows]), distance[rows])
        assert_array_equal(labels, naive.add(values[rows], distance[rows]))
    assert_array_equal(np.concatenate(store.means, axis=1), naive.values)
    check_findable(store)


@pytest.mark.nojit
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.01]), st.booleans())
def test_a_stream_of_solutions_well_apart_is_merging_at_once(seed: int, tol: float, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    solutions = np.unique(rng.integers(0, 3, (12, 4)), axis=0) * 2.01 * tol
    which = rng.integers(0, len(solutions), 40)
    values = solutions[which] + rng.uniform(-0.5, 0.5, (40, 4)) * tol
    distance = np.full(40, 1e-9) if ties else different(rng, 40)
    leaders, at_once = merge(layers_of(values), distance, tol)
    store = Gathered((3, 1), np.float64, tol)
    labels = np.concatenate(
        [store.add(layers_of(values[rows]), distance[rows], row=rows) for rows in batches_of(40, rng)]
    )
    assert len(store) == len(leaders) == len(np.unique(which))
    assert_array_equal(store.kept["row"][labels], leaders[at_once])
    assert_array_equal(store.counts[labels], np.bincount(at_once)[at_once])


@pytest.mark.nojit
def test_a_tighter_chain_stands_for_its_solution_from_then_on() -> None:
    """Solutions wander far from where they were first seen, and are found where they are only."""
    store = Gathered((1,), np.float64, 1.0)
    values, numbers = np.arange(50.0)[:, None] * 2.5, np.arange(50)
    store.add((values,), 10.0 + numbers, sweeps=numbers)
    for step in range(1, 20):
        moved = values + 0.9 * step
        assert_array_equal(store.add((moved,), np.full(50, 1.0 / step), sweeps=numbers + step), numbers)
        assert_array_equal(store.means[0], moved)
        assert_array_equal(store.kept["sweeps"], numbers + step)
        assert_array_equal(store.counts, np.full(50, step + 1))
        assert_array_equal(store.add((moved - 0.9,), np.full(50, 20.0), sweeps=numbers), numbers)
        check_findable(store)
        store._columns["the count"][:50] -= 2
    assert_array_equal(np.sort(store.add((values[:7],), numbers[:7] + 1.0, sweeps=numbers[:7])), numbers[:7] + 50)


@pytest.mark.nojit
def test_an_empty_store() -> None:
    store = Gathered((2, 1), np.float32, 0.1)
    assert len(store) == 0
    assert store.kept == {}
    labels = store.add((np.zeros((0, 2)), np.zeros((0, 1))), np.zeros(0), energy=np.zeros(0))
    assert_array_equal(labels, np.zeros(0))
    labels = store.add((np.full((2, 2), np.nan), np.zeros((2, 1))), np.zeros(2), energy=np.zeros(2))
    assert_array_equal(labels, [-1, -1])
    assert [m.shape for m in store.means] == [(0, 2), (0, 1)]
    assert store.means[0].dtype == np.float32
    assert store.kept["energy"].shape == store.counts.shape == store.distance.shape == (0,)


@pytest.mark.nojit
def test_a_store_refuses_what_does_not_fit() -> None:
    store = Gathered((2,), np.float64, 0.1)
    store.add((np.zeros((3, 2)),), np.zeros(3), energy=np.zeros(3))
    with pytest.raises(ValueError, match=r"^means must be of layers \(2,\), got layers \(1,\)"):
        store.add((np.zeros((3, 1)),), np.zeros(3), energy=np.zeros(3))
    with pytest.raises(ValueError, match=r"as many rows of everything, got \[2, 3\]"):
        store.add((np.zeros((3, 2)),), np.zeros(2), energy=np.zeros(3))
    with pytest.raises(ValueError, match=r"^what is kept must stay \['energy'\], got \[\]"):
        store.add((np.zeros((3, 2)),), np.zeros(3))
    with pytest.raises(ValueError, match=r"^tol must be at least 0"):
        Gathered((2,), np.float64, -1.0)


def test_a_stream_that_drifts_makes_its_tree_anew() -> None:
    """Each new solution is beyond the last: splitting leaf by leaf alone would make a chain of nodes."""
    store = Gathered((2,), np.float64, 0.1)
    built = set()
    for t in range(4000):
        assert store.add((np.array([[t, -t]]) * 1.0,), np.zeros(1)) == t
        built.add(store._built)
    assert len(built) > 3
    assert store._tree.size.max() < 200
    check_findable(store)


def test_memory_of_a_stream_grows_with_its_solutions_only() -> None:
    rng = np.random.default_rng(7)
    solutions = rng.random((50, 40))
    store = Gathered((3, 37), np.float64, 1e-4)
    sizes = set()
    for _ in range(40):
        values = solutions[rng.integers(0, 50, 500)] + rng.normal(0.0, 1e-8, (500, 40))
        store.add(layers_of(values), rng.random(500))
        sizes.add((len(store._place), len(store._tree.column)))
    assert len(store) == 50
    assert store.counts.sum() == 20_000
    assert len(sizes) == 1
