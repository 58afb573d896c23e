"""Figures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import all_solutions, memories, random_rbm

import tapcore as tc
from tapcore import plotting
from tapcore.landscape.tracking import Tracker
from tapcore.training.history import EpochRecord, History

Image = pytest.importorskip("matplotlib.image", reason="figures need matplotlib")


def test_mosaic_shows_each_column_as_an_image() -> None:
    W = np.arange(24.0).reshape(6, 4)
    canvas = plotting.mosaic(W, (2, 3))
    assert canvas.shape == (5, 7)
    np.testing.assert_array_equal(canvas[:2, :3], W[:, 0].reshape(2, 3))
    np.testing.assert_array_equal(canvas[3:, 4:], W[:, 3].reshape(2, 3))
    assert np.isnan(canvas[2]).all()
    assert np.isnan(canvas[:, 3]).all()


@pytest.mark.parametrize(("hidden", "columns"), [(1, 1), (2, 2), (5, 3), (100, 10)])
def test_mosaic_is_nearly_square(hidden: int, columns: int) -> None:
    canvas = plotting.mosaic(np.ones((16, hidden)), (4, 4))
    assert canvas.shape[1] == 5 * columns - 1
    assert np.nansum(canvas) == 16 * hidden


@pytest.mark.parametrize("shape", [(2, 3), None])
def test_receptive_fields_are_written_as_png(tmp_path: Path, shape: tuple[int, int] | None) -> None:
    plotting.receptive_fields(tmp_path / "w.png", random_rbm(0, sizes=(6, 4)), shape)
    picture = Image.imread(tmp_path / "w.png")
    colours = picture[..., :3].reshape(-1, 3)
    # Both red and blue are there: weights of both signs.
    assert (colours[:, 0] > colours[:, 2] + 0.3).any()
    assert (colours[:, 2] > colours[:, 0] + 0.3).any()


def test_zero_weights_are_no_problem(tmp_path: Path) -> None:
    machine = random_rbm(0, sizes=(6, 4))
    plotting.receptive_fields(tmp_path / "w.png", machine.replace(weights=(np.zeros((6, 4)),)), (2, 3))
    assert (tmp_path / "w.png").exists()


def test_image_shape_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_shape must have 6 pixels"):
        plotting.receptive_fields(tmp_path / "w.png", random_rbm(0, sizes=(6, 4)), (2, 2))
    assert not list(tmp_path.iterdir())


def test_history_draws_data_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    plot, drawn = Axes.plot, []
    monkeypatch.setattr(
        Axes, "plot", lambda self, *args, **how: (drawn.append((*args, how["label"])), plot(self, *args, **how))[1]
    )
    records = [EpochRecord(e, 0.1, -0.5 / e, -3.0, 1e-5, 0, 0, 0.2) for e in (1, 2, 3)]
    plotting.history(tmp_path / "without.png", History(records))
    assert "held out" not in {label for *_, label in drawn}
    # The first is of a pair of layers, which has no score.
    held = [records[0]._replace(stage=1), *(r._replace(validation=-0.6 / r.epoch) for r in records[1:])]
    plotting.history(tmp_path / "with.png", History(held))
    epochs, scores = next((x, y) for x, y, label in drawn if label == "held out")
    assert (epochs.tolist(), scores.tolist()) == ([2, 3], [-0.3, -0.6 / 3])
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_history_is_written_as_png(tmp_path: Path) -> None:
    records = History([EpochRecord(e, 0.1, -0.5 / e, -3.0, 1e-5, 0, 0, 0.2) for e in (1, 2, 3)])
    plotting.history(tmp_path / "h.png", records)
    assert Image.imread(tmp_path / "h.png").shape[0] > 400
    with pytest.raises(ValueError, match="at least one epoch"):
        plotting.history(tmp_path / "h2.png", History())


def solutions(count: int) -> tc.Solutions:
    """Well-spread solutions of a random machine."""
    machine = random_rbm(0, sizes=(12, 6))
    found = tc.solve(machine, np.random.default_rng(0).random((count, 12)), max_sweeps=1)
    found.free_energy[:] = np.random.default_rng(1).normal(-5, 1, count)
    return found


def drawn(path: Path) -> bool:
    """Whether a PNG is there and not blank."""
    return bool(np.ptp(Image.imread(path)) > 0.5)


@pytest.mark.parametrize("energies", [[-3.0], [-3.0, -3.0, -3.0], [-3.0, -2.9], [-3.0, -2.0, -1.0, -1.1]])
def test_free_energies_of_any_number_of_solutions_are_drawn(tmp_path: Path, energies: list[float]) -> None:
    found = solutions(len(energies))
    found.free_energy[:] = energies
    plotting.free_energies(tmp_path / "f.png", found)
    assert drawn(tmp_path / "f.png")
    plotting.free_energies(tmp_path / "g.png", {"epoch 1": found, "epoch 2": solutions(30)})
    assert drawn(tmp_path / "g.png")


def test_density_is_that_of_the_values() -> None:
    values, grid = np.random.default_rng(0).normal(2.0, 0.5, 2000), np.linspace(-2, 6, 801)
    curve = plotting.density(values, grid)
    assert curve is not None
    np.testing.assert_allclose(curve.sum() * 0.01, 1, atol=1e-3)
    np.testing.assert_allclose(grid[curve.argmax()], 2, atol=0.15)
    assert plotting.density(np.full(5, 1.0), grid) is None


def test_embeddings_keep_neighbours_together(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="Isomap is scikit-learn's")
    found = solutions(40)
    line = np.linspace(0, 1, 40)
    found.mean[0][:] = 0.5 + 0.4 * np.cos(np.outer(line, np.arange(1, 13)))
    alone, nothing = plotting.embed(found, neighbours=4)
    assert nothing is None
    assert alone.shape == (40, 2)
    steps = np.diff(alone[:, 0])
    assert (steps > 0).all() or (steps < 0).all()
    placed, data = plotting.embed(found, found.mean[0], neighbours=4)
    assert data is not None
    np.testing.assert_allclose(placed, data, atol=0.1)
    plotting.embedding(tmp_path / "a.png", found)
    plotting.embedding(tmp_path / "b.png", found, found.mean[0], labels=np.arange(40) % 3)
    assert drawn(tmp_path / "a.png")
    assert drawn(tmp_path / "b.png")


@pytest.mark.filterwarnings("error")
def test_separate_clusters_and_few_points_embed_quietly() -> None:
    pytest.importorskip("sklearn", reason="Isomap is scikit-learn's")
    found = solutions(20)
    found.mean[0][:10], found.mean[0][10:] = np.random.default_rng(0).random((2, 10, 12)) * 0.1
    found.mean[0][10:] += 0.8
    assert np.isfinite(plotting.embed(found, neighbours=3)[0]).all()
    assert plotting.embed(solutions(3))[0].shape == (3, 2)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    found = solutions(5)
    with pytest.raises(ValueError, match="at least 3 points"):
        plotting.embed(found[:2])
    with pytest.raises(ValueError, match="X"):
        plotting.embed(found, np.zeros((5, 3)))
    with pytest.raises(ValueError, match="labels"):
        plotting.embedding(tmp_path / "x.png", found, np.random.default_rng(0).random((9, 12)), labels=[1, 2])
    with pytest.raises(ValueError, match="neighbours"):
        plotting.embed(found, neighbours=0)
    found.free_energy[:] = np.nan
    with pytest.raises(ValueError, match="free energy"):
        plotting.free_energies(tmp_path / "x.png", found)
    with pytest.raises(ValueError, match="epoch"):
        plotting.solutions_over_training(tmp_path / "x.png", Tracker(np.zeros((2, 2))))
    assert not (tmp_path / "x.png").exists()


def test_rows_of_images_show_everything(tmp_path: Path) -> None:
    path = tmp_path / "rows.png"
    seen = np.eye(28).reshape(1, -1).repeat(12, axis=0)
    hidden = seen.copy()
    hidden[:, :392] = np.nan
    names = ["seen", "half", *(f"50{n} hidden units, noisy starts" for n in range(6))]
    plotting.rows_of_images(path, {name: hidden if name == "half" else seen for name in names}, (28, 28))
    picture = Image.imread(path)[..., :3]
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 1).all()  # no label is cut
    dark, white = (picture == 0).all(axis=-1), (picture == 1).all(axis=-1)
    assert dark.sum() > 50_000
    assert white.sum() > 50_000
    coloured = np.ptp(picture, axis=-1) > 0.2
    assert 0.04 < coloured.mean() < 0.08  # half of one row in eight, and the margins
    for rows, shape, message in (({}, (28, 28), "at least one row"), ({"seen": seen}, (27, 28), "seen must have 756")):
        with pytest.raises(ValueError, match=message):
            plotting.rows_of_images(path, rows, shape)


@pytest.mark.filterwarnings("error")
def test_images_of_nothing_are_drawn_quietly(tmp_path: Path) -> None:
    nothing, something = np.full((3, 4), np.nan), np.arange(12.0).reshape(3, 4)
    for i, rows in enumerate(({"a": nothing}, {"a": nothing, "b": nothing}, {"a": nothing, "b": something})):
        plotting.rows_of_images(tmp_path / f"{i}.png", rows, (2, 2))
        assert drawn(tmp_path / f"{i}.png")
    plotting.images(tmp_path / "images.png", nothing, (2, 2))
    assert (tmp_path / "images.png").exists()


def test_embeddings_refuse_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match=r"^X must be finite: X\[1, 0\] is nan$"):
        plotting.embed(solutions(5), np.array([[0.0] * 12, [np.nan] * 12, [1.0] * 12]))


def test_pictures_of_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows must be a mapping"):
        plotting.rows_of_images(tmp_path / "x.png", [[]], (2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"solutions must be tapcore\.Solutions, or a mapping to them, got list"):
        plotting.free_energies(tmp_path / "x.png", [])  # type: ignore[arg-type]


def test_trees_and_disconnectivity_graphs_are_written_as_png(tmp_path: Path) -> None:
    machine = memories()
    solutions = all_solutions(machine)
    tree, graph = tc.solution_tree(machine, solutions), tc.barriers(machine, solutions)
    plain, coloured = tmp_path / "plain.png", tmp_path / "coloured.png"
    for draw, drawn, count in (
        (plotting.tree, tree, len(solutions)), (plotting.disconnectivity, graph, len(graph.minima)),
    ):  # fmt: skip
        draw(plain, drawn)  # type: ignore[operator]
        draw(coloured, drawn, image_shape=(4, 6), labels=["a", None, *["b"] * (count - 2)], colors={"b": "#ff0000"})  # type: ignore[operator]
        pictures = [Image.imread(path)[..., :3] for path in (plain, coloured)]
        # Without labels there is no colour.
        assert [bool((np.ptp(picture, axis=-1) > 0.5).any()) for picture in pictures] == [False, True]
        with pytest.raises(ValueError, match="image_shape must have 24 pixels"):
            draw(plain, drawn, image_shape=(5, 5))  # type: ignore[operator]
        with pytest.raises(ValueError, match="labels must be"):
            draw(plain, drawn, labels=["a"])  # type: ignore[operator]
