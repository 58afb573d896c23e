"""What training records of each epoch, and how it is measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from tapcore.evaluation.likelihood import unchecked_log_likelihood
from tapcore.evaluation.pseudo_likelihood import pseudo_log_likelihood
from tapcore.inference.solve import solve
from tapcore.machine import Machine

# Samples scored after each epoch.
SCORED = 10_000
# Close enough for F, which is stationary at a solution: its error is of the order of the square of the distance.
SCORING_TOL = 1e-4
SCORING_SWEEPS = 300
# Held-out samples whose pseudo-likelihood is taken, where it is.
PSEUDO = 1000


class EpochRecord(NamedTuple):
    """One epoch of training.

    Attributes
    ----------
    epoch, learning_rate, log_likelihood, free_energy, residual, unconverged, lost, seconds, stage, validation,
    acceptance, rungs, pseudo
        Numbers: a row of the columns of `History`, which says what they are.
    """

    epoch: int
    learning_rate: float
    log_likelihood: float
    free_energy: float
    residual: float
    unconverged: int
    lost: int
    seconds: float
    stage: int = 0
    validation: float = math.nan
    acceptance: float = math.nan
    rungs: int = 0
    pseudo: float = math.nan


class History(Sequence[EpochRecord]):
    """Records of the epochs trained so far.

    ``history[-1]`` is the last epoch's record, ``history.log_likelihood`` the column of all epochs.

    After each epoch the machine, with `patience` its average over the last batches (see `fit`), is scored on a sample
    drawn once from the training data by the seed: `SCORED` = 10,000 rows, or all of them if there are fewer. TAP
    solutions are sought from the first K = `chains` of these rows, damping adapting, until they are within 1e-4 of a
    solution by estimate or have taken 300 sweeps.

    Parameters
    ----------
    records : sequence of EpochRecord
        Those to begin with.

    Attributes
    ----------
    epoch : (n,) int64 array
        From 1.
    learning_rate : (n,) array
    log_likelihood : (n,) array
        TAP log-likelihood (Eq. 38) in nats, averaged over the sample and divided by the number of units of all layers.
        F in it is the average over all K chains but lost ones, whether converged or not. An estimate and no bound: the
        longer a machine is trained, the further it drifts from the exact value, by the paper's recipe first to above
        it, by default below it where hidden units are few; `tapcore.ais` or `exact.log_likelihood` tell by how much.
    free_energy : (n,) array
        That average of F, in nats.
    residual : (n,) array
        Largest residual of these chains in their last sweep.
    unconverged : (n,) int64 array
        How many of the K chains did not converge, lost ones among them.
    lost : (n,) int64 array
        How many chains were lost in the epoch's batches and in scoring: TAP had made the precision of an unbounded unit
        negative, so that its weight could not be normalised. Averages leave them out. 0 for layers of other units.
    seconds : (n,) array
        Wall time of the epoch's updates and of scoring it, without writing checkpoints.
    stage : (n,) int64 array
        Of a deep machine, which hidden layer was trained with the one below as an RBM; 0 where all layers were trained.
        The other columns are of what was trained: that RBM, scored on what the layers below make of the sample.
    validation : (n,) array
        As `log_likelihood`, of held-out rows: at most `SCORED` of them, drawn once by the seed, with the same F, so
        that ``log_likelihood - validation`` is the free-energy gap between the two. NaN without held-out rows, and
        where single pairs of layers of a deep machine were trained.
    acceptance : (n,) array
        Of gradient "ptt", share of the exchanges between the machine and the last rung of its ladder that took place: a
        running average over the last tries, at the end of the epoch. NaN for others, and where there was no try since
        the last rung was added.
    rungs : (n,) int64 array
        Rungs of that ladder at the end of the epoch, independent units among them; 0 for other gradients.
    pseudo : (n,) array
        Pseudo-log-likelihood, in nats per visible unit, of at most `PSEUDO` = 1,000 of the held-out rows: what tells
        the best epoch of a run with `patience` where hidden units are few (see `fit`). NaN of other runs.
    """

    _COUNTS = ("epoch", "unconverged", "lost", "stage", "rungs")

    def __init__(self, records: Sequence[EpochRecord] = ()) -> None:
        self._records = list(records)

    def append(self, record: EpochRecord) -> None:
        """Add `record`, that of one more epoch."""
        self._records.append(record)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, key: int) -> EpochRecord: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in EpochRecord._fields:
                raise KeyError(key)
            dtype = np.int64 if key in self._COUNTS else np.float64
            return np.array([getattr(record, key) for record in self._records], dtype)
        return History(self._records[key]) if isinstance(key, slice) else self._records[key]

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name in EpochRecord._fields:
            return self[name]
        raise AttributeError(f"History has no attribute {name!r}")

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self._records)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return np.array_equal(self.to_array(), other.to_array(), equal_nan=True)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        last = f", last {self._records[-1]!r}" if self._records else ""
        return f"History({len(self)} epochs{last})"

    def to_array(self) -> NDArray[np.float64]:
        """All records as (epochs, fields) float64."""
        return np.array(self._records, np.float64).reshape(-1, len(EpochRecord._fields))

    @classmethod
    def from_array(cls, array: NDArray[np.float64]) -> History:
        """Inverse of `to_array`: the history of which it made `array`, (epochs, fields)."""
        kinds: list[Any] = [int if name in cls._COUNTS else float for name in EpochRecord._fields]
        # Runs begun before there were stages, held-out rows or ladders have no column of them. One NaN is another only
        # where they are the same object, and records are to be equal that were.
        rows: Any = (
            [math.nan if np.isnan(x) else kind(x) for kind, x in zip(kinds, row, strict=False)] for row in array
        )
        return cls([EpochRecord(*row) for row in rows])


class Score(NamedTuple):
    """What scoring finds, as in `History`."""

    log_likelihood: float
    free_energy: float
    residual: float
    unconverged: int
    lost: int
    validation: float
    pseudo: float


def draw_sample(X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Rows to score, in the data's dtype."""
    rows = rng.permutation(X.shape[0])[:SCORED]
    # Sorted, a memory map is read in one pass; the random order is then restored, so that the first rows are a sample
    # too.
    order = np.argsort(rows)
    sample = np.empty((len(rows), X.shape[1]), X.dtype)
    sample[order] = X[rows[order]]
    return sample


def score(
    machine: Machine, sample: NDArray[Any], chains: int, held_out: NDArray[Any] | None = None, pseudo: bool = False
) -> Score:
    """Score `machine` on `sample`, and on rows held out if there are any, as `History` describes."""
    solutions = solve(machine, sample[:chains], tol=SCORING_TOL, max_sweeps=SCORING_SWEEPS)
    found = np.isfinite(solutions.free_energy)
    energy = float(solutions.free_energy[found].mean()) if found.any() else math.nan
    per_unit = [
        math.nan
        if rows is None
        else float(unchecked_log_likelihood(machine, rows, energy, SCORING_TOL, SCORING_SWEEPS).mean())
        / sum(machine.sizes)
        for rows in (sample, held_out)
    ]
    residual = float(solutions.residual[found].max(initial=0.0))
    unconverged, lost = int((~solutions.converged).sum()), int((~found).sum())
    sites = math.nan
    if pseudo and held_out is not None:
        sites = float(pseudo_log_likelihood(machine, held_out[:PSEUDO]).mean()) / machine.sizes[0]
    return Score(per_unit[0], energy, residual, unconverged, lost, per_unit[1], sites)
