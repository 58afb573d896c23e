"""Train by `rbms` for so many seconds; runs in that package's own environment, and knows nothing of this one.

``python rbms_training.py DATA.npy OUT.npz SETTINGS``: (n, n_visible) booleans in, the machine out, as
`tapcore_bench.peers.trained` reads it. SETTINGS is JSON: hidden, seconds, rate, chains, batch, threads, seed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from rbms.bernoulli_bernoulli.classes import BBRBM
from rbms.dataset.dataset_class import RBMDataset
from rbms.optim import setup_optim
from rbms.sampler import PCD
from rbms.training.pcd import train

# Updates before time is taken: TorchScript compiles in the first ones.
WARM_UP = 20


class _TimeIsUp(Exception):  # noqa: N818 - not an error
    """Training ends here."""


class _Timed(PCD):  # type: ignore[misc]
    """Persistent chains that end training after so many updates, or seconds from the first of them on."""

    def __init__(self, params: Any, chains: Any, updates: float, seconds: float) -> None:
        super().__init__(params=params, chains=chains, num_steps=1)
        self.updates, self.done = updates, 0
        self.seconds, self.begun = seconds, time.perf_counter()
        self.elapsed = 0.0

    def post_grad_update(self, params: Any) -> None:
        super().post_grad_update(params=params)
        self.done += 1
        self.elapsed = time.perf_counter() - self.begun
        if self.elapsed >= self.seconds or self.done >= self.updates:
            raise _TimeIsUp


def run(data: RBMDataset, settings: dict[str, Any], updates: float, seconds: float) -> tuple[Any, _Timed]:
    """Train a new machine by centred PCD-1 at a constant rate, in the package's own loop."""
    torch.manual_seed(settings["seed"])
    params = BBRBM.init_parameters(num_hiddens=settings["hidden"], dataset=data, device="cpu", dtype=torch.float32)
    chains = params.sample_state(chains=params.init_chains(num_samples=settings["chains"]), n_steps=1)
    params.init_grad()
    how = {"learning_rate": settings["rate"], "max_lr": settings["rate"], "scale_lr": False, "mult_optim": False}
    optimizer = setup_optim("sgd", {"optim": "sgd", **how}, params)
    sampler = _Timed(params, chains, updates, seconds)
    with contextlib.suppress(_TimeIsUp):
        train(
            train_dataset=data, test_dataset=data, params=params, sampler=sampler, optimizer=optimizer,
            batch_size=settings["batch"], centered=True, curr_update=0, pre_grad_update=torch.nn.Sequential(),
            elapsed_time=0.0, checkpoints=np.zeros(0, int), num_updates=10**12, filename="",
        )  # fmt: skip
    return params, sampler


def main(source: str, target: str, settings: dict[str, Any]) -> None:
    """Warm up, train, write."""
    torch.set_num_threads(settings["threads"])
    X = np.load(source).astype(np.float32)
    n = len(X)
    data = RBMDataset(
        data=X, labels=np.zeros(n), weights=np.ones(n), names=np.arange(n), dataset_name="data",
        variable_type="bernoulli", device="cpu",
    )  # fmt: skip
    run(data, settings, WARM_UP, np.inf)
    params, sampler = run(data, settings, np.inf, settings["seconds"])
    found = params.named_parameters()
    np.savez(
        target, weights=found["weight_matrix"], visible=found["vbias"], hidden=found["hbias"],
        epochs=sampler.done * settings["batch"] / n, seconds=sampler.elapsed,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
