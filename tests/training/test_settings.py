"""Settings: one truth for `fit`, `Training` and the flags of `tapcore train`; what is refused, and what a run makes."""

from __future__ import annotations

import argparse
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import tapcore as tc
from tapcore.cli import flags
from tapcore.cli import train as command
from tapcore.storage import format as file_format
from tapcore.training.options import default_of, option, option_of, whole
from tapcore.training.plan import Plan

FIELDS = {f.name: f for f in fields(tc.Settings)}
OF_THE_RUN = ("settings", "validation", "checkpoint", "checkpoint_every", "resume", "progress", "callbacks")
RBM = tc.RBM(tc.Binary(6), tc.Binary(4), sigma=0.3, seed=1)
DEEP = tc.DBM(tc.Binary(6), tc.Binary(4), tc.Binary(3), sigma=0.3, seed=1)
X = np.random.default_rng(0).random((40, 6)) < 0.4
HOW: dict[str, Any] = {"epochs": 2, "batch_size": 15, "chains": 7, "learning_rate": 0.1, "sweeps": 3, "seed": 5}


# --- One truth ---


def test_keywords_of_fit_are_the_fields() -> None:
    keywords = {
        name: p
        for name, p in inspect.signature(tc.fit).parameters.items()
        if p.kind is p.KEYWORD_ONLY and name not in OF_THE_RUN
    }
    assert list(keywords) == list(FIELDS)
    for name, keyword in keywords.items():
        assert keyword.default == default_of(FIELDS[name]), name
        assert type(keyword.default) is type(default_of(FIELDS[name])), name
    told, typed = get_type_hints(tc.fit), get_type_hints(tc.Settings)
    assert {name: told[name] for name in keywords} == {name: typed[name] for name in keywords}
    assert tc.fit.__doc__ is not None
    for name in FIELDS:
        assert f"\n    {name} : " in tc.fit.__doc__


def parsed(*arguments: str, kind: Any = tc.Settings) -> Any:
    parser = argparse.ArgumentParser()
    flags.add_to(parser, kind)
    return flags.chosen(parser.parse_args(arguments), kind)


def test_flags_have_the_defaults_of_fit() -> None:
    assert parsed() == tc.Settings()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--epochs 3", {"epochs": 3}),
        ("--batch-size 7", {"batch_size": 7}),
        ("--chains 7", {"chains": 7}),
        ("--learning-rate 0.5", {"learning_rate": 0.5}),
        ("--momentum 0", {"momentum": 0.0}),
        ("--l1 0.5", {"penalty": tc.L1(0.5)}),
        ("--l2 0.5", {"penalty": tc.L2(0.5)}),
        ("--l2 0", {"penalty": tc.L2(0.0)}),
        ("--sweeps 7", {"sweeps": 7}),
        ("--chain-init random", {"chain_init": "random"}),
        ("--renew 0", {"renew": 0.0}),
        ("--solution-weights 2", {"solution_weights": 2.0}),
        ("--solution-weights inf", {"solution_weights": np.inf}),
        ("--noisy 0.5", {"noisy": 0.5}),
        ("--damping 0.5", {"damping": 0.5}),
        ("--gradient nmf", {"gradient": "nmf"}),
        ("--seed 7", {"seed": 7}),
        ("--pretrain 0", {"pretrain": 0}),
        ("--pass-up means", {"pass_up": "means"}),
        ("--center", {"center": True}),
        ("--no-center", {"center": False}),
        ("--seconds 60", {"seconds": 60.0}),
        ("--schedule cosine", {"schedule": tc.Cosine()}),
        ("--adam 0.8", {"optimizer": tc.Adam(0.8)}),
        ("--dtype float32", {"dtype": "float32"}),
        ("--patience 7", {"patience": 7}),
    ],
)
def test_each_flag_reaches_its_field(arguments: str, expected: dict[str, Any]) -> None:
    assert parsed(*arguments.split()) == replace(tc.Settings(), **expected)


def test_all_fields_have_flags_with_help_in_the_command(run: Any) -> None:
    _, text, _ = run("train", "--help")
    for f in fields(tc.Settings):
        own = option_of(f)
        assert own is not None
        for name, how in own.flags.items():
            assert f"  {name}" in text
            assert how.help.split()[0] in text


