"""The contract of unit types, checked: for those who write a type of their own.

Derivatives are differences of what the type itself says. Their tolerances follow from rounding (`Case.rounding`: some
bits of ``1 + |B x| + |A x^2|/2``, what ln Z is made of) and from the step, whose error is that between two orders.
"""

from __future__ import annotations

import numpy as np

from tapcore._base import checks
from tapcore.units.contract import law, use
from tapcore.units.contract.case import case_of
from tapcore.units.interface import Unit

__all__ = ["check"]

_OF_LAW = (law.exclusive, law.moments, law.nan, law.states, law.third, law.cumulants, law.slab)


def check(layer: Unit, *, seed: int = 0) -> None:
    """Hold a layer, and so its unit type, to what the package takes for granted of units.

    Checked are, as far as the type can: that nothing outside of a row is written, nor what is only read changed; mean,
    variance, cumulants and the averages of training, by differences; NaN, which must come out and stay in its site;
    columns of one site, which exclude each other; ln Z against all states where they are known; bounds, support and
    weight; draws; float32; fits, training steps, copies, and layers made anew of their parameters, as files make them.
    Call it for a few layers with unlike parameters, and once more with ``NUMBA_DISABLE_JIT=1``: compiled code can read
    what is not its own and not show it, Python raises.

    Parameters
    ----------
    layer : Unit
        A layer of a few units, some ten columns, with any parameters; `Mixed` too. A float32 one is checked as float64.
    seed : int
        Of the fields and draws: any integer from 0 on.

    Raises
    ------
    ValueError
        The first thing that is wrong: in one line what, in which column, by how much, and how much rounding allows.

    Notes
    -----
    Tolerances are those of float64: 64 rounding errors of ``1 + |B x| + |A x^2|/2``, fields and precisions of the
    site's own included, divided by the step where it is a difference; of 3000 draws 5 standard errors, and more where a
    value is rare. Fields are of the scale on which the law varies; A is not negative for values on the whole line.
    """
    checks.integer("seed", seed, minimum=0)
    if not isinstance(layer, Unit):
        raise ValueError(f"layer must be a layer of units such as tapcore.Binary(3), got {layer!r}")
    with np.errstate(all="ignore"):
        case = case_of(layer.astype(np.float64), np.random.default_rng(seed))
        for part in (*_OF_LAW, use.statistics, use.ascend, use.copies):
            part(case)
        X = use.draws(case)
        for part_of_data in (use.support, use.data_statistics, use.fit):
            part_of_data(case, X)
        use.single(case)
