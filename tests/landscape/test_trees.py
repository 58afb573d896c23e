"""Trees of solutions, along training and along temperatures, and the files that are made of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import all_solutions, memories, random_rbm, starts
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.landscape.itol import COLORS, leaf_labels, read_annotations, write_tree
from tapcore.storage import format as file_format


def stored() -> tuple[tc.Machine, tc.Solutions]:
    machine = memories()
    return machine, all_solutions(machine)


def read_newick(text: str) -> dict[str, tuple[str, float]]:
    """Parent, and length, of each named node."""
    found: dict[str, tuple[str, float]] = {}
    waiting: list[list[tuple[str, float]]] = [[]]
    for token in re.findall(r"[(),;]|[^(),;]+", text.strip()):
        if token == "(":
            waiting.append([])
        elif token == ")":
            inner = waiting.pop()
            waiting[-1].append(("", 0.0))
            closed = inner
        elif token not in ",;":
            name, _, length = token.partition(":")
            if waiting[-1] and waiting[-1][-1][0] == "":
                waiting[-1].pop()
                found |= {child: (name, far) for child, far in closed}
            waiting[-1].append((name, float(length or 0)))
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A run on three noisy patterns, and its data."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(3, size=300)
    X = (rng.random((3, 16)) < 0.5)[kinds] ^ (rng.random((300, 16)) < 0.05)
    folder = tmp_path_factory.mktemp("run")
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(8), seed=0)
    tc.fit(machine, X, epochs=40, pinning=0.0, learning_rate=0.1, checkpoint=folder, progress=False)
    return folder, X


def test_leaves_are_the_solutions_and_all_come_from_one_without_couplings() -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions)
    assert tree.solutions is solutions
    assert tree.joined
    assert tree.along == "beta"
    assert_array_equal(tree.position[: len(solutions)], 1.0)
    assert (tree.position[len(solutions) :] < 1).all()
    assert sorted(tree.leaves_below()[-1]) == list(range(len(solutions)))
    assert tree.parent[-1] == -1
    # A node is above those below it, and before them in temperature.
    for node, above in enumerate(tree.parent[:-1]):
        assert above > node
        assert tree.position[above] <= tree.position[node]


def test_nodes_are_solutions_of_the_machine_at_their_temperature() -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions, tol=1e-9)
    for node in range(len(solutions), len(tree)):
        there = tc.solve(machine.at(tree.position[node]), tree.mean[[node]], tol=1e-9)
        assert_allclose(there.mean[0][0], tree.mean[node], atol=1e-5)
        assert_allclose(there.free_energy[0], tree.free_energy[node], atol=1e-8)


def test_two_are_one_where_their_chains_meet() -> None:
    # A ferromagnet has one solution up to a coupling at which the one at 0 is marginal.
    machine = tc.RBM(tc.Spin(6), tc.Spin(5), weights=np.full((6, 5), 0.3))
    found = tc.solve(machine, np.array([[0.9], [-0.9]]) * np.ones(6), tol=1e-10)

    def lowest(beta: float) -> float:
        at = machine.at(beta)
        return float(tc.curvatures(at, tc.solve(at, np.zeros((1, 6))))[0, 0])

    betas = np.linspace(0.5, 0.995, 100)
    critical = max(beta for beta in betas if lowest(beta) > 0)
    tree = tc.solution_tree(machine, found, betas=betas, tol=1e-9, merge=1e-4)
    assert len(tree) == 3
    assert abs(tree.position[2] - critical) < 0.006


def test_a_run_gives_a_tree_along_its_epochs(run: tuple[Path, np.ndarray]) -> None:
    folder, X = run
    solutions = tc.harvest(tc.load(folder), X, progress=False)
    assert len(solutions) >= 3
    tree = tc.solution_tree(folder, solutions)
    assert tree.along == "epoch"
    assert_array_equal(tree.position[: len(solutions)], 40)
    assert tree.joined  # an untrained machine has one solution
    assert 0 < tree.position[-1] < 40
    for node in range(len(solutions), len(tree)):
        machine = tc.load(folder / f"epoch-{int(tree.position[node]):04d}.safetensors")
        assert_allclose(tc.solve(machine, tree.mean[[node]]).mean[0][0], tree.mean[node], atol=1e-4)


def test_what_is_not_joined_hangs_from_a_root_that_is_no_solution() -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions, betas=[0.99])
    assert not tree.joined
    assert np.isnan(tree.free_energy[-1])
    assert_allclose(tree.mean[-1], tree.mean[tree.children[-1]].mean(axis=0))


def test_lost_chains_hang_from_the_root() -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions, max_sweeps=1)
    assert not tree.joined
    assert_array_equal(tree.parent[:-1], len(tree) - 1)


def test_newick_holds_every_node_and_branch() -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions)
    found = read_newick(tree.newick())
    assert found.keys() == set(tree.names[:-1])
    for node, above in enumerate(tree.parent[:-1]):
        parent, length = found[tree.names[node]]
        assert parent == tree.names[above]
        assert length == pytest.approx(abs(tree.position[node] - tree.position[above]), abs=1e-8)
    assert tree.newick().endswith(f"{tree.names[-1]};")


def by_biopython(text: str) -> set[str]:
    phylo = pytest.importorskip("Bio.Phylo", reason="reads Newick")
    return {leaf.name for leaf in phylo.read(io.StringIO(text), "newick").get_terminals()}


def by_dendropy(text: str) -> set[str]:
    dendropy = pytest.importorskip("dendropy", reason="reads Newick")
    return {node.taxon.label for node in dendropy.Tree.get(data=text, schema="newick").leaf_node_iter()}


@pytest.mark.parametrize("read", [by_biopython, by_dendropy])
def test_independent_readers_find_a_leaf_a_solution(read: Callable[[str], set[str]]) -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions)
    assert read(tree.newick()) == set(tree.names[: len(solutions)])


def test_a_single_solution_is_a_tree() -> None:
    machine = random_rbm(0, "binary", "binary", sizes=(5, 4), sigma=0.1)
    one = tc.solve(machine, starts(machine, 3)).unique()
    tree = tc.solution_tree(machine, one)
    assert tree.newick() == "S0;"
    assert tree.joined


@pytest.mark.parametrize(
    ("betas", "said"),
    [([1.0], "below 1"), ([-0.1], "at least 0"), ([[0.5]], "a row of numbers"), ([], "a row of numbers")],
)
def test_betas_are_checked(betas: Any, said: str) -> None:
    machine, solutions = stored()
    with pytest.raises(ValueError, match=said):
        tc.solution_tree(machine, solutions, betas=betas)


def test_runs_are_checked(run: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    _, solutions = stored()
    with pytest.raises(ValueError, match="solutions must be solutions of layers"):
        tc.solution_tree(run[0], solutions)
    with pytest.raises(ValueError, match="betas are of a machine"):
        tc.solution_tree(run[0], solutions, betas=[0.5])
    with pytest.raises(ValueError, match="a tree needs checkpoints"):
        tc.solution_tree(tmp_path, solutions)


def test_a_machine_at_an_inverse_temperature_has_couplings_times_it() -> None:
    machine = random_rbm(0, "binary", "gaussian", sizes=(5, 4)).replace(dtype="float32")
    assert machine.at(1) == machine
    half = machine.at(0.5)
    assert_array_equal(half.weights[0], machine.weights[0] / 2)
    assert (half.layers, half.dtype) == (machine.layers, machine.dtype)
    assert not machine.at(0).weights[0].any()
    for beta in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="beta must be"):
            machine.at(beta)
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite"):
        machine.at(1e39)


def test_annotations_are_read(tmp_path: Path) -> None:
    table, colors = tmp_path / "a.csv", tmp_path / "c.csv"
    table.write_text("Name,digit,hand\n0,10,left\n1,2,-1\n2,,right\n", encoding="utf-8")
    colors.write_text("Legend,Label,Color\nhand,right,#00ff00\nfoot,left,#ff0000\n", encoding="utf-8")
    labels, chosen = read_annotations(table, colors)
    assert labels["digit"] == {"0": "10", "1": "2", "2": ""}
    assert chosen["digit"] == {"2": COLORS[0], "10": COLORS[1]}  # numbers in their order
    assert chosen["hand"] == {"right": "#00ff00", "left": COLORS[0]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "must have a column Name"),
        ("Name\n1\n", "at least one more"),
        ("Name,x\n1\n", "line 2: 1 entries for 2 columns"),
        ("Name,x\n1,a\n1,b\n", "line 3: there is a second row for '1'"),
        ("Name,x,x\n1,a,b\n", "two columns have the same name"),
        ("", "got nothing"),
        ('Name,x\n1,"a\tb"\n', "line 2: entries must not contain tabs"),
    ],
)
def test_wrong_annotations_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_annotations(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("Legend,Label\n", "must have columns Legend, Label and Color"),
     ("Legend,Label,Color\nx,a,red\n", "line 2: a colour must be of the form #rrggbb, got 'red'")],
)  # fmt: skip
def test_wrong_colors_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_text("Name,x\n1,a\n", encoding="utf-8")
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_annotations(tmp_path / "a.csv", tmp_path / "c.csv")


def test_every_label_has_a_colour_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for count in (10, 37):
        path.write_text("Name,x\n" + "".join(f"{k},label {k}\n" for k in range(count)), encoding="utf-8")
        colors = list(read_annotations(path).colors["x"].values())
        assert len(set(colors)) == count
        assert all(re.fullmatch("#[0-9a-fA-F]{6}", color) for color in colors)


def test_leaves_have_the_most_frequent_label_of_what_reaches_them() -> None:
    labels = {"0": "a", "1": "b", "2": "b", "3": "", "4": "-1"}
    reached = np.array([0, 0, 0, 1, 1, -1, 2])
    names = ["0", "1", "2", "3", "4", "0", "unknown"]
    assert leaf_labels(labels, names, reached, 4) == ["b", None, None, None]


def test_a_tree_is_written(tmp_path: Path) -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions)
    labels: list[str | None] = ["x", None, *["y"] * (len(solutions) - 2)]
    written = write_tree(tmp_path / "out", tree, {"kind": labels}, {"kind": {"x": "#123456"}})
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    assert (tmp_path / "out" / "tree.nwk").read_text() == tree.newick() + "\n"
    with (tmp_path / "out" / "nodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == tree.names
    assert [float(row["beta"]) for row in rows] == pytest.approx(list(tree.position))
    assert [int(row["leaves"]) for row in rows] == [len(below) for below in tree.leaves_below()]
    assert [row["kind"] for row in rows[: len(solutions)]] == [label or "" for label in labels]
    with (tmp_path / "out" / "features.csv").open() as file:
        features = np.array([row[1:] for row in list(csv.reader(file))[1:]], float)
    assert_allclose(features, tree.mean, atol=1e-8)
    header, tensors = file_format.read(tmp_path / "out" / "features.safetensors")
    assert header["names"] == tree.names
    assert_array_equal(tensors["mean"], tree.mean)
    strip = (tmp_path / "out" / "itol-kind.txt").read_text().splitlines()
    assert strip[:3] == ["DATASET_COLORSTRIP", "SEPARATOR TAB", "DATASET_LABEL\tkind"]
    assert "LEGEND_LABELS\tx\ty" in strip
    data = strip[strip.index("DATA") + 1 :]
    assert data[0] == "S0\t#123456\tx"
    assert len(data) == len(solutions) - 1
    names = (tmp_path / "out" / "itol-kind-labels.txt").read_text().splitlines()
    assert names[:4] == ["LABELS", "SEPARATOR TAB", "DATA", "S0\tx"]


def test_labels_must_fit_the_tree(tmp_path: Path) -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions)
    with pytest.raises(ValueError, match="one a leaf"):
        write_tree(tmp_path, tree, {"kind": ["x"]})
    with pytest.raises(ValueError, match="a legend's name"):
        write_tree(tmp_path, tree, {"../kind": ["x"] * len(solutions)})


@pytest.mark.parametrize("legends", [("kind", "kind-labels"), ("leaves",), ("beta",), ("name",)])
def test_legends_that_would_have_one_file_or_column_are_refused(legends: tuple[str, ...], tmp_path: Path) -> None:
    machine, solutions = stored()
    labels = {legend: ["x"] * len(solutions) for legend in legends}
    with pytest.raises(ValueError, match=r"a legend cannot be called|legends 'kind' and 'kind-labels'"):
        write_tree(tmp_path / "out", tc.solution_tree(machine, solutions), labels)
    assert not (tmp_path / "out").exists()


def test_strips_of_another_tree_do_not_stay(tmp_path: Path) -> None:
    machine, solutions = stored()
    tree = tc.solution_tree(machine, solutions)
    write_tree(tmp_path, tree, {"kind": ["x"] * len(solutions)})
    written = write_tree(tmp_path, tree)
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}


def test_leaves_must_have_converged() -> None:
    machine, _ = stored()
    some = tc.solve(machine, machine.layers[0].random_means(4, np.random.default_rng(0)), max_sweeps=1, tol=1e-12)
    with pytest.raises(ValueError, match=r"solutions must have converged, .*: chain 0 has not"):
        tc.solution_tree(machine, some)
