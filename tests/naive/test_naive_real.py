"""The readable reference of the real-valued units agrees with mpmath's quadrature of their weights."""

from __future__ import annotations

import math

import mpmath
import naive
import pytest

REAL = {
    "gaussian": {"U": 0.4, "V": 2.5},
    "truncatedgaussian": {"U": 0.4, "V": 2.5, "lo": -0.5, "hi": 2.0},
    "gaussbernoulli": {"rho": 0.3, "U": 0.4, "V": 2.5},
    "truncatedgaussbernoulli": {"rho": 0.3, "U": 0.4, "V": 2.5, "lo": -0.5, "hi": 2.0},
}


FIELDS = [(0.0, 0.0), (3.0, -1.5), (-20.0, 30.0), (1.0, -60.0), (40.0, 25.0)]
# On the whole line no weight with A + V <= 0 can be normalised.
WEIGHTS = [(kind, *at) for kind, site in REAL.items() for at in FIELDS if at[1] + site["V"] > 0 or "lo" in site]


@pytest.mark.parametrize(("kind", "B", "A"), WEIGHTS)
def test_site_functions_integrate_the_weight(kind: str, B: float, A: float) -> None:
    site = {"kind": kind, **REAL[kind]}
    mode = (B + site["U"]) / (A + site["V"])
    ends = [site["lo"], 0.3, site["hi"]] if "lo" in site else [mode - 12, mode - 1, mode, mode + 1, mode + 12]
    top = max(naive.log_weight(site, x) + B * x - A * x * x / 2 for x in (*ends, 1e-9))

    def integral(power: int) -> mpmath.mpf:
        def weight(x: mpmath.mpf) -> mpmath.mpf:
            exponent = (B + site["U"]) * x - (A + site["V"]) * x * x / 2
            return x**power * mpmath.exp(exponent - top)

        total = site.get("rho", 1.0) * mpmath.quad(weight, mpmath.linspace(ends[0], ends[-1], 40))
        return total + (mpmath.exp(-top) * (1 - site["rho"]) if power == 0 and "rho" in site else 0)

    zeroth, first, second = (integral(power) for power in range(3))
    mean = first / zeroth
    assert naive.log_z(site, B, A) == pytest.approx(float(mpmath.log(zeroth)) + top, abs=1e-12)
    assert naive.mean(site, B, A) == pytest.approx(float(mean), rel=1e-11, abs=1e-12)
    assert naive.var(site, B, A) == pytest.approx(float(second / zeroth - mean**2), rel=1e-9)


def test_the_atom_weighs_what_the_slab_leaves() -> None:
    site = {"kind": "gaussbernoulli", **REAL["gaussbernoulli"]}
    assert naive.log_weight(site, 0.0) == pytest.approx(math.log(0.7))
    assert naive.log_weight(site, 1.0) == pytest.approx(math.log(0.3) + 0.4 - 1.25)
