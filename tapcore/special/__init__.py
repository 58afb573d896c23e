"""Special functions: for arrays of any shape in Python, for one number at a time inside code compiled by Numba."""

from tapcore.special.dawson import dawson, erfi_scaled
from tapcore.special.erfcx import erfcx
from tapcore.special.exponential import exp, log1pexp, log2cosh, sigmoid, tanh

__all__ = ["dawson", "erfcx", "erfi_scaled", "exp", "log1pexp", "log2cosh", "sigmoid", "tanh"]
