"""The weight ``exp(-s x^2/2 + b x)`` on ``[lo, hi]``, for precision s of any sign: moments, density, samples."""

from tapcore.special.truncnorm.functions import cdf, log_density, moments, sample

__all__ = ["cdf", "log_density", "moments", "sample"]
