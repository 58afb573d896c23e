"""Training deep machines on binary MNIST, Fig. 11: ``python -m tapcore_bench.paper.deep``.

Machines of two and of three hidden layers are trained layer by layer, then jointly, and an RBM as long as a layer and
all together; each epoch is scored on test images. Writes `history_*.csv`, spectra of the weights as `spectra_*.csv`,
then a picture. As it is it ends within ten minutes; `--hidden 500,100 500,100,50 --pretrain 50 --epochs 3000
--rate 0.001` is as long as in the paper.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.data import binary_mnist, binary_mnist_test

CHAINS = 100


def score(machine: tc.Machine, X: NDArray[Any]) -> float:
    """TAP log-likelihood of samples, nats a unit."""
    energies = tc.solve(machine, X[:CHAINS], tol=1e-5, max_sweeps=2000).free_energy
    return float(tc.log_likelihood(machine, X, energies[np.isfinite(energies)]).mean() / sum(machine.sizes))


def idle(machine: tc.Machine, X: NDArray[Any], most: int = 2000) -> list[tuple[float, float]]:
    """Of each hidden layer: units that are on, or off, in 98 of 100 samples; then what averages do to its weights.

    That is the share of the squared gradient of the weights below that centring takes out: products of the units'
    averages with the gradients of their fields.
    """
    X = X[:most].astype(np.float64)
    fields = tc.Clamped(X)
    averages = [x.mean(axis=0) for x in tc.solve(machine, X, fields=fields, tol=1e-5, max_sweeps=2000).mean]
    slopes = tc.gradient(machine, X, tc.solve(machine, X, tol=1e-5, max_sweeps=2000))
    shares = []
    for n, W in enumerate(slopes.weights):
        (low, up), (below, above) = averages[n : n + 2], (of["U"] for of in slopes.layers[n : n + 2])
        centred = W - np.outer(low, above) - np.outer(below, up)
        off_or_on = float((np.minimum(up, 1 - up) < 0.02).mean())
        shares.append((round(off_or_on, 2), round(float(1 - (centred**2).sum() / (W**2).sum()), 2)))
    return shares


def train(
    name: str, machine: tc.Machine, X: NDArray[Any], test: NDArray[Any], folder: Path, **how: Any
) -> tuple[tc.Machine, NDArray[np.float64]]:
    """Train; rows of epoch, stage, seconds, training and test log-likelihood a unit and a visible unit."""
    rows: list[tuple[float, ...]] = []

    def keep(now: tc.Machine, record: tc.EpochRecord) -> None:
        # Layers that are being pre-trained make no machine yet.
        held_out = np.nan if record.stage else score(now, test)
        per_visible = held_out * sum(now.sizes) / now.sizes[0]
        rows.append((record.epoch, record.stage, record.seconds, record.log_likelihood, held_out, per_visible))
        print(
            f"{name}, epoch {record.epoch}, stage {record.stage}: {record.log_likelihood:.4f}, test {held_out:.4f} "
            f"nats a unit, {per_visible:.4f} a visible one, {record.seconds:.1f} s",
            flush=True,
        )

    settings = tc.paper_settings(center=len(machine.layers) > 2)
    machine, _ = tc.fit(machine, X, settings=settings, callbacks=(keep,), **how)
    table = np.array(rows)
    header = "epoch,stage,seconds,log_likelihood,test_log_likelihood,test_per_visible_unit"
    np.savetxt(folder / f"history_{name}.csv", table, delimiter=",", header=header, comments="")
    for layer, W in enumerate(machine.weights):
        values = np.linalg.svd(W, compute_uv=False)
        np.savetxt(folder / f"spectra_{name}_{layer + 1}.csv", values, header="singular_value", comments="")
        print(f"{name}, weights {layer + 1}: singular values {values[0]:.3g}, {values[1]:.3g} to {values[-1]:.2g}")
    print(f"{name}: idle units of each hidden layer, share of the gradient that is of averages: {idle(machine, test)}")
    tc.save(folder / f"{name}.safetensors", machine)
    return machine, table


def draw(path: Path, tables: dict[str, NDArray[np.float64]], machines: dict[str, tc.Machine]) -> None:
    """Log-likelihoods over the epochs, and the spectra."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for n, (name, table) in enumerate(tables.items()):
        left.plot(table[:, 0], table[:, 3], ".", color=f"C{n}", alpha=0.5, label=f"{name}, training")
        left.plot(table[:, 0], table[:, 4], "-", color=f"C{n}", label=f"{name}, test")
        for layer, W in enumerate(machines[name].weights):
            style = ("-", "--", ":")[layer % 3]
            right.semilogy(
                np.linalg.svd(W, compute_uv=False), style, color=f"C{n}", label=f"{name}, weights {layer + 1}"
            )
    left.set(xlabel="epoch", ylabel="log-likelihood, nats a unit")
    right.set(xlabel="number", ylabel="singular value")
    left.legend(fontsize="small")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Train all, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--hidden", nargs="+", default=["100,50", "100,50,25"], metavar="N,N,...", help="units of hidden layers"
    )
    parser.add_argument("--pretrain", type=int, default=3, help="epochs for each pair of layers")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of all layers")
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--images", type=int, default=60_000, help="training images")
    parser.add_argument("--pass-up", choices=("samples", "means"), default="samples")
    parser.add_argument("--center", action=argparse.BooleanOptionalAction, default=True, help="centred gradients")
    parser.add_argument("--out", type=Path, default=Path("runs") / "deep")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine_name())
    X, test = binary_mnist()[: options.images], binary_mnist_test()
    tables, machines = {}, {}
    visible = tc.Binary.from_data(X)
    hidden = [[int(n) for n in text.split(",")] for text in options.hidden]
    for layers in [*hidden, *([n] for n in dict.fromkeys(layers[0] for layers in hidden))]:
        how: dict[str, Any] = {"epochs": options.epochs, "learning_rate": options.rate, "center": options.center}
        if len(layers) == 1:
            machine = tc.RBM(visible, tc.Binary(layers[0]), seed=0)
            how["epochs"] += options.pretrain
        else:
            machine = tc.DBM(visible, *map(tc.Binary, layers), seed=0)
            how |= {"pretrain": options.pretrain, "pass_up": options.pass_up}
        name = "-".join(map(str, machine.sizes))
        machines[name], tables[name] = train(name, machine, X, test, options.out, **how)
    draw(options.out / "deep.png", tables, machines)


if __name__ == "__main__":
    main()
