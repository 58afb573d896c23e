"""Where experiments find MNIST and the CBCL faces.

``python -m tapcore_bench.paper.data`` prints how much chance there is in images that are drawn with grey values for
probabilities, as others do in place of a threshold: scores of the two kinds of data differ by up to that much.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy

from tapcore.storage import datasets

# Folder with mnist/train-images-idx3-ubyte.gz and cbcl/faces.npz; by default a neighbour of the project's.
FOLDER = Path(os.environ.get("TAPCORE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def binary_mnist() -> NDArray[Any]:
    """The 60,000 training images as (60000, 784) booleans: pixel > 127."""
    return datasets.load(_existing("mnist", "train-images-idx3-ubyte.gz"), threshold=127)


def mnist_labels() -> NDArray[np.uint8]:
    """Which digit each training image is, (60000,)."""
    path = _existing("mnist", "train-labels-idx1-ubyte.gz")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=8)


def binary_mnist_test() -> NDArray[Any]:
    """The 10,000 test images as (10000, 784) booleans: pixel > 127."""
    return datasets.load(_existing("mnist", "t10k-images-idx3-ubyte.gz"), threshold=127)


def real_mnist() -> NDArray[np.float32]:
    """The 60,000 training images as (60000, 784) grey values from 0 to 1."""
    return _grey(datasets.load(_existing("mnist", "train-images-idx3-ubyte.gz")))


def real_mnist_test() -> NDArray[np.float32]:
    """The 10,000 test images as (10000, 784) grey values from 0 to 1."""
    return _grey(datasets.load(_existing("mnist", "t10k-images-idx3-ubyte.gz")))


def drawn_entropy() -> float:
    """Entropy of a test image whose pixels are drawn with their grey values for probabilities, in nats, on average."""
    p = np.asarray(real_mnist_test(), np.float64)
    return float(-(xlogy(p, p) + xlog1py(1 - p, -p)).sum(axis=1).mean())


def cbcl_faces(part: str = "train") -> NDArray[np.float32]:
    """The 2,429 training faces, or the 472 of "test", as (n, 361) grey values from 0 to 1."""
    with np.load(_existing("cbcl", "faces.npz")) as file:
        return _grey(file[part].reshape(len(file[part]), -1))


def cbcl_faces_test() -> NDArray[np.float32]:
    """The 472 test faces."""
    return cbcl_faces("test")


def _grey(images: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(images, np.float32) / np.float32(255)


def _existing(folder: str, name: str) -> Path:
    path = FOLDER / folder / name
    if not path.exists():
        raise SystemExit(f"{path} is missing: set TAPCORE_DATA to the folder that holds {folder}/")
    return path


if __name__ == "__main__":
    print(f"MNIST's test images, drawn with grey values for probabilities: {drawn_entropy():.1f} nats of entropy each")
