"""The table of methods: each solves, is refused by name what it cannot do, and is a choice wherever it can be one."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import random_rbm, starts

import tapcore as tc
from tapcore import cli
from tapcore.cli import flags
from tapcore.inference import methods, solve
from tapcore.inference.methods import ADAPTIVE, BELIEF, SWEEPS, TABLE, THIRD_CUMULANTS, Method, Need, choices, names
from tapcore.landscape import harvest
from tapcore.training import phases, settings
from tapcore.training.plan import Plan

DEEP = tc.DBM(tc.Binary(5), tc.Binary(4), tc.Binary(3), sigma=0.3, seed=1)
FOREIGN = random_rbm(0, "Binary", "TruncatedGaussian")  # whose third cumulants are not known
KEYS = tuple(TABLE)
NEW = Method(engine=BELIEF, deep=False, needs=Need("THIRD", "needs something that {layer} lacks"), accelerates=True)


def lacking(able: Callable[[Method], bool]) -> list[str]:
    return [name for name in KEYS if not able(TABLE[name])]


def refused_by_name(name: str, message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert repr(name) in str(caught.value)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where chains are made."""

    def work(*_: Any, **__: Any) -> Any:
        pytest.fail("work before the refusal")

    for engine in (SWEEPS, BELIEF, ADAPTIVE):
        monkeypatch.setitem(solve._ENGINES, engine, work)
    for module, name in ((harvest, "pool"), (solve, "pool")):
        monkeypatch.setattr(module, name, work)


# --- What each can do ---


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_method_solves_a_small_machine(name: str, dtype: str) -> None:
    machine = random_rbm(0).replace(dtype=dtype)
    result = tc.solve(machine, starts(machine, 3), method=name)
    assert result.converged.all()
    assert result.method == name
    assert len(result.unique()) == 1
    # Those in float64 converge as closely in any machine.
    fine = tc.solve(machine, starts(machine, 3), method=name, tol=1e-13)
    assert (fine.residual.max() < 1e-12) == (name in ("rbp", "adatap") or dtype == "float64")


@pytest.mark.parametrize("name", KEYS)
def test_every_method_does_what_its_row_says(name: str) -> None:
    row, machine = TABLE[name], random_rbm(0)
    x = starts(machine, 3)
    if row.deep:
        assert tc.solve(DEEP, starts(DEEP, 3), method=name).converged.all()
    if row.fields:
        assert tc.solve(machine, x, method=name, fields=tc.Clamped(np.ones(7), np.arange(7) < 2)).converged.all()
        assert tc.posterior(machine, x > 0.5, tc.BinarySymmetric(0.1), method=name).mean.shape == x.shape
    if row.harvest:
        assert len(tc.harvest(machine, x, method=name)) == 1
        tracker = tc.Tracker(x, method=name)
        assert tracker.follow(machine, 0).solutions == 1
    if row.stability:
        assert tc.spectral_radius(machine, tc.solve(machine, x, method=name), iterations=4).max() < 1
    if row.order:
        result = tc.solve(machine, x, method=name)
        assert tc.free_energy(machine, result.mean, result.var, method=name) == pytest.approx(result.free_energy)
    if row.deep_gradient:
        assert len(tc.gradient(DEEP, np.ones((2, 5)), tc.solve(DEEP, np.ones((1, 5)), method=name)).weights) == 2
    if row.needs is None:
        assert tc.solve(FOREIGN, starts(FOREIGN, 2), method=name, max_sweeps=1)


@pytest.mark.parametrize("name", KEYS)
def test_the_rule_of_a_method_is_that_of_its_row(name: str) -> None:
    row, machine = TABLE[name], random_rbm(0).replace(dtype="float32")
    rule = solve.rule_for(machine, name, adapt=True, accelerate=True)
    floor = 8 * float(np.finfo(np.float64 if row.wide else np.float32).eps)
    assert (rule.order, rule.adapt, rule.accelerate, rule.floor) == (row.order, row.adapts, row.accelerates, floor)
    machine, x = random_rbm(0), starts(random_rbm(0), 2)
    plain = tc.solve(machine, x, method=name, max_sweeps=3, acceleration=None)
    given = tc.solve(machine, x, method=name, max_sweeps=3, acceleration=None, damping=row.damping)
    np.testing.assert_array_equal(plain.mean[0], given.mean[0])


