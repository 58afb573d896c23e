"""Numba's decorators as the package uses them."""

from __future__ import annotations

from typing import Any

import numba
import pytest

from tapcore._base import jit


@pytest.mark.skipif(jit.JIT_DISABLED, reason="nothing is compiled")
def test_a_helper_is_made_for_python_when_python_calls_it_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    njit = numba.njit

    def count(*args: Any, **options: Any) -> Any:
        if options.get("error_model") == "numpy":  # Numba compiles with it for itself
            made.append(options)
        return njit(*args, **options)

    monkeypatch.setattr(jit.numba, "njit", count)

    @jit.helper()
    def twice(x: float) -> float:
        return 2.0 * x

    assert len(made) == 1
    assert [twice(1.5), twice(2.5)] == [3.0, 5.0]
    assert len(made) == 2
