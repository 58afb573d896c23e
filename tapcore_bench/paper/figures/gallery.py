"""The page of figures and claims in the documentation: small pictures and the table, as they were made last."""

from __future__ import annotations

from pathlib import Path

from tapcore.storage import format as file_format
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.figures import claims
from tapcore_bench.paper.figures.cases import Sizes

# Pixels across, and colours.
WIDTH, COLOURS = 900, 48
CAPTIONS = {
    "fig3": "TAP log-likelihood per unit along training, with its standard error.",
    "fig4": "Receptive fields, the extremes by spread and by activation.",
    "fig5": "Free energies of all solutions along training, averages, -ln sum exp(-F), their number; slices below.",
    "fig6": "Solutions along training by Isomap fitted to the last, coloured by free energy.",
    "fig7": "Data and the solutions that they lead to, by Isomap fitted to the data.",
    "fig8": "Denoising the binary symmetric channel.",
    "fig9": "One image at growing noise.",
    "fig10": "Training by TAP and adaptive TAP, and the time of an iteration.",
    "fig11": "TAP log-likelihood per unit of deep machines.",
    "temperature": "Solutions against scaled couplings, and against the variance of weights.",
    "tree": "Solutions joined as training goes back, coloured by the class of the samples that lead to them.",
    "valleys": "Heights of the lowest known saddles at which valleys of the free energy are one.",
}


def leave(out: Path, folder: Path, sizes: Sizes, figure: str, how: str) -> list[Path]:
    """Write ``paper.md`` and the pictures beside it, of what there is in `out`, made last by these words."""
    from PIL import Image  # comes with matplotlib

    written, lines = [], []
    (folder / "paper").mkdir(parents=True, exist_ok=True)
    for name, caption in CAPTIONS.items():
        if not (out / f"{name}.png").is_file():
            continue
        picture = Image.open(out / f"{name}.png").convert("RGB")
        picture.thumbnail((WIDTH, 10 * WIDTH))
        to = folder / "paper" / f"{name}.png"
        picture.quantize(COLOURS).save(to, optimize=True)
        made = f"`python -m tapcore_bench.paper {name}{how}`"
        lines.append(f"## {_title(name)}\n\n{caption} {made}\n\n![{caption}](paper/{name}.png)\n")
        written.append(to)
    head = (
        f"# Figures and claims of the paper\n\nMade by `python -m tapcore_bench.paper {figure}{how}`: "
        f"{sizes.epochs} epochs, {sizes.starts:,} starts of chains. {machine_name()}.\n\n"
        "Claims of its Sec. VII, by the paper's stopping rule (a mean squared change below 1e-8) and by distances to "
        "the solution (1e-6 in every mean):\n\n"
    )
    file_format.write_whole(folder / "paper.md", (head + claims.page(out) + "\n" + "\n".join(lines)).encode())
    return [folder / "paper.md", *written]


def _title(name: str) -> str:
    return f"Fig. {name[3:]}" if name.startswith("fig") else name.capitalize()
