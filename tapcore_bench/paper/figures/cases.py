"""What the figures are of: data sets, the machines of Table I, and their training runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore.storage import datasets
from tapcore.storage.bundled import mnist5k_labels
from tapcore.units import Unit
from tapcore_bench.paper import cbcl, data, real_mnist

Array = NDArray[Any]

BINARY, GREY, FACES = "binary-MNIST", "grey MNIST", "CBCL"
# What comes with packages, and stands for those where they are not there.
FEW, DIGITS = "MNIST (5000)", "digits"
INSTEAD = (FEW, DIGITS)
# The class of data that have none.
NO_CLASS = -1
# Epochs, starts of chains, and samples that likelihoods are averaged over.
PAPER, QUICK = (100, 10_000, 10_000), (10, 1000, 1000)
# Of few data, so many epochs have as many steps as one of MNIST.
UNITS = {DIGITS: 40, FEW: 15}
# Share of these that is held out, at the end.
HELD_OUT = 0.2


class Sizes(NamedTuple):
    """How large a figure is made."""

    epochs: int
    starts: int
    scored: int
    hidden: tuple[int, ...] = ()  # of machines of several sizes, these alone

    def of(self, hidden: tuple[int, ...]) -> tuple[int, ...]:
        """Those of these numbers of hidden units that are wanted."""
        return tuple(n for n in hidden if n in self.hidden) or hidden


class Case(NamedTuple):
    """Data and the machine that is trained on them."""

    name: str
    hidden: int
    X: Array
    shape: tuple[int, int]  # of an image

    @property
    def title(self) -> str:
        """As legends have it."""
        return f"{self.name}, {self.hidden} hidden units"

    @property
    def folder(self) -> str:
        """Where its run is."""
        return f"{word(self.name)}-{self.hidden}"

    def machine(self) -> tc.Machine:
        """Before training."""
        return tc.RBM(_VISIBLE[self.name](self.X), tc.Binary(self.hidden), seed=0)

    @property
    def unit(self) -> int:
        """Epochs that stand for one."""
        return UNITS.get(self.name, 1)

    def epochs(self, sizes: Sizes, count: int) -> list[int]:
        """Epochs to look at, at most `count` from the first to the last, evenly spaced by their logarithms."""
        return [self.unit * k for k in sorted({round(sizes.epochs ** (k / (count - 1))) for k in range(count)})]

    def settings(self, sizes: Sizes) -> tc.Settings:
        """Alg. 2 with the settings of Table I."""
        size, rate, decay = _TABLE[self.name]
        return tc.paper_settings(
            epochs=self.unit * sizes.epochs, batch_size=size, chains=size, learning_rate=rate, penalty=tc.L2(decay)
        )


def _falling(epoch: int) -> float:
    """Of grey MNIST: from 1e-2 to 1e-5 over a hundred epochs, however many are trained."""
    fall = (real_mnist.LAST_RATE / real_mnist.FIRST_RATE) ** (1 / (real_mnist.FALL - 1))
    return float(real_mnist.FIRST_RATE * fall ** (epoch - 1))


def _order(count: int) -> NDArray[np.int64]:
    """Of images that come class by class."""
    return np.random.default_rng(0).permutation(count)


def _digits_labels() -> Array:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().target)


_VISIBLE: dict[str, Callable[[Array], Unit]] = {
    BINARY: tc.Binary.from_data,
    FEW: tc.Binary.from_data,
    DIGITS: tc.Binary.from_data,
    GREY: tc.TruncatedGaussBernoulli.from_data,
    FACES: tc.TruncatedGaussian.from_data,
}
_TABLE: dict[str, tuple[int, float | Callable[[int], float], float]] = {
    BINARY: (100, 0.005, 0.001),
    FEW: (100, 0.005, 0.001),
    DIGITS: (100, 0.005, 0.001),
    GREY: (100, _falling, 0.001),
    FACES: (cbcl.SIZE, cbcl.RATE, cbcl.DECAY),
}
_READERS: dict[str, Callable[[], Array]] = {
    BINARY: data.binary_mnist,
    GREY: data.real_mnist,
    FACES: data.cbcl_faces,
    FEW: lambda: datasets.load("mnist5k")[_order(5000)],
    DIGITS: lambda: datasets.load("digits"),
}
_LABELS: dict[str, Callable[[], Array]] = {
    BINARY: data.mnist_labels,
    GREY: data.mnist_labels,
    FEW: lambda: mnist5k_labels()[_order(5000)],
    DIGITS: _digits_labels,
}
_LOADED: dict[str, Array] = {}


def _load(name: str) -> Array:
    if name not in _LOADED:
        _LOADED[name] = _READERS[name]()
    return _LOADED[name]


def labels_of(name: str) -> NDArray[np.int64]:
    """The class of each sample of a data set."""
    if name not in _LABELS:
        return np.full(len(_load(name)), NO_CLASS)
    return np.asarray(_LABELS[name](), np.int64)


def shape_of(name: str) -> tuple[int, int]:
    """Of the images of a data set."""
    return {FACES: (19, 19), DIGITS: (8, 8)}.get(name, (28, 28))


def word(name: str) -> str:
    """The name of a data set as files have it."""
    return name.lower().translate({ord("("): None, ord(")"): None, ord(" "): "-"})


def case(name: str, hidden: int) -> Case:
    """A case by the name of its data; SystemExit where these are not there."""
    return Case(name, hidden, _load(name)[: _trained_on(name)], shape_of(name))


def held_out(name: str) -> Array:
    """Samples of a binary data set that no machine is trained on."""
    return data.binary_mnist_test() if name == BINARY else _load(name)[_trained_on(name) :]


def _trained_on(name: str) -> int:
    """How many of the samples machines are trained on: the first."""
    count = len(_load(name))
    return count - round(HELD_OUT * count) if name in UNITS else count


def there(name: str) -> bool:
    """Whether a data set is to be had."""
    try:
        _load(name)
    except (SystemExit, ImportError):
        return False
    return True


def trained(out: Path, case: Case, sizes: Sizes) -> Path:
    """The folder of a case's run, trained to its end: from where it was, if it has begun."""
    folder, epochs = out / "runs" / case.folder, case.unit * sizes.epochs
    if not (folder / f"epoch-{epochs:04d}.safetensors").is_file():
        print(f"training: {case.title}, {epochs} epochs", flush=True)
        begun = any(folder.glob("epoch-*.safetensors"))
        tc.fit(
            case.machine(), case.X, settings=case.settings(sizes), checkpoint=folder, checkpoint_every=case.unit,
            resume=begun, progress=False,
        )  # fmt: skip
    return folder


def after(folder: Path, epoch: int) -> tc.Machine:
    """The machine of a run after an epoch."""
    return tc.load(folder / f"epoch-{epoch:04d}.safetensors")
