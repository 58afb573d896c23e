"""A thread that wakes on the processor of the one that woke it moves to another, where Linux tells and allows.

A kernel of the system may put a sleeping thread that is wanted on the processor of whoever wants it, though another one
has nothing to do, and leave both there for some milliseconds: what two threads should do then takes as long as one
alone would. Measured on Linux 6.18 with two virtual processors: every call after a pause of 50 ms.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import types

from tapcore._base.intrinsics import JIT_DISABLED, address_of, stack_array
from tapcore._base.jit import helper

# Of the C library; known by their names to LLVM, so that what calls them can be kept on disk.
_processor = types.ExternalFunction("sched_getcpu", types.intc())
_thread = types.ExternalFunction("pthread_self", types.uintp())
_yield = types.ExternalFunction("sched_yield", types.intc())
_allowed = types.ExternalFunction("sched_getaffinity", types.intc(types.intc, types.uintp, types.intp))
_allow = types.ExternalFunction("sched_setaffinity", types.intc(types.intc, types.uintp, types.intp))

# Numbers of 64 bits that say which processors are allowed: of 1,024, which is what the C library has room for.
_WORDS = 16


def _nowhere(caller: Any) -> None:
    """As if all were well placed: systems other than Linux do not tell."""


def _note_caller(caller: Any) -> None:
    """Keep processor and number of this thread in `caller`, (2,) int64."""
    caller[0] = _processor()
    caller[1] = np.int64(_thread())


def _move_apart(caller: Any) -> None:
    """Leave the processor of the thread that `note_caller` was called in; that one lets others begin first."""
    here = np.int64(_processor())
    if np.int64(_thread()) == caller[1]:
        _yield()
    elif here == caller[0] and 0 <= here < 64 * _WORDS:
        allowed = stack_array(_WORDS, np.int64(0))
        size, at = np.uint64(8 * _WORDS), address_of(allowed)
        if _allowed(0, size, at) != 0:
            return
        word, before = here // 64, allowed[here // 64]
        allowed[word] = before & ~(np.int64(1) << (here % 64))
        # Where this is the only one allowed, or it is forbidden, it fails and nothing has changed.
        if _allow(0, size, at) == 0:
            allowed[word] = before
            _allow(0, size, at)


_TELLS = sys.platform == "linux" and not JIT_DISABLED
note_caller = helper()(_note_caller if _TELLS else _nowhere)
move_apart = helper()(_move_apart if _TELLS else _nowhere)