def test_a_new_field_is_a_new_flag(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True, repr=False)
    class More(tc.Settings):
        new_thing: int = field(default=3, metadata=option(whole(2), "a thing that is new", "THINGS"))

    assert parsed(kind=More).new_thing == 3
    assert parsed("--new-thing", "5", kind=More) == More(new_thing=5)
    with pytest.raises(ValueError, match="new_thing must be an integer of at least 2, got 1"):
        parsed("--new-thing", "1", kind=More)
    monkeypatch.setattr(command, "Settings", More)
    assert "--new-thing THINGS" in run("train", "--help")[1]


def test_only_one_penalty_can_be_given(run: Any, tmp_path: Path) -> None:
    status, _, err = run("train", "digits", "--out", tmp_path / "run", "--l1", "0.1", "--l2", "0.1")
    assert (status, err.count("\n")) == (2, 1)
    assert "--l2: not allowed with argument --l1" in err


# --- Both routes ---


@pytest.mark.parametrize(
    ("machine", "more"),
    [
        (RBM, {"penalty": tc.L1(0.01), "momentum": 0.2, "chain_init": "persistent", "renew": 0.5, "noisy": 0.3}),
        (RBM, {"gradient": "pcd", "sweeps": None}),
        (RBM, {"gradient": "adatap", "damping": 0.3, "center": True}),
        (DEEP, {"pretrain": 1, "pass_up": "means"}),
    ],
    ids=["tap", "pcd", "adatap", "deep"],
)
def test_settings_train_as_keywords_do(machine: tc.Machine, more: dict[str, Any]) -> None:
    how = HOW | more
    expected = tc.fit(machine, X, **how)
    found = tc.fit(machine, X, settings=tc.Settings(**how))
    assert found.machine == expected.machine
    assert found.history.log_likelihood.tolist() == expected.history.log_likelihood.tolist()


def test_keywords_replace_fields_even_by_defaults() -> None:
    other = tc.Settings(**HOW | {"batch_size": 9, "learning_rate": 0.3, "epochs": 1, "momentum": 0.1})
    found = tc.fit(RBM, X, settings=other, epochs=2, batch_size=15, learning_rate=0.1, momentum=0.5)
    assert found.machine == tc.fit(RBM, X, **HOW).machine
    assert tc.fit(RBM, X, settings=other, momentum=0.5).machine != tc.fit(RBM, X, settings=other).machine
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got 0"):
        tc.fit(RBM, X, settings=other, batch_size=0)


def test_what_is_no_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        tc.fit(RBM, X, epochs=1, epoch=3)
    for bad in ({"epochs": 3}, 3, tc.Settings):
        with pytest.raises(ValueError, match=r"settings must be tapcore\.Settings\(\.\.\.\), got "):
            tc.fit(RBM, X, settings=bad)  # type: ignore[arg-type]


# --- What is refused ---

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"epochs": -1}, "epochs must be an integer of at least 0, got -1"),
    ({"epochs": 3, "seconds": 3}, "seconds take the place of epochs: give one of them"),
    ({"epochs": None, "seconds": -1}, "seconds must be at least 0, got -1"),
    ({"schedule": "linear"}, "schedule must be tapcore.Constant(), Linear(), Cosine(), Steps() or None, got 'linear'"),
    (
        {"schedule": tc.Linear(), "learning_rate": max},
        "learning_rate is a function, which leaves nothing to a schedule",
    ),
    ({"epochs": None, "seconds": 1, "learning_rate": max}, "learning_rate is a function of the epoch: a run of so"),
    ({"optimizer": "adam"}, "optimizer must be tapcore.Momentum(...), tapcore.Adam(...) or None, got 'adam'"),
    ({"optimizer": tc.Adam(), "momentum": 0.7}, "momentum is part of the optimizer: give one of them"),
    ({"dtype": "float16"}, "dtype must be one of 'float64', 'float32', got 'float16'"),
    ({"epochs": 10**15}, "epochs must fit in memory: 1000000000000000 would take "),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ({"chains": True}, "chains must be an integer of at least 1, got True"),
    ({"learning_rate": -0.1}, "learning_rate must be at least 0, got -0.1"),
    ({"learning_rate": "fast"}, "learning_rate must be a finite number, got 'fast'"),
    ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
    ({"penalty": 0.001}, "penalty must be tapcore.L1(...), tapcore.L2(...) or None, got 0.001"),
    ({"sweeps": 0}, "sweeps must be an integer of at least 1, got 0"),
    ({"chain_init": "noise"}, "chain_init must be one of 'data', 'persistent', 'random', got 'noise'"),
    ({"chain_init": "data", "gradient": "pcd"}, "chain_init must be 'persistent' for gradient 'pcd', got 'data'"),
    ({"renew": 1.5}, "renew must be at least 0 and at most 1, got 1.5"),
    ({"pinning": -1.0}, "pinning must be at least 0 and at most 1e+06, got -1"),
    ({"pinning": 1.0, "gradient": "pcd"}, "pinning is of persistent chains"),
    ({"pinning": 1.0, "gradient": "adatap"}, "pinning is of persistent chains"),
    ({"pinning": 1.0, "chain_init": "data"}, "pinning is of persistent chains"),
    ({"noisy": 1.5}, "noisy must be at least 0 and at most 1, got 1.5"),
    ({"noisy": 0.5, "gradient": "cd"}, "noisy starts are means, not values: gradient 'cd' cannot take them"),
    ({"damping": 1.0}, "damping must be at least 0 and below 1, got 1.0"),
    ({"damping": 0.0, "gradient": "cd"}, "damping is of sweeps of mean-field equations: gradient 'cd' has none"),
    (
        {"gradient": "tap9"},
        "gradient must be one of 'tap', 'nmf', 'tap3', 'rbp', 'adatap', 'cd', 'pcd', 'ptt', got 'tap9'",
    ),
    ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
    ({"pretrain": -1}, "pretrain must be an integer of at least 0, got -1"),
    ({"pass_up": "hands"}, "pass_up must be one of 'samples', 'means', got 'hands'"),
    ({"center": 1}, "center must be True or False, got 1"),
    ({"patience": 0}, "patience must be an integer of at least 1, got 0"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=lambda x: str(x)[:20])
