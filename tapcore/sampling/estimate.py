"""Estimates of ln Z that say why they are not to be trusted, if so."""

from __future__ import annotations

from typing import NamedTuple, Self


class _Pair(NamedTuple):
    log_z: float
    standard_error: float


class Estimate(_Pair):
    """A pair ``(log_z, standard_error)`` with what speaks against it.

    Attributes
    ----------
    log_z : float
    standard_error : float
    doubts : tuple of str
        Why neither is to be trusted; none if nothing speaks against it.
    trusted : bool
        Whether there are no doubts.
    """

    doubts: tuple[str, ...] = ()

    def __new__(cls, log_z: float, standard_error: float, doubts: tuple[str, ...] = ()) -> Self:
        """Make the pair, and keep what speaks against it."""
        made = super().__new__(cls, log_z, standard_error)
        made.doubts = doubts
        return made

    @property
    def trusted(self) -> bool:
        """Whether there are no doubts."""
        return not self.doubts

    def __repr__(self) -> str:
        doubts = f", doubts={self.doubts!r}" if self.doubts else ""
        return f"{type(self).__name__}(log_z={self.log_z!r}, standard_error={self.standard_error!r}{doubts})"
