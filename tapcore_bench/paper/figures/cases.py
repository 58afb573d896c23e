"""What the figures are of: data sets, the machines of Table I, and their training runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

import tapcore as tc
from tapcore.storage import datasets
from tapcore.units import Unit
from tapcore_bench.paper import cbcl, data, real_mnist

Array = NDArray[Any]

BINARY, GREY, FACES, DIGITS = "binary-MNIST", "grey MNIST", "CBCL", "digits"
# Epochs, starts of chains, and samples that likelihoods are averaged over.
PAPER, QUICK = (100, 10_000, 10_000), (10, 1000, 1000)
# Of the digits, which are few, so many epochs have as many steps as one of MNIST.
OF_DIGITS = 33


class Sizes(NamedTuple):
    """How large a figure is made."""

    epochs: int
    starts: int
    scored: int


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
        return f"{self.name.lower().replace(' ', '-')}-{self.hidden}"

    def machine(self) -> tc.Machine:
        """Before training."""
        return tc.RBM(_VISIBLE[self.name](self.X), tc.Binary(self.hidden), seed=0)

    @property
    def unit(self) -> int:
        """Epochs that stand for one."""
        return OF_DIGITS if self.name == DIGITS else 1

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


_VISIBLE: dict[str, Callable[[Array], Unit]] = {
    BINARY: tc.Binary.from_data,
    DIGITS: tc.Binary.from_data,
    GREY: tc.TruncatedGaussBernoulli.from_data,
    FACES: tc.TruncatedGaussian.from_data,
}
_TABLE: dict[str, tuple[int, float | Callable[[int], float], float]] = {
    BINARY: (100, 0.005, 0.001),
    DIGITS: (100, 0.005, 0.001),
    GREY: (100, _falling, 0.001),
    FACES: (cbcl.SIZE, cbcl.RATE, cbcl.DECAY),
}
_READERS: dict[str, Callable[[], Array]] = {
    BINARY: data.binary_mnist,
    GREY: data.real_mnist,
    FACES: data.cbcl_faces,
    DIGITS: lambda: datasets.load("digits"),
}
_LOADED: dict[str, Array] = {}


def _load(name: str) -> Array:
    if name not in _LOADED:
        _LOADED[name] = _READERS[name]()
    return _LOADED[name]


def shape_of(name: str) -> tuple[int, int]:
    """Of the images of a data set."""
    return {FACES: (19, 19), DIGITS: (8, 8)}.get(name, (28, 28))


def case(name: str, hidden: int) -> Case:
    """A case by the name of its data; SystemExit where these are not there."""
    return Case(name, hidden, _load(name), shape_of(name))


def there(name: str) -> bool:
    """Whether a data set is to be had."""
    try:
        _load(name)
    except SystemExit:
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
