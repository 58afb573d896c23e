"""The cache of compiled functions on disk. It follows every source of the package and is never a reason to fail.

Numba's own stamps a function by the one file it is in, so that it outlives the edit of a helper in another file, and
raises where it cannot write. Here the sources of the whole package are part of a file's name, one file holds one
compiled function behind a digest of itself, and what cannot be read counts as not there. The folders are Numba's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import re
import sys
import types
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl
from numba.core.serialize import dumps

from tapcore._base.inline import rebuild

_PACKAGE = __name__.partition(".")[0]
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DIGEST_SIZE = hashlib.sha256().digest_size
_FILE = re.compile(r"-([0-9a-f]{16})-[0-9a-f]{32}\.nbc(\.tmp\.[0-9a-f]{16})?")


class KernelCache:
    """What a dispatcher or C function of Numba takes for its cache.

    Parameters
    ----------
    function : function
        What is compiled.
    *chosen : functions and classes
        What else decides what is compiled, beside the function's code and the sources of the package.
    """

    def __init__(self, function: Callable[..., Any], *chosen: Any) -> None:
        self._function = function
        self._chosen = chosen
        _loaded()  # the sources as they are now, before they may be edited

    @property
    def cache_path(self) -> str | None:
        """Folder, if there is one."""
        return _folder(self._function)

    def flush(self) -> None:
        """For Numba, before it compiles a function anew: what is there is then overwritten."""

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Compiled function of that signature, or None if there is none."""
        target.refresh()
        path = self._path(signature, target.codegen())
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                digest, content = file.read(_DIGEST_SIZE), file.read()
            if hashlib.sha256(content).digest() != digest:
                return None
            found, reduced = pickle.loads(content)
            return rebuild(target, reduced) if found == signature else None
        except Exception:  # not there, or whatever unpickling raises
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled function, if that is possible."""
        if _given_up or compiled.lifted or compiled.library.has_dynamic_globals:
            return
        path = self._path(signature, compiled.codegen)
        if path is None:
            return
        try:
            content = dumps((signature, compiled._reduce()))
        except Exception:  # whatever pickling raises
            return
        folder = os.path.dirname(path)
        try:
            _write(path, hashlib.sha256(content).digest() + content)
            _sweep(folder)
        except FileNotFoundError:  # another process removed it at this moment
            return
        except OSError as error:
            _give_up(f"they cannot be kept in {folder} ({error.strerror}); set NUMBA_CACHE_DIR to a folder with room")

    def _path(self, signature: Any, codegen: Any) -> str | None:
        """File for a signature; all that decides what is in it is part of its name."""
        function, loaded = self._function, _loaded()
        outside, folder = _outside(function, *self._chosen), _folder(function)
        if outside is None:
            return None
        if loaded.stamp is None:
            _give_up(f"the sources in {_ROOT}, by which they are told apart, cannot be read")
            return None
        if folder is None:
            places = f"{numba.config.CACHE_DIR}, {_ROOT}" if numba.config.CACHE_DIR else _ROOT
            _give_up(f"neither {places} nor a home can be written to; set NUMBA_CACHE_DIR to a folder that can")
            return None
        if not loaded.are_current():
            return None
        try:
            cells = dumps(tuple(cell.cell_contents for cell in function.__closure__ or ()))
        except Exception:  # whatever pickling raises
            return None
        name, code = f"{function.__module__}.{function.__qualname__}", function.__code__
        key = (
            name, code.co_firstlineno, code.co_code, cells, outside, str(signature), codegen.magic_tuple(),
            numba.__version__, sys.implementation.cache_tag,
        )  # fmt: skip
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        readable = re.sub(r"[^\w.]", "", name)[-100:]
        return os.path.join(folder, f"{readable}-{loaded.stamp[:16]}-{digest[:32]}.nbc")


# --- What kernels are made of ---


def package_stamp() -> str | None:
    """Digest of the names and contents of the package's sources as they are now; None where they cannot be read.

    Of contents, as archives and rsync keep times.
    """
    digest = hashlib.sha256()
    try:
        paths = _sources(_ROOT)
        for path in paths:
            with open(path, "rb") as file:
                content = file.read()
            digest.update(f"{os.path.relpath(path, _ROOT)}\0{len(content)}\0".encode())
            digest.update(content)
    except OSError:
        return None
    return digest.hexdigest() if paths else None


def _sources(folder: str) -> list[str]:
    found = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith((".", "__pycache__")):
            continue
        if entry.is_dir():
            found += _sources(entry.path)
        elif entry.name.endswith(".py"):
            found.append(entry.path)
    return found


class _Loaded:
    """The sources as they were when this process began to import them; they may be edited while it runs."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        with contextlib.suppress(OSError):
            self._paths = _sources(_ROOT)
        self._marks = self._look()
        self.stamp = package_stamp()

    def _look(self) -> list[tuple[int, ...]] | None:
        """What changes whenever a file is written, ten times cheaper than contents."""
        try:
            return [(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in map(os.stat, self._paths)]
        except OSError:
            return None

    def are_current(self) -> bool:
        """Whether they are still those on disk. If not, what this process holds may be a mix of both."""
        marks = self._look()
        if marks != self._marks:
            if package_stamp() != self.stamp:
                return False
            self._marks = marks
        return self.stamp is not None


@functools.cache
def _loaded() -> _Loaded:
    return _Loaded()


def _outside(*roots: Any) -> str | None:
    """Digest of what functions and classes are made of outside of the package; None where it cannot be known.

    It covers their files and, as these may have been edited since they were imported, the code itself, with the
    functions and numbers it uses. What is not at the top level of an importable module has no name to tell it by.
    """
    digest, files, done, todo = hashlib.sha256(), set(), set(), list(roots)
    while todo:
        item = todo.pop(0)
        if item in done or item.__module__.partition(".")[0] == _PACKAGE:
            continue
        done.add(item)
        if item.__module__ == "__main__" or "<locals>" in item.__qualname__ or getattr(item, "__closure__", None):
            return None
        try:
            files.add(inspect.getfile(item))
        except (TypeError, OSError):
            return None
        for used in _used(item.__code__, item.__globals__) if isinstance(item, types.FunctionType) else ():
            if isinstance(used, types.FunctionType):
                todo.append(used)
            else:
                digest.update(used.tobytes() if isinstance(used, np.ndarray) else repr(used).encode())
    for path in sorted(files):
        try:
            with open(path, "rb") as file:
                digest.update(file.read())
        except OSError:
            return None
    return digest.hexdigest()


def _used(code: types.CodeType, names: dict[str, Any]) -> Iterator[Any]:
    """The instructions, their constants, and the functions and numbers that they find by name, also in modules."""
    yield code.co_code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _used(constant, names)
        else:
            yield constant
    modules = [vars(names[n]) for n in code.co_names if isinstance(names.get(n), types.ModuleType)]
    for space in (names, *modules):
        for name in code.co_names:
            value = space.get(name)
            value = getattr(value, "py_func", value)
            if isinstance(value, types.FunctionType | int | float | tuple | np.ndarray):
                yield value


# --- Where they are kept ---

_folders: dict[str, str | None] = {}
_swept: set[str] = set()
_given_up = False


class _Choice(CompileResultCacheImpl):  # type: ignore[misc]
    """Numba's choice of a folder: in NUMBA_CACHE_DIR, beside the source, or in the user's cache folder."""

    # Where there is no home at all, the last would be a folder "~" in the current one.
    _locator_classes = tuple(
        c
        for c in CompileResultCacheImpl._locator_classes
        if os.path.isabs(os.path.expanduser("~")) or "UserWide" not in c.__name__
    )


def _folder(function: Callable[..., Any]) -> str | None:
    """Where functions of this one's source folder are kept, None if nowhere; looked for once."""
    beside = os.path.dirname(function.__code__.co_filename)
    if beside not in _folders:
        try:
            _folders[beside] = os.path.abspath(_Choice(function).locator.get_cache_path())
        except Exception:  # whatever Numba meets
            _folders[beside] = None
    return _folders[beside]


def files_kept() -> tuple[str, int]:
    """Folder under which files are kept, "" if there is none, and how many functions made of these sources it has."""
    folders = {folder for folder in _folders.values() if folder is not None}
    stamp = str(_loaded().stamp)
    count = 0
    for folder in folders:
        with contextlib.suppress(OSError):
            names = (_FILE.search(name) for name in os.listdir(folder))
            count += sum(1 for m in names if m and stamp.startswith(m[1]) and m[2] is None)
    return os.path.commonpath(folders) if folders else "", count


def _write(path: str, content: bytes) -> None:
    """Put the file there whole or not at all, whatever other processes do."""
    part = f"{path}.tmp.{uuid.uuid4().hex[:16]}"
    try:
        with open(part, "wb") as file:
            file.write(content)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _sweep(folder: str) -> None:
    """Remove, once, what was made of other sources than those that are loaded."""
    if folder not in _swept:
        _swept.add(folder)
        for name in os.listdir(folder):
            found = _FILE.search(name)
            if found and not str(_loaded().stamp).startswith(found[1]):
                with contextlib.suppress(OSError):  # another process was faster
                    os.unlink(os.path.join(folder, name))


def _give_up(reason: str) -> None:
    """Write nothing more in this process, and say so once."""
    global _given_up
    if not _given_up:
        _given_up = True
        warnings.warn(f"kernels are compiled anew in each process: {reason}", stacklevel=2)
