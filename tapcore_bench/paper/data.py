"""Where experiments find MNIST."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tapcore import datasets

# Folder with mnist/train-images-idx3-ubyte.gz; by default a neighbour of the project's.
FOLDER = Path(os.environ.get("TAPCORE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def binary_mnist() -> NDArray[Any]:
    """The 60,000 training images as (60000, 784) booleans: pixel > 127."""
    path = FOLDER / "mnist" / "train-images-idx3-ubyte.gz"
    if not path.exists():
        raise SystemExit(f"{path} is missing: set TAPCORE_DATA to the folder that holds mnist/")
    return datasets.load(path, threshold=127)