# --- What it cannot do ---


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", lacking(lambda m: m.fields))
def test_fields_are_refused_by_name(name: str) -> None:
    machine = random_rbm(0)
    message = "^fields are for methods 'nmf', 'tap', 'tap3', got "
    refused_by_name(name, message, lambda: tc.solve(machine, starts(machine, 1), method=name, fields=[None, None]))
    message = "^method must be one of 'nmf', 'tap', 'tap3', got "
    channel = tc.BinarySymmetric(0.1)
    refused_by_name(name, message, lambda: tc.posterior(machine, np.ones((1, 7)), channel, method=name))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", lacking(lambda m: m.harvest))
def test_harvests_are_refused_by_name(name: str) -> None:
    machine = random_rbm(0)
    message = "^method must be one of 'nmf', 'tap', 'tap3', got "
    refused_by_name(name, message, lambda: tc.harvest(machine, starts(machine, 1), method=name))
    refused_by_name(name, message, lambda: tc.Tracker(starts(machine, 1), method=name).follow(machine, 0))


@pytest.mark.parametrize("name", lacking(lambda m: m.stability))
def test_stability_is_refused_by_name(name: str) -> None:
    result = replace(tc.solve(random_rbm(0), starts(random_rbm(0), 1), max_sweeps=1), method=name)
    message = "^method of solutions must be one of 'nmf', 'tap', 'tap3', got "
    refused_by_name(name, message, lambda: tc.spectral_radius(random_rbm(0), result))


@pytest.mark.parametrize("name", lacking(lambda m: m.order > 0))
def test_free_energies_of_means_are_refused_by_name(name: str) -> None:
    mean = [np.zeros(7), np.zeros(5)]
    message = "^method must be one of 'nmf', 'tap', 'tap3', got "
    refused_by_name(name, message, lambda: tc.free_energy(random_rbm(0), mean, mean, method=name))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", lacking(lambda m: m.deep))
def test_deep_machines_are_refused_by_name(name: str) -> None:
    message = "^method 'rbp' is for machines of two layers, got 3: use 'tap'"
    refused_by_name(name, message, lambda: tc.solve(DEEP, np.ones((1, 5)), method=name))


@pytest.mark.parametrize("name", [*lacking(lambda m: m.deep_gradient), *settings.SAMPLED])
def test_gradients_of_deep_machines_are_refused_by_name(name: str) -> None:
    message = "^gradient must be one of 'nmf', 'tap', 'tap3' for a machine of more than two layers, got "
    refused_by_name(name, message, lambda: tc.fit(DEEP, np.ones((4, 5)), epochs=1, gradient=name))
    result = replace(tc.solve(DEEP, np.ones((1, 5)), max_sweeps=1), method=name)
    message = "^solutions of a deep machine must be of method 'nmf', 'tap', 'tap3', got "
    refused_by_name(name, message, lambda: tc.gradient(DEEP, np.ones((4, 5)), result))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", [name for name in KEYS if TABLE[name].needs is THIRD_CUMULANTS])
def test_units_without_what_a_method_needs_are_refused_by_name(name: str) -> None:
    message = r"^method 'tap3' needs the third cumulant.*layers\[1\] \(TruncatedGaussian\).*use 'tap'$"
    x, mean = starts(FOREIGN, 1), [np.zeros(n) for n in FOREIGN.sizes]
    refused_by_name(name, message, lambda: tc.solve(FOREIGN, x, method=name))
    refused_by_name(name, message, lambda: tc.harvest(FOREIGN, x, method=name))
    refused_by_name(name, message, lambda: tc.free_energy(FOREIGN, mean, mean, method=name))
    refused_by_name(name, message, lambda: tc.fit(FOREIGN, np.ones((4, 7)), epochs=1, gradient=name))


# --- Choices and documents ---


def flag_choices(kind: Any) -> tuple[str, ...]:
    parser = argparse.ArgumentParser()
    flags.add_to(parser, kind)
    return tuple(next(a.choices or () for a in parser._actions if a.dest == "gradient"))


def command_choices() -> tuple[str, ...]:
    commands = next(a for a in cli.parser()._actions if a.dest == "command")
    assert isinstance(commands.choices, dict)
    return tuple(next(a.choices for a in commands.choices["solve"]._actions if a.dest == "method"))