def test_bad_values_are_refused_when_settings_are_made(values: dict[str, Any], message: str) -> None:
    good = tc.Settings(epochs=1)
    for call in (lambda: tc.Settings(**{"epochs": 1} | values), lambda: replace(good, **values)):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
            call()
        assert str(caught.value).startswith(message)


def test_what_depends_on_the_machine_is_refused_when_a_run_begins() -> None:
    settings = tc.Settings(epochs=2, pretrain=1)
    assert Plan.of(settings, DEEP, 100).pretrain == 1
    with pytest.raises(ValueError, match="pretrain is for machines of more than two layers, got 1 for an RBM"):
        tc.fit(RBM, X, settings=settings)
    with pytest.raises(ValueError, match=r"learning_rate\(2\) must be at least 0, got -1"):
        tc.fit(RBM, X, settings=tc.Settings(epochs=2, learning_rate=lambda epoch: 1 - epoch * (epoch > 1)))


# --- A value ---


def rate(epoch: int) -> float:
    return 0.1 / epoch


def test_settings_are_values() -> None:
    settings = tc.Settings(epochs=np.int64(3), learning_rate=np.float32(0.5), center=np.False_, penalty=tc.L1(0.1))
    same = tc.Settings(epochs=3, learning_rate=0.5, center=False, penalty=tc.L1(0.1))
    assert settings == same != replace(same, penalty=tc.L2(0.1))
    assert hash(settings) == hash(same)
    assert {settings: 1}[same] == 1
    assert type(settings.epochs) is int
    assert type(settings.learning_rate) is float
    assert settings.center is False
    with pytest.raises(FrozenInstanceError):
        settings.epochs = 4  # type: ignore[misc]
    for each in (settings, tc.Settings(epochs=1, learning_rate=rate)):
        assert pickle.loads(pickle.dumps(each)) == each


def test_repr_is_what_is_not_default() -> None:
    assert repr(tc.Settings(epochs=3)) == "Settings(epochs=3)"
    settings = tc.Settings(epochs=3, penalty=None, chain_init="random", batch_size=7)
    assert repr(settings) == "Settings(epochs=3, batch_size=7, penalty=None, chain_init='random')"
    assert eval(repr(settings), {"Settings": tc.Settings}) == settings


def test_replace_keeps_the_rest() -> None:
    settings = tc.Settings(**HOW)
    more = replace(settings, epochs=9, penalty=None)
    assert (more.epochs, more.penalty, settings.epochs) == (9, None, 2)
    assert replace(more, epochs=2, penalty=tc.L2(0.001)) == settings


