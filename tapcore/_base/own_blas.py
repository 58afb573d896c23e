"""A BLAS of the package's own, which always has one thread: a second instance of the OpenBLAS that SciPy brings.

Kernels call BLAS from all threads at once, so it must not have threads of its own there. The number of them is one for
the whole of a library: who sets it for kernels sets it for everyone else, and whoever meanwhile keeps what there was,
to give it back later, keeps the wrong number. The copy is nobody else's, so that there is nothing to set and give back.
It takes 25 MB of memory, which forked processes have together.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tapcore._base.intrinsics import JIT_DISABLED, cython_address

# OpenBLAS starts its threads when it is loaded.
_THREADS = "OPENBLAS_NUM_THREADS"
_CHUNK = 1 << 20
_CLOSE_ON_EXEC = 1


def blas_address(routine: str) -> int:
    """Address of a routine of BLAS or LAPACK, such as ``"dgemm"``, with integers of 32 bits."""
    if OWN is None:
        module = "cython_lapack" if routine[1:] in ("potrf", "potrs") else "cython_blas"
        return cython_address(f"scipy.linalg.{module}", routine)
    return _address(OWN, routine)


def _address(library: ctypes.CDLL, routine: str) -> int:
    return ctypes.cast(library[f"scipy_{routine}_"], ctypes.c_void_p).value or 0


def _load() -> ctypes.CDLL | None:
    """The copy; None where there can be none, and kernels share SciPy's own library.

    So it is where SciPy is no wheel that brings OpenBLAS, and where no library can be loaded from memory.
    """
    if JIT_DISABLED:
        return None  # NumPy makes the products then
    try:
        library = _scipys_library()
        with _one_thread_at_loading():
            own = _loaded_copy(library)
        own.scipy_openblas_get_config.restype = ctypes.c_char_p
        own.scipy_openblas_set_num_threads(1)
        one_thread = own.scipy_openblas_get_num_threads() == 1
        wide = b"USE64BITINT" in own.scipy_openblas_get_config()
        for routine in ("dgemm", "sgemm", "dsyrk", "dpotrf", "dpotrs", "dtrsm"):
            _address(own, routine)
        return own if one_thread and not wide else None
    except Exception:  # no such file, function or symbol, or it is not allowed
        return None


def _scipys_library() -> Path:
    """The OpenBLAS of SciPy's wheel, found without an import of SciPy, which takes ten times as long as the copy."""
    spec = importlib.util.find_spec("scipy")
    if spec is None or spec.origin is None:
        raise ImportError("no scipy")
    (library,) = (Path(spec.origin).parents[1] / "scipy.libs").glob("libscipy_openblas-*.so")
    return library


def _loaded_copy(library: Path) -> ctypes.CDLL:
    """Load a copy of the library, which the loader and those who look for libraries do not take for it."""
    with library.open("rb") as source, open(_memory_file(), "r+b") as copy:
        shutil.copyfileobj(source, copy, _CHUNK)
        copy.flush()
        # By this name SciPy asks for its library: the loader would give it the copy, were that there first.
        name = library.name.encode()
        with mmap.mmap(copy.fileno(), 0) as content:
            at = content.rfind(name)
            if at < 0:
                raise ValueError("the library has another name")
            content[at : at + len(name)] = b"libtapcore".ljust(len(name), b"_")
        # The loader knows files by their paths too, and this number may be another file's by and by: hence the dot.
        # Of symbols that it has itself it takes its own (DEEPBIND), even if somebody has made SciPy's global.
        path, mode = f"/proc/self/fd/./{copy.fileno()}", os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND
        with suppress(OSError):
            return ctypes.CDLL(path, mode)
        # The copy does not find what lies beside the library, unless it is there already, as it mostly is by NumPy.
        for pattern in ("libquadmath*", "libgfortran*"):
            for beside in sorted(library.parent.glob(pattern)):
                ctypes.CDLL(str(beside))
        return ctypes.CDLL(path, mode)


def _memory_file() -> int:
    # As os.memfd_create, which a Python that is built for old systems has not.
    file = ctypes.CDLL(None, use_errno=True).memfd_create(b"tapcore_blas", _CLOSE_ON_EXEC)
    if file < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(file)


@contextmanager
def _one_thread_at_loading() -> Iterator[None]:
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before


# Loaded once, under the lock of the import.
OWN = _load()