def test_choices_are_those_of_the_table() -> None:
    assert command_choices() == choices(lambda m: m.harvest) == ("tap", "nmf", "tap3")
    assert flag_choices(tc.Settings) == settings.GRADIENTS == (*choices(), *settings.SAMPLED)
    assert set(choices()) == set(names()) == set(TABLE)
    assert choices()[0] == methods.DEFAULT == inspect.signature(tc.solve).parameters["method"].default


@pytest.mark.parametrize(
    ("function", "keyword", "expected"),
    [
        (tc.solve, "method", names()),
        (tc.free_energy, "method", names(lambda m: m.order > 0)),
        (tc.fit, "gradient", settings.GRADIENTS),
    ],
)
def test_docstrings_list_the_table(function: Any, keyword: str, expected: tuple[str, ...]) -> None:
    listed = re.search(rf"\n    {keyword} : \{{(.*)\}}\n", function.__doc__)
    assert listed is not None
    assert set(re.findall(r'"(\w+)"', listed[1])) == set(expected)


@pytest.mark.parametrize("name", settings.GRADIENTS)
def test_every_gradient_trains(name: str) -> None:
    machine = random_rbm(0)
    trained = tc.fit(machine, np.eye(7), epochs=1, gradient=name, chains=3, learning_rate=0.1).machine
    assert trained != machine
    with pytest.raises(ValueError, match=r"^gradient must be one of"):
        tc.Settings(epochs=1, gradient=f"{name}x")


def test_the_table_loads_nothing() -> None:
    code = "import sys, tapcore.inference.methods; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"numba", "numpy", "scipy"} & set(done.stdout.split())


# --- A new row ---


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "new", NEW)


@pytest.mark.usefixtures("row", "no_work")
def test_a_new_row_is_refused_what_it_cannot_do() -> None:
    machine, x = random_rbm(0), starts(random_rbm(0), 1)
    mean = [np.zeros(n) for n in machine.sizes]
    refused_by_name("new", "^fields are for methods", lambda: tc.solve(machine, x, method="new", fields=[None, None]))
    refused_by_name("new", "^method must be one of", lambda: tc.harvest(machine, x, method="new"))
    refused_by_name("new", "^method must be one of", lambda: tc.free_energy(machine, mean, mean, method="new"))
    channel = tc.BinarySymmetric(0.1)
    refused_by_name("new", "^method must be one of", lambda: tc.posterior(machine, x > 2, channel, method="new"))
    refused_by_name("new", "^method 'new' is for machines of two", lambda: tc.solve(DEEP, [[0] * 5], method="new"))
    message = r"^method 'new' needs something that layers\[1\] \(TruncatedGaussian\) lacks$"
    refused_by_name("new", message, lambda: tc.solve(FOREIGN, x, method="new"))
    with pytest.raises(ValueError, match=r"^method must be one of .*'adatap', 'new', got 'other'"):
        tc.solve(machine, x, method="other")


@pytest.mark.usefixtures("row")
def test_a_new_row_is_a_choice_where_it_can_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command_choices() == ("tap", "nmf", "tap3")
    monkeypatch.setitem(TABLE, "new", replace(NEW, harvest=True))
    assert command_choices() == ("tap", "nmf", "tap3", "new")
    # Settings are made of the table when they load.
    spec = importlib.util.spec_from_file_location("settings_again", Path(settings.__file__))
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "settings_again", again)
    spec.loader.exec_module(again)
    assert flag_choices(again.Settings) == again.GRADIENTS == (*choices(), *settings.SAMPLED)
    assert again.Settings(epochs=1, gradient="new").gradient == "new"


@pytest.mark.usefixtures("row")
def test_a_new_row_moves_by_its_engine() -> None:
    machine, x = random_rbm(0), starts(random_rbm(0), 2)
    by_row = tc.solve(machine, x, method="new")
    np.testing.assert_array_equal(by_row.mean[0], tc.solve(machine, x, method="rbp").mean[0])
    plan = Plan.of(tc.Settings(epochs=1), machine, 100)
    object.__setattr__(plan, "gradient", "new")  # which settings that loaded before do not know
    assert isinstance(phases.phase_for(machine, plan), phases.RelaxedPhase)
