"""Check relaxed_bp.json, certified fixed points of relaxed belief propagation, by computing them anew in mpmath.

    python tests/golden/generate_relaxed_bp.py             recompute every fixed point and write the file
    python tests/golden/generate_relaxed_bp.py --check     recompute and compare with the file, to 28 digits

The parameters (layers, weights, damping) are data, read from the file itself, as are the results of other methods that
it holds for comparison; its `format` key explains all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mpmath import mp, mpf
from sites import log_z, mixed, moments

PATH = Path(__file__).with_name("relaxed_bp.json")
WORKING_DIGITS = 44
CONVERGED = mpf(10) ** -38  # greatest change in a sweep of any mean or variance of a message
Row = list[mpf]


def fixed_point(layers: list[list[dict[str, Any]]], W: list[list[float]], damping: mpf) -> dict[str, Any]:
    """Messages, marginals and Bethe ln Z (B13)."""
    weight = [[[mpf(w) for w in row] for row in W], [[mpf(w) for w in column] for column in zip(*W, strict=True)]]
    sizes = [len(units) for units in layers]
    alone = [[moments(unit, mpf(0), mpf(0)) for unit in units] for units in layers]
    # mean[s][i][j]: of what unit i of side s receives from unit j of the other.
    mean = [[[alone[1 - s][j][0] for j in range(sizes[1 - s])] for _ in range(sizes[s])] for s in (0, 1)]
    var = [[[alone[1 - s][j][1] for j in range(sizes[1 - s])] for _ in range(sizes[s])] for s in (0, 1)]

    def fields(s: int, i: int, without: int = -1) -> tuple[mpf, mpf]:
        kept = [j for j in range(sizes[1 - s]) if j != without]
        w = weight[s][i]
        return sum(w[j] * mean[s][i][j] for j in kept), -sum(w[j] ** 2 * var[s][i][j] for j in kept)

    change = mpf(1)
    while change > CONVERGED:
        change = mpf(0)
        for s in (1, 0):  # the sending side
            new = [[moments(layers[s][i], *fields(s, i, j)) for i in range(sizes[s])] for j in range(sizes[1 - s])]
            for j, row in enumerate(new):
                for into, which in ((mean, 0), (var, 1)):
                    made: Row = [x[which] for x in row]
                    change = max(change, *(abs(a - b) for a, b in zip(made, into[1 - s][j], strict=True)))
                    into[1 - s][j] = mixed(into[1 - s][j], made, damping)
    total = mpf(0)
    full = [[fields(s, i) for i in range(sizes[s])] for s in (0, 1)]
    for s in (0, 1):
        for i, unit in enumerate(layers[s]):
            total += (1 - mpf(sizes[1 - s]) / 2) * log_z(unit, *full[s][i])
            total += sum(log_z(unit, *fields(s, i, j)) for j in range(sizes[1 - s])) / 2
    marginals = [[moments(layers[s][i], *full[s][i]) for i in range(sizes[s])] for s in (0, 1)]
    return {
        "mean": [[x[0] for x in side] for side in marginals], "var": [[x[1] for x in side] for side in marginals],
        "B": [[x[0] for x in side] for side in full], "A": [[x[1] for x in side] for side in full],
        "bethe_lnZ_B13": total,
    }  # fmt: skip


def differs(stored: Any, made: Any) -> bool:
    """Whether any number differs from the one stored by more than 28 digits."""
    if isinstance(made, list):
        return len(stored) != len(made) or any(differs(a, b) for a, b in zip(stored, made, strict=True))
    return bool(abs(mpf(stored) - made) > mpf(10) ** -28 * max(1, abs(made)))


def written(value: Any) -> Any:
    """Numbers as decimal strings of 32 digits."""
    return [written(v) for v in value] if isinstance(value, list) else mp.nstr(value, 32, strip_zeros=False)


def main(arguments: list[str]) -> int:
    """Recompute; compare or write."""
    mp.dps = WORKING_DIGITS
    contents = json.loads(PATH.read_text(encoding="utf-8"))
    wrong = []
    for model in contents["models"]:
        made = fixed_point(model["layers"], model["weights"][0], mpf(model["rbp"]["damping"]))
        wrong += [f"{model['name']}: {key}" for key in made if differs(model["rbp"][key], made[key])]
        model["rbp"].update({key: written(value) for key, value in made.items()})
    if "--check" not in arguments:
        PATH.write_text(json.dumps(contents) + "\n", encoding="utf-8")
    print("\n".join(wrong) or f"{len(contents['models'])} machines agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
