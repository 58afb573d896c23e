"""Data held out: scored as the data are, never trained on, and known again when a run is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore.storage import format as file_format
from tapcore.training import history as history_module
from tapcore.training.held_out import held_out

RNG = np.random.default_rng(0)
X = (RNG.random((60, 1)) < 0.5) ^ (RNG.random((60, 6)) < 0.2)
V = (RNG.random((40, 1)) < 0.5) ^ (RNG.random((40, 6)) < 0.2)
RBM = tc.RBM(tc.Binary(6), tc.Binary(4), sigma=0.3, seed=1)
DEEP = tc.DBM(tc.Binary(6), tc.Binary(4), tc.Binary(3), sigma=0.3, seed=1)
HOW: dict[str, Any] = {"epochs": 3, "batch_size": 15, "chains": 8, "learning_rate": 0.1, "dtype": "float64"}


def gaps(record: tc.EpochRecord, machine: tc.Machine, rows: np.ndarray) -> tuple[float, float]:
    """The held-out score as recorded, and from the machine and the recorded F."""
    expected = tc.log_likelihood(machine, rows, record.free_energy).mean() / sum(machine.sizes)
    return record.validation, float(expected)


def test_rows_are_scored_by_the_same_free_energy_and_change_nothing_else() -> None:
    found, plain = tc.fit(RBM, X, validation=V, **HOW), tc.fit(RBM, X, **HOW)
    assert found.machine == plain.machine
    assert found.history.log_likelihood.tolist() == plain.history.log_likelihood.tolist()
    assert_allclose(*gaps(found.history[-1], found.machine, V), rtol=1e-12)
    assert np.isnan(plain.history.validation).all()
    assert found.history.validation.shape == (3,)


def test_real_valued_rows_are_scored_in_the_coordinates_of_the_data() -> None:
    grey, held = RNG.normal(30.0, 0.2, (60, 6)), RNG.normal(30.0, 0.2, (40, 6))
    machine, history = tc.fit(tc.RBM(tc.Gaussian(6), tc.Binary(4), seed=1), grey, validation=held, **HOW)
    assert_allclose(*gaps(history[-1], machine, held), rtol=1e-6)
    assert history.log_likelihood[-1] > history.validation[-1] > 0  # densities of a narrow law


def test_pairs_of_layers_have_no_score() -> None:
    machine, history = tc.fit(DEEP, X, validation=V, pretrain=1, **HOW)
    assert np.isnan(history.validation).tolist() == [True, True, False, False, False]
    assert_allclose(*gaps(history[-1], machine, V), rtol=1e-5)  # clamped solutions are sought to 1e-4


def test_a_share_is_taken_out_of_what_is_trained_on() -> None:
    rest, held = held_out(np.arange(60.0)[:, None], 0.3, tc.Gaussian(1), seed=0)
    assert held is not None
    assert sorted([*rest[:, 0], *held.rows[:, 0]]) == list(range(60))
    assert len(held.rows) == 18
    assert (np.diff(rest[:, 0]) > 0).all()
    which = np.isin(np.arange(60), held.rows[:, 0])
    found, expected = tc.fit(RBM, X, validation=0.3, **HOW), tc.fit(RBM, X[~which], validation=X[which], **HOW)
    assert found.machine == expected.machine
    assert_allclose(found.history.validation, expected.history.validation, rtol=1e-13)
    _, other = held_out(np.arange(60.0)[:, None], 0.3, tc.Gaussian(1), seed=1)
    assert other is not None
    assert set(other.rows[:, 0]) != set(held.rows[:, 0])


@pytest.mark.parametrize(("share", "count"), [(1e-9, 1), (0.5, 2), (1 - 1e-9, 2)])
def test_a_share_holds_out_one_at_least_and_not_all(share: float, count: int) -> None:
    rest, held = held_out(np.zeros((3, 6)), share, tc.Binary(6), 0)
    assert held is not None
    assert (len(held.rows), len(rest)) == (count, 3 - count)


def test_no_more_rows_are_scored_than_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "SCORED", 10)
    _, held = held_out(X, np.arange(40.0)[:, None], tc.Gaussian(1), 0)
    assert held is not None
    assert len(set(held.rows[:, 0])) == 10


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (0, r"validation must be samples, or a share of those in X above 0 and below 1, got 0$"),
        (1.0, "validation must be samples, or a share"),
        (True, "validation must be samples, or a share of those in X above 0 and below 1, got True"),
        (float("nan"), "validation must be samples, or a share"),
        ("half", "validation must be samples, or a share of those in X above 0 and below 1, got 'half'"),
        (V[:, :5], "validation must have 6 columns, one per unit, got 5"),
        (V[:0], "validation must have at least one row"),
        (V[0], "validation must have two axes"),
        (V * 2, r"validation .*: validation\[\d+, \d+\] is 2"),
    ],
)
def test_what_is_no_held_out_data_is_refused(validation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tc.Training(RBM, X, tc.Settings(epochs=1), validation=validation)
    with pytest.raises(ValueError, match="validation cannot be a share of X, which has one row only"):
        tc.Training(RBM, X[:1], tc.Settings(epochs=1), validation=0.5)


@pytest.mark.parametrize(("then", "now"), [(V, None), (None, V), (V, V[1:]), (0.3, 0.2), (0.3, None), (None, 0.3)])
def test_a_resumed_run_has_the_same_rows_held_out(then: Any, now: Any, tmp_path: Path) -> None:
    tc.fit(RBM, X, validation=then, checkpoint=tmp_path, **HOW | {"epochs": 1})
    with pytest.raises(ValueError, match=r"resume: validation contradicts .*: other rows were held out, or none"):
        tc.fit(RBM, X, validation=now, checkpoint=tmp_path, resume=True, **HOW)
    found = tc.fit(RBM, X, validation=then, checkpoint=tmp_path, resume=True, **HOW)
    expected = tc.fit(RBM, X, validation=then, **HOW)
    assert found.machine == expected.machine
    assert found.history.validation.tobytes() == expected.history.validation.tobytes()


def test_runs_begun_before_there_were_held_out_data_are_gone_on_with(tmp_path: Path) -> None:
    tc.fit(RBM, X, checkpoint=tmp_path, **HOW | {"epochs": 1})
    path = tmp_path / "epoch-0001.safetensors"
    header, tensors = file_format.read(path)
    assert "validation" not in header["settings"]
    assert "patience" not in header["settings"]
    file_format.write(path, header, tensors | {"history": tensors["history"][:, :-1].copy()})
    found, expected = tc.fit(RBM, X, checkpoint=tmp_path, resume=True, **HOW), tc.fit(RBM, X, **HOW)
    assert found.machine == expected.machine
    assert [r._replace(seconds=0) for r in found.history] == [r._replace(seconds=0) for r in expected.history]
