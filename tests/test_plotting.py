"""Figures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import random_rbm

from tapcore import plotting
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


def test_history_is_written_as_png(tmp_path: Path) -> None:
    records = History([EpochRecord(e, 0.1, -0.5 / e, -3.0, 1e-5, 0, 0, 0.2) for e in (1, 2, 3)])
    plotting.history(tmp_path / "h.png", records)
    assert Image.imread(tmp_path / "h.png").shape[0] > 400
    with pytest.raises(ValueError, match="at least one epoch"):
        plotting.history(tmp_path / "h2.png", History())
