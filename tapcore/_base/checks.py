"""Checks of what a user passes in: a failure is a ValueError naming the argument, the rule and the first bad index."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Data may be memory-mapped and larger than memory: look at this many rows at a time.
ROWS_AT_ONCE = 4096


def integer(name: str, value: Any, *, minimum: int) -> int:
    """`value` as an int that is at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return int(value)


def number(
    name: str, value: Any, *, minimum: float = -math.inf, maximum: float = math.inf, below: float = math.inf
) -> float:
    """`value` as a finite float with ``minimum <= value <= maximum`` and ``value < below``."""
    try:
        finite = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        finite = False
    if not finite:
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    if not (minimum <= float(value) <= maximum and float(value) < below):
        upper = "" if below == math.inf else f" and below {below:g}"
        upper += "" if maximum == math.inf else f" and at most {maximum:g}"
        raise ValueError(f"{name} must be at least {minimum:g}{upper}, got {value!r}")
    return float(value)


def temperature(name: str, value: Any) -> float:
    """`value` as a float above 0; infinity is one."""
    if isinstance(value, Real) and value == math.inf:
        return math.inf
    if (own := number(name, value)) <= 0:
        raise ValueError(f"{name} must be above 0, got {value!r}")
    return own


def choice(name: str, value: Any, allowed: Collection[str]) -> str:
    """`value`, which must be one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        known = ", ".join(repr(a) for a in allowed)
        raise ValueError(f"{name} must be one of {known}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """`value` as a bool; ValueError unless it is one."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def generator(name: str, value: Any) -> np.random.Generator:
    """`value`, which must be a NumPy generator of random numbers."""
    if not isinstance(value, np.random.Generator):
        raise ValueError(f"{name} must be a numpy.random.Generator such as default_rng(seed), got {value!r}")
    return value


def first_index(bad: NDArray[np.bool_]) -> tuple[int, ...]:
    """Index of the first True."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def rounded(x: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """`x` itself where `dtype` can hold its values, else rounded to it: what is too large becomes infinite.

    Rounding keeps order: what was between two numbers is between these two, rounded.
    """
    if np.can_cast(x.dtype, dtype):
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(x.astype(dtype))


def row_blocks(X: NDArray[Any], dtype: Any = None) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, rows) of `X`, a bounded number of rows at a time, `rounded` to a dtype if one is given."""
    for start in range(0, X.shape[0], ROWS_AT_ONCE):
        rows = np.asarray(X[start : start + ROWS_AT_ONCE])
        yield start, rows if dtype is None else rounded(rows, dtype)


class _RoundedRows(np.ndarray):
    """A view whose rows are rounded as they are looked up."""

    to: Any = None

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        return rounded(self.view(np.ndarray)[rows], self.to)


def rounded_rows(X: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """`X` itself, or a view of it for `row_blocks`, the rows of which are `rounded`; nothing is copied."""
    if np.can_cast(X.dtype, dtype):
        return X
    view = X.view(_RoundedRows)
    view.to = dtype
    return view


def real_array(name: str, value: Any) -> NDArray[Any]:
    """`value` as an array of a real dtype, not copied when it is one already (a memory map stays one)."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be a masked array, whose mask would be lost: fill or drop what is masked")
    call = next((call for call in ("toarray", "todense") if hasattr(value, call)), None)
    if call is not None and hasattr(value, "nnz"):
        raise ValueError(f"{name} must be a dense array, got a sparse {type(value).__name__}: use {name}.{call}()")
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except ValueError as error:  # ragged nested sequences
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    if array.dtype.kind == "O":
        array = _numbers(name, array)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def _numbers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Python objects as float64, or as bool where all are: what tables with columns of several kinds turn into."""
    for index in np.ndindex(array.shape):
        value: Any = array[index]
        if isinstance(value, Real | np.bool_):
            continue
        where = name + (f"[{', '.join(map(str, index))}]" if index else "")
        said = repr(value)[:40] if isinstance(value, str) else f"{value!s:.40}"
        # What pandas puts in the place of missing values is of no type that could be named here.
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{name} must hold real numbers, with none missing: {where} is {said}")
        raise ValueError(f"{name} must hold real numbers: {where} is {said}, of type {type(value).__name__}")
    flags = array.size > 0 and all(isinstance(value, bool | np.bool_) for value in array.flat)
    try:
        return array.astype(np.bool_ if flags else np.float64)
    except OverflowError:
        raise ValueError(f"{name} must hold real numbers that float64 can hold, got larger integers") from None


def boolean(name: str, value: Any, rule: str) -> NDArray[np.bool_]:
    """`value` as an array of booleans; `rule` says what it must be."""
    array = real_array(name, value)
    if array.dtype != np.bool_:
        raise ValueError(f"{name} must be {rule}, got {array.dtype} of shape {array.shape}")
    return array


def matrix(name: str, value: Any, width: int | None, *, rows: str = "rows") -> NDArray[Any]:
    """`value` as a non-empty (rows, `width`) array of a real dtype; of any width if that is None."""
    array = real_array(name, value)
    if array.ndim != 2:
        hint = f"; flatten each sample, e.g. {name}.reshape(len({name}), -1)" if array.ndim > 2 else ""
        raise ValueError(f"{name} must have two axes ({rows}, {width or 'units'}), got shape {array.shape}{hint}")
    if array.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}")
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {array.shape}")
    if width is not None and array.shape[1] != width:
        raise ValueError(f"{name} must have {width} columns, one per unit, got {array.shape[1]} (shape {array.shape})")
    return array


def every(
    name: str, array: NDArray[Any], rule: str | Callable[[], str], good: Callable[[NDArray[Any]], NDArray[np.bool_]]
) -> None:
    """Refuse `array` (any number of axes) unless `good` holds for every entry; NaN and inf are named as such.

    `rule` is said of an entry for which it does not; a function makes it where that takes its time.
    """
    blocks = row_blocks(array) if array.ndim else iter([(0, array)])
    for start, block in blocks:
        bad = ~good(block)
        if not bad.any():
            continue
        rule = rule if isinstance(rule, str) else rule()
        local = first_index(bad)
        value = block[local]
        index = (start + local[0], *local[1:]) if local else ()
        if isinstance(value, np.floating) and not np.isfinite(value) and "finite" not in rule:
            rule = "must be finite"
        where = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"{name} {rule}: {name}{where} is {value!s}")


def finite(name: str, array: NDArray[Any], dtype: Any = None) -> None:
    """Refuse NaN and inf; also what is too large for a dtype, if one is given."""
    if dtype is not None and not np.can_cast(array.dtype, dtype):
        every(name, array, f"must be finite in {np.dtype(dtype)}", lambda x: np.isfinite(rounded(x, dtype)))
    elif array.dtype.kind == "f":
        every(name, array, "must be finite", np.isfinite)


def per_site(name: str, value: Any, n: int) -> NDArray[np.float64]:
    """A parameter given as a scalar or an (n,) array, as a fresh finite float64 (n,) array."""
    array = real_array(name, value)
    if array.ndim > 1 or (array.ndim == 1 and array.shape != (n,)):
        raise ValueError(f"{name} must be a number or an array of shape ({n},), got shape {array.shape}")
    finite(name, array)
    return np.array(np.broadcast_to(array, (n,)), dtype=np.float64)
