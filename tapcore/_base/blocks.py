"""Work in blocks: kernels of a block's number and one NamedTuple of all they need, run by Numba's threads.

A block kernel is compiled once for the types of what it is given and called by its address, from one parallel loop that
is compiled once for all kernels. A kernel may call others by their addresses, which stand in the field ``calls`` of its
job: what few runs need is then neither compiled nor optimised with what all need.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import JIT_DISABLED, call_block, take
from tapcore._base.jit import block_function, parallel_kernel
from tapcore._base.placement import move_apart, note_caller
from tapcore._base.structs import Reference, pack
from tapcore._base.threads import blas_held, for_each, parallel_loops_allowed, thread_count

__all__ = ["BlockKernel", "Job", "Kept", "block_kernel", "call_block", "no_calls", "run_blocks"]


class BlockKernel:
    """A kernel ``kernel(b, job)``; `job` is a NamedTuple of arrays, numbers and such NamedTuples."""

    def __init__(self, function: Callable[[int, Any], None]) -> None:
        self.function = function
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.compiled: dict[Reference, Any] = {}

    def __call__(self, b: int, job: Any) -> None:
        """Run block `b`, where nothing is compiled."""
        self.function(b, job)

    def address(self, job: Reference) -> int:
        """Of the function compiled for jobs of that type."""
        if job not in self.compiled:
            self.compiled[job] = block_function(self.function, job)
        return int(self.compiled[job].address)


@parallel_kernel
def parallel_loop(address: int, job: int, count: int, threads: int, taken: NDArray[np.int64]) -> None:
    """Call the block function at `address` with each number below `count` and the job, on so many threads.

    Each thread takes the next number that nobody has taken: `taken`, (3,), starts with 0; the others are for placement.
    """
    caller = taken[1:]
    note_caller(caller)
    for _ in numba.prange(threads):
        move_apart(caller)
        b = take(taken)
        while b < count:
            call_block(address, b, job)
            b = take(taken)


def block_kernel(function: Callable[[int, Any], None]) -> BlockKernel:
    """Make ``function(b, job)`` a block kernel."""
    return BlockKernel(function)


class Job:
    """What a block kernel is given, packed once for any number of runs.

    Parameters
    ----------
    values : NamedTuple
        Of C-ordered arrays, which stay where they are, of numbers, and of such NamedTuples.
    """

    def __init__(self, values: Any) -> None:
        self.values = values
        self._packed = None if JIT_DISABLED else pack(values)

    def link(self, place: int, kernel: BlockKernel, part: str | None = None) -> None:
        """Let kernels call `kernel` as number `place` of their ``calls``, made by `no_calls`.

        It is called with the job, or with the NamedTuple in its field `part`.
        """
        if self._packed is None:
            self.values.calls[place] = kernel
        else:
            job = self._packed.type
            self.values.calls[place] = kernel.address(job if part is None else job.fields[part])

    def run(self, kernel: BlockKernel, count: int, *, brief: bool = False) -> None:
        """Run blocks 0..count-1 on all threads; in this one where they are `brief`, done sooner than handed out."""
        if self._packed is None:
            for b in range(count):
                kernel.function(b, self.values)
            return
        address, packed = kernel.address(self._packed.type), self._packed.address
        threads = 1 if brief else min(thread_count(), count)
        if threads > 1 and parallel_loops_allowed():
            with blas_held():
                parallel_loop(address, packed, count, threads, np.zeros(3, np.int64))
            return
        block = _CALL(address)
        if threads > 1:
            for_each(lambda b: block(b, packed), count)
            return
        with blas_held():
            for b in range(count):
                block(b, packed)

    def run_here(self, kernel: BlockKernel, b: int = 0) -> None:
        """Run one block in the calling thread."""
        if self._packed is None:
            kernel.function(b, self.values)
            return
        _CALL(kernel.address(self._packed.type))(b, self._packed.address)


class Kept:
    """Runs of one kind, whose job is packed anew only where something in it is another array or number."""

    def __init__(self) -> None:
        self._job: Job | None = None

    def run(self, kernel: BlockKernel, count: int, values: Any) -> None:
        """As `run_blocks`."""
        if self._job is None or not all(map(_same, self._job.values, values)):
            self._job = Job(values)
        self._job.run(kernel, count)


def _same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, int | float) and a == b and type(a) is type(b))


def no_calls(count: int) -> Any:
    """Room for the addresses of `count` kernels, 0 of those that are not linked."""
    return [0] * count if JIT_DISABLED else np.zeros(count, np.int64)


def run_blocks(kernel: BlockKernel, count: int, values: Any) -> None:
    """Run blocks 0..count-1 of a job made of `values`."""
    Job(values).run(kernel, count)


_CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
