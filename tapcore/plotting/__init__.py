"""Figures of machines, of training runs and of solutions; needs matplotlib (the `plot` extra)."""

from tapcore.plotting.landscape import density, embed, embedding, free_energies
from tapcore.plotting.over_training import history, solutions_over_training
from tapcore.plotting.pictures import images, mosaic, receptive_fields, rows_of_images
from tapcore.plotting.trees import disconnectivity, tree

__all__ = [
    "density", "disconnectivity", "embed", "embedding", "free_energies", "history", "images", "mosaic",
    "receptive_fields", "rows_of_images", "solutions_over_training", "tree",
]  # fmt: skip