# --- What a run makes of them ---


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        ("tap", (2, 50, "persistent", 0.0, 20.0)), ("adatap", (10, 100, "data", 0.2, 0.0)),
        ("cd", (1, 100, "data", 0.0, 0.0)), ("pcd", (1, 100, "persistent", 0.0, 0.0)),
        ("ptt", (1, 100, "persistent", 0.0, 0.0)),
    ],
)  # fmt: skip
def test_none_is_resolved_by_the_gradient(gradient: str, expected: tuple[int, int, str, float, float]) -> None:
    settings = tc.Settings(epochs=1, gradient=gradient)
    plan = Plan.of(settings, RBM, 100)
    assert (plan.sweeps, plan.chains, plan.chain_init, plan.renew, plan.pinning) == expected
    assert {getattr(settings, name) for name in ("sweeps", "chains", "chain_init", "renew", "pinning")} == {None}
    if gradient == "tap":
        alike = Plan.of(replace(settings, pinning=0.0), RBM, 100)
        assert (alike.renew, alike.chains) == (0.2, 100)
        assert Plan.of(replace(settings, chain_init="data"), RBM, 100).pinning == 0.0
    given = Plan.of(replace(settings, sweeps=4, chains=7, renew=0.5), RBM, 100)
    assert (given.sweeps, given.chains, given.renew) == (4, 7, 0.5)


def test_the_same_settings_serve_for_several_machines() -> None:
    settings = tc.Settings(epochs=3, learning_rate=rate)
    shallow, deep = Plan.of(settings, RBM, 100), Plan.of(settings, DEEP, 100)
    assert (shallow.pretrain, shallow.center, shallow.pretrain_rates) == (0, True, ())
    assert (deep.pretrain, deep.center, deep.pretrain_rates) == (3, True, deep.rates)
    assert deep.rates == (0.1, 0.1 / 2, 0.1 / 3)


def written(folder: Path, machine: tc.Machine, settings: tc.Settings, **options: Any) -> dict[str, Any]:
    tc.fit(machine, X, settings=settings, epochs=1, checkpoint=folder, **options)
    kept = dict(file_format.read(folder / "epoch-0001.safetensors")[0]["settings"])
    del kept["X"]
    return kept


def test_checkpoints_hold_what_they_always_did(tmp_path: Path) -> None:
    paper = tc.paper_settings()
    plain = {
        "batch_size": 100, "chains": 100, "learning_rate": [0.005], "momentum": 0.5, "penalty": ["L2", 0.001],
        "sweeps": 10, "chain_init": "data", "renew": 0.2, "damping": None, "gradient": "tap", "seed": 0,
    }  # fmt: skip
    centred = {"center": True, "offset_rate": 0.01}
    assert written(tmp_path / "plain", RBM, paper) == plain
    assert written(tmp_path / "more", RBM, paper, noisy=0.5, center=True) == plain | {"noisy": 0.5} | centred
    stages = {"pretrain": 1, "pretrain_rates": [0.005], "pass_up": "samples"}
    assert written(tmp_path / "deep", DEEP, paper, center=True) == plain | stages | centred
    assert written(tmp_path / "joint", DEEP, paper, pretrain=0, penalty=None) == plain | {"penalty": None}


def test_checkpoints_hold_what_is_new_too(tmp_path: Path) -> None:
    kept = written(tmp_path / "new", RBM, tc.Settings(optimizer=tc.Adam(0.8)))
    assert kept["optimizer"] == ["Adam", 0.8, 0.999]
    assert kept["schedule"] == ["linear", 0.0]
    assert kept["dtype"] == "float32"
    assert kept["learning_rate"] == [0.002]
    tc.fit(RBM, X, seconds=0.0, checkpoint=tmp_path / "timed")
    assert file_format.read(tmp_path / "timed" / "epoch-0001.safetensors")[0]["settings"]["seconds"] == 0.0


def test_the_papers_settings_take_another_optimizer() -> None:
    # Momentum of the paper would contradict it, and is not what was given.
    assert tc.paper_settings(optimizer=tc.Adam(0.8)).momentum is None
    with pytest.raises(ValueError, match="momentum is part of the optimizer"):
        tc.paper_settings(optimizer=tc.Adam(0.8), momentum=0.5)


def test_what_changed_is_named_before_the_rates_that_follow_from_it(tmp_path: Path) -> None:
    X = np.eye(6)
    tc.fit(RBM, X, epochs=3, chains=4, checkpoint=tmp_path, progress=False)
    with pytest.raises(ValueError, match="seed contradicts"):
        tc.fit(RBM, X, epochs=4, seed=3, chains=4, checkpoint=tmp_path, resume=True, progress=False)
    with pytest.raises(ValueError, match=r"learning_rate contradicts .* needs as many of them as the run began with"):
        tc.fit(RBM, X, epochs=4, chains=4, checkpoint=tmp_path, resume=True, progress=False)
