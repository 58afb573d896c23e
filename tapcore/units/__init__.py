"""Unit types: one file each, found here by themselves; the interface they share is in `interface.py`."""

import importlib
import pkgutil

from tapcore.units.contract import check
from tapcore.units.interface import Unit
from tapcore.units.parameters import parameter

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")

#: Unit types by name, as checkpoints store them.
UNITS = Unit.registry

globals().update(UNITS)
__all__ = ["UNITS", "Unit", "check", "parameter", *UNITS]
