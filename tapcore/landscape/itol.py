"""Trees of solutions as files: Newick, tables of their nodes, and what iTOL shows beside them.

iTOL (Interactive Tree Of Life, itol.embl.de) reads plain text: a tree in Newick format, and for each annotation a file
that begins with its kind, here ``DATASET_COLORSTRIP`` and ``LABELS``, and holds a row a node after the word ``DATA``.
"""

from __future__ import annotations

import colorsys
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.landscape.trees import SolutionTree
from tapcore.storage import format as file_format

# Ten colours that are told apart with any kind of colour vision (Paul Tol's muted scheme); more are spread over hues.
COLORS = (
    "#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499", "#661100",
)  # fmt: skip
_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
# What stands in a table of annotations where there is no label.
UNKNOWN = ("", "-1")


class Annotations(NamedTuple):
    """Labels of samples.

    Attributes
    ----------
    labels : dict of str to dict of str to str
        For each legend, the labels of samples by their names.
    colors : dict of str to dict of str to str
        For each legend, the colours of its labels, ``#rrggbb``, in the order in which they are shown.
    """

    labels: dict[str, dict[str, str]]
    colors: dict[str, dict[str, str]]


def read_annotations(path: str | os.PathLike[str], colors: str | os.PathLike[str] | None = None) -> Annotations:
    """Read labels of samples, and colours of labels, from CSV files.

    Parameters
    ----------
    path : str or path
        A column ``Name`` with names of samples, or their numbers counted from 0 where they have none, and others, the
        legends, with a label each; nothing or -1 where there is none.
    colors : str or path, optional
        Columns ``Legend``, ``Label`` and ``Color`` (``#rrggbb``); labels that it leaves out have one of a fixed series.

    Returns
    -------
    Annotations

    Raises
    ------
    ValueError
        A file that is no such table, with the number of the line that is wrong.
    OSError
        A file that cannot be read.
    """
    header, rows = _table(Path(path))
    if "Name" not in header or len(header) < 2:
        raise ValueError(f"{path}: must have a column Name and at least one more, got {', '.join(header) or 'nothing'}")
    legends = [name for name in header if name != "Name"]
    labels: dict[str, dict[str, str]] = {legend: {} for legend in legends}
    for line, row in rows:
        if row["Name"] in labels[legends[0]]:
            raise ValueError(f"{path}, line {line}: there is a second row for {row['Name']!r}")
        for legend in legends:
            labels[legend][row["Name"]] = row[legend]
    chosen: dict[str, dict[str, str]] = {legend: {} for legend in legends}
    if colors is not None:
        _read_colors(Path(colors), chosen)
    for legend in legends:
        fill(chosen[legend], sorted({x for x in labels[legend].values() if x not in UNKNOWN}, key=natural))
    return Annotations(labels, chosen)


def _table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, and rows with the numbers of their lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text in UTF-8: {error}") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    if len({*header}) < len(header):
        raise ValueError(f"{path}: two columns have the same name")
    rows = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"{path}, line {reader.line_num}: {len(row)} entries for {len(header)} columns")
        values = [value.strip() for value in row]
        if any("\t" in value or "\n" in value for value in values):
            raise ValueError(f"{path}, line {reader.line_num}: entries must not contain tabs or line breaks")
        rows.append((reader.line_num, dict(zip(header, values, strict=True))))
    return header, rows


def _read_colors(path: Path, chosen: dict[str, dict[str, str]]) -> None:
    header, rows = _table(path)
    if not {"Legend", "Label", "Color"} <= {*header}:
        raise ValueError(f"{path}: must have columns Legend, Label and Color, got {', '.join(header) or 'nothing'}")
    for line, row in rows:
        if not _HEX.fullmatch(row["Color"]):
            raise ValueError(f"{path}, line {line}: a colour must be of the form #rrggbb, got {row['Color']!r}")
        if row["Legend"] in chosen:
            chosen[row["Legend"]][row["Label"]] = row["Color"]


def fill(colors: dict[str, str], labels: Sequence[str]) -> None:
    """Give labels that have none a colour."""
    series = [c for c in COLORS if c not in colors.values()] if len(labels) <= len(COLORS) else []
    for k, label in enumerate(label for label in labels if label not in colors):
        hue = colorsys.hsv_to_rgb(k / len(labels), 0.55 + 0.3 * (k % 2), 0.85 - 0.25 * (k % 3) / 2)
        colors[label] = series[k] if k < len(series) else "#" + "".join(f"{round(255 * part):02x}" for part in hue)


def natural(label: str) -> tuple[float, str]:
    """A key by which labels are sorted: numbers in their order, before words."""
    try:
        return float(label), label
    except ValueError:
        return np.inf, label


