"""The command `tapcore`. A file for each of its commands; imports wait until one runs: --help answers at once."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from tapcore import __version__
from tapcore.cli import compile as compile_ahead
from tapcore.cli import denoise, info, sample, score, solve, train, tree
from tapcore.cli.data import DATA_NOTE

__all__ = ["main", "parser"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tapcore: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    top = _Parser(
        prog="tapcore", description="Train Boltzmann machines by the TAP equations, find their solutions, use them."
    )
    top.add_argument("--version", action="version", version=f"tapcore {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (train, solve, tree, sample, denoise, score, info, compile_ahead):
        command.add_to(commands)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit status: 0; 1 when training diverged; 2 when something given is wrong, said in one line; 130 after Ctrl-C.
    """
    options = parser().parse_args(arguments)
    try:
        with _plain_warnings():
            options.run_command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        begun = options.command == "train" and (Path(options.out) / DATA_NOTE).exists()
        print(f"tapcore: interrupted{'; go on with --resume' if begun else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FloatingPointError as error:
        print(f"tapcore: {error}", file=sys.stderr)
        return 1
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        print(f"tapcore: {' '.join(_reason(error).split())}", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print this library's own warnings without the place in its sources, which tells the user nothing."""
    usual = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], filename: str, *place: int | str | None) -> str:
        own = category is UserWarning and Path(__file__).parents[1] in Path(filename).parents
        return f"tapcore: warning: {message}\n" if own else usual(message, category, filename, *place)  # type: ignore[arg-type]

    warnings.formatwarning = plain  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
