"""Fig. 11: the TAP log-likelihood per unit of deep machines along joint training, after training layer by layer.

With centred gradients, without which upper layers learn little.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes

HEADER = ("case", "layers", "epoch", "log_likelihood")
# Hidden layers; epochs for each pair of layers, and of all together.
LAYERS, BEFORE, EPOCHS, RATE = ((500, 100), (500, 100, 50)), 50, 3000, 0.001
QUICK_LAYERS, QUICK_BEFORE, QUICK_EPOCHS, QUICK_RATE = ((64, 32), (64, 32, 16)), 2, 6, 0.005
# Samples of the quick figure.
FEW = 10_000


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train deep machines, from where they are if they have begun."""
    quick = sizes.epochs < cases.PAPER[0]
    pieces = {}
    for name in names:
        for layers in QUICK_LAYERS if quick else LAYERS:
            one = cases.case(name, layers[0])
            word = "-".join(map(str, layers))
            pieces[f"{cases.word(name)}-{word}"] = partial(_rows, out, one, layers, quick)
    tables.piecewise(out / "fig11.csv", HEADER, pieces)


def _rows(out: Path, case: Case, layers: tuple[int, ...], quick: bool) -> Iterator[tables.Row]:
    before, epochs, rate = (QUICK_BEFORE, QUICK_EPOCHS, QUICK_RATE) if quick else (BEFORE, EPOCHS, RATE)
    X = case.X[:FEW] if quick else case.X
    word = "-".join(map(str, layers))
    folder = out / "runs" / f"{cases.word(case.name)}-{word}"
    machine = tc.DBM(tc.Binary.from_data(X), *map(tc.Binary, layers), seed=0)
    unit = case.unit if quick else 1
    settings = tc.paper_settings(epochs=unit * epochs, pretrain=unit * before, learning_rate=rate, center=True)
    begun = any(folder.glob("epoch-*.safetensors"))
    found = tc.fit(
        machine, X, settings=settings, checkpoint=folder, checkpoint_every=unit, resume=begun, progress=False
    )
    joint = [record for record in found.history if not record.stage]
    for number, record in enumerate(joint, 1):
        yield case.name, f"{X.shape[1]}-{word}", number, float(record.log_likelihood)


def plot(out: Path) -> list[Path]:
    """Draw what is in the table, a panel for each machine."""
    rows = tables.read(out / "fig11.csv")
    kinds = list(dict.fromkeys((row["case"], row["layers"]) for row in rows))
    figure = figure_of(3.4 * len(kinds), 2.8)
    for panel, (name, layers) in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        own = [row for row in rows if (row["case"], row["layers"]) == (name, layers)]
        panel.plot([int(row["epoch"]) for row in own], [float(row["log_likelihood"]) for row in own], marker=".")
        panel.set(title=f"{name}, {layers}", xlabel="epoch of all layers")
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("TAP log-likelihood\nper unit (nats)")
    write(out / "fig11.png", figure)
    return [out / "fig11.png"]