def leaf_labels(
    labels: Mapping[str, str], names: Sequence[str], reached: NDArray[np.int64], leaves: int
) -> list[str | None]:
    """The most frequent label among the samples from which chains reach each leaf; None where none has one.

    `names` are those of the samples, `reached` (K,) the leaf of each, -1 for none. Of two as frequent it is the one
    that the first sample has.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(leaves)]
    for name, leaf in zip(names, reached, strict=True):
        label = labels.get(name, "")
        if leaf >= 0 and label not in UNKNOWN:
            counts[leaf][label] += 1
    return [count.most_common(1)[0][0] if count else None for count in counts]


def write_tree(
    folder: str | os.PathLike[str],
    tree: SolutionTree,
    labels: Mapping[str, Sequence[str | None]] | None = None,
    colors: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Path]:
    """Write a tree, its nodes, and its labels, as files of a folder, which is made if it is not there.

    ``tree.nwk`` in Newick format; ``nodes.csv``, with a row a node: name, parent, position, free energy, number of
    leaves below, labels; ``features.csv`` and ``features.safetensors``, visible means of the nodes; for each legend
    ``itol-LEGEND.txt``, a colour strip, and ``itol-LEGEND-labels.txt``.

    Parameters
    ----------
    folder : str or path
    tree : SolutionTree
    labels : mapping of str to sequence, optional
        For each legend, a label for each leaf, or None.
    colors : mapping of str to mapping of str to str, optional
        For each legend, colours of its labels, ``#rrggbb``; those of `read_annotations`, or a fixed series.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ValueError
        Labels of another number than leaves; a legend whose name is not one for a file, or is taken.
    OSError
        The folder cannot be written to.
    """
    labels, folder = labels or {}, Path(folder)
    for legend, own in labels.items():
        if len(own) != len(tree.solutions):
            raise ValueError(f"labels of {legend!r} must be {len(tree.solutions)}, one a leaf, got {len(own)}")
        if not re.fullmatch(r"[\w .()-]+", legend):
            raise ValueError(f"a legend's name must be of letters, digits, spaces and . ( ) - _, got {legend!r}")
    _refuse_clashes([*labels], tree.along)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("itol-*.txt"):  # of another tree, perhaps
        path.unlink()
    text = {"tree.nwk": tree.newick() + "\n", "nodes.csv": _nodes(tree, labels), "features.csv": _features(tree)}
    for legend, own in labels.items():
        known = dict((colors or {}).get(legend, {}))
        fill(known, sorted({label for label in own if label is not None}, key=natural))
        text[f"itol-{legend}.txt"] = _strip(legend, own, known)
        text[f"itol-{legend}-labels.txt"] = _labels(own)
    for name, content in text.items():
        file_format.write_whole(folder / name, content.encode())
    path = folder / "features.safetensors"
    file_format.write(path, {"names": tree.names, "along": tree.along}, {
        "mean": np.ascontiguousarray(tree.mean), "position": tree.position, "free_energy": tree.free_energy,
        "parent": tree.parent,
    })  # fmt: skip
    return [*(folder / name for name in text), path]


def _refuse_clashes(legends: Sequence[str], along: str) -> None:
    """ValueError for legends of which files or columns would have one name."""
    taken = {"name", "parent", along, "free_energy", "leaves"}
    for legend in legends:
        if legend in taken:
            raise ValueError(f"a legend cannot be called {legend!r}, as a column of nodes.csv is")
        if f"{legend}-labels" in legends:
            raise ValueError(f"legends {legend!r} and '{legend}-labels' would have one file: rename one of them")


def _nodes(tree: SolutionTree, labels: Mapping[str, Sequence[str | None]]) -> str:
    names, below = tree.names, tree.leaves_below()
    rows: list[Sequence[object]] = [("name", "parent", tree.along, "free_energy", "leaves", *labels)]
    for k, name in enumerate(names):
        above = names[tree.parent[k]] if tree.parent[k] >= 0 else ""
        own = [(column[k] or "") if k < len(tree.solutions) else "" for column in labels.values()]
        rows.append((name, above, f"{tree.position[k]:.9g}", repr(float(tree.free_energy[k])), len(below[k]), *own))
    return _csv(rows)


def _features(tree: SolutionTree) -> str:
    header = ["name", *(f"x{i}" for i in range(tree.mean.shape[1]))]
    rows = [[name, *(f"{x:.9g}" for x in row)] for name, row in zip(tree.names, tree.mean, strict=True)]
    return _csv([header, *rows])


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _strip(legend: str, labels: Sequence[str | None], colors: Mapping[str, str]) -> str:
    shown = {label: color for label, color in colors.items() if label in labels}
    lines: list[Sequence[str]] = [
        ("DATASET_COLORSTRIP",),
        ("SEPARATOR TAB",),
        ("DATASET_LABEL", legend),
        ("COLOR", next(iter(shown.values()), COLORS[0])),
        ("COLOR_BRANCHES", "0"),
    ]
    if shown:
        lines += [
            ("LEGEND_TITLE", legend),
            ("LEGEND_SHAPES", *("1" for _ in shown)),  # squares
            ("LEGEND_COLORS", *shown.values()),
            ("LEGEND_LABELS", *shown),
        ]
    lines += [("DATA",), *((f"S{k}", colors[x], x) for k, x in enumerate(labels) if x is not None)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _labels(labels: Sequence[str | None]) -> str:
    rows = [f"S{k}\t{label}\n" for k, label in enumerate(labels) if label is not None]
    return "LABELS\nSEPARATOR TAB\nDATA\n" + "".join(rows)
