"""Special functions: NumPy-broadcasting faces that are scalar functions inside compiled code."""

from tapcore.special.erfcx import erfcx
from tapcore.special.exponential import exp, log1pexp, log2cosh, sigmoid, tanh

__all__ = ["erfcx", "exp", "log1pexp", "log2cosh", "sigmoid", "tanh"]
