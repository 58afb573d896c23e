"""Adaptive TAP: certified fixed points, dense inverses, exactness for Gaussian machines, gradients, lost chains."""

from __future__ import annotations

import numpy as np
import pytest
from cases import MACHINES, both, close, layers_of, library_machine, random_rbm, start_of, starts
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.units import UNITS

CERTIFIED = [(name, n) for name, entry in MACHINES.items() for n in range(len(entry.get("adatap", ())))]


@pytest.mark.nojit
@pytest.mark.parametrize(("name", "n"), CERTIFIED)
def test_certified_fixed_points(name: str, n: int) -> None:
    entry = MACHINES[name]
    point, machine = entry["adatap"][n], library_machine(entry)
    found = tc.solve(machine, [start_of(layers_of(entry), point["init"])], method="adatap", tol=1e-14)
    assert found.converged.all()
    for layer, side in enumerate("vh"):
        close(found.mean[layer][0], point[f"a{side}"], 1e-11)
        close(found.var[layer][0], point[f"c{side}"], 1e-11)
        close(found.B[layer][0], point[f"B{side}"], 1e-11)
        close(found.A[layer][0], point[f"A{side}"], 1e-11)
    close(-found.free_energy[0], point["EC_lnZ_unnormalised"], 1e-11)
    X = np.array(entry["X"])
    data = [machine.layers[1].moments(x @ machine.weights[0], 0.0)[1] for x in X]
    model = np.outer(found.mean[0][0], found.mean[1][0]) + np.array(point["cov_vh"], float)
    expected = np.mean([np.outer(x, h) for x, h in zip(X, data, strict=True)], axis=0) - model
    assert_allclose(tc.gradient(machine, X, found).weights[0], expected, atol=1e-11)


def dense(machine: tc.Machine, found: tc.Solutions, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the Gaussian whose diagonal comes from chain k."""
    ends = np.cumsum([0, *machine.sizes])
    J = np.zeros((ends[-1], ends[-1]))
    for i, W in enumerate(machine.weights):
        J[ends[i] : ends[i + 1], ends[i + 1] : ends[i + 2]] = W
    a, c, B, A = (np.concatenate([x[k] for x in getattr(found, name)]) for name in ("mean", "var", "B", "A"))
    C = np.linalg.inv(np.diag(1 / c - A) - J - J.T)
    return C @ (a / c - B), np.diag(C)


@pytest.mark.parametrize("shape", ["binary-spin-binary", "truncatedgaussbernoulli-spin-gaussian"])
def test_both_sides_agree_at_a_fixed_point(shape: str) -> None:
    _, _, machine = both(shape, seed=1)
    found = tc.solve(machine, starts(machine, 5), method="adatap", tol=1e-13)
    assert found.converged.all()
    for k in range(5):
        mean, var = dense(machine, found, k)
        assert_allclose(mean, np.concatenate([x[k] for x in found.mean]), atol=1e-11)
        assert_allclose(var, np.concatenate([x[k] for x in found.var]), atol=1e-11)
        for layer, unit in enumerate(machine.layers):
            _, a, c = unit.moments(found.B[layer][k], found.A[layer][k])
            assert_allclose(a, found.mean[layer][k], atol=1e-14)
            assert_allclose(c, found.var[layer][k], atol=1e-14)


@pytest.mark.nojit
@pytest.mark.parametrize("sizes", [(5, 3), (3, 6)])
def test_is_exact_for_gaussian_machines(sizes: tuple[int, int]) -> None:
    machine = random_rbm(2, "Gaussian", "Gaussian", sizes=sizes, sigma=0.4)
    U, V = (np.concatenate([layer.parameters[p] for layer in machine.layers]) for p in ("U", "V"))
    J = np.zeros((sum(sizes), sum(sizes)))
    J[: sizes[0], sizes[0] :] = machine.weights[0]
    D = np.diag(V) - J - J.T
    C = np.linalg.inv(D)
    log_z = 0.5 * (len(U) * np.log(2 * np.pi) - np.linalg.slogdet(D)[1] + U @ C @ U)
    found = tc.solve(machine, np.zeros((1, sizes[0])), method="adatap", tol=1e-14)
    assert -found.free_energy[0] == pytest.approx(log_z, abs=1e-11)
    assert_allclose(np.concatenate([x[0] for x in found.mean]), C @ U, atol=1e-11)
    assert_allclose(np.concatenate([x[0] for x in found.var]), np.diag(C), atol=1e-11)


@pytest.mark.parametrize(("visible", "hidden"), [("Binary", "Spin"), ("TruncatedGaussBernoulli", "Binary"),
                                                 ("Binary", "Gaussian")])  # fmt: skip
def test_the_gradient_is_the_derivative_of_the_likelihood(visible: str, hidden: str) -> None:
    machine = random_rbm(4, visible, hidden, sizes=(6, 4), sigma=0.4)
    rng = np.random.default_rng(0)
    X = machine.layers[0].sample(np.zeros((3, 6)), 0.0, rng)
    start = starts(machine, 1)

    def likelihood(moved: tc.Machine) -> float:
        found = tc.solve(moved, start, method="adatap", tol=1e-14)
        return float(tc.log_likelihood(moved, X, found.free_energy).mean())

    gradient = tc.gradient(machine, X, tc.solve(machine, start, method="adatap", tol=1e-14))
    step = 1e-5
    for i, j in [(0, 0), (5, 3), (2, 1)]:
        bump = np.zeros(machine.sizes)
        bump[i, j] = step
        ends = [likelihood(machine.replace(weights=(machine.weights[0] + s * bump,))) for s in (1, -1)]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient.weights[0][i, j], abs=1e-8)
    for layer, unit in enumerate(machine.layers):
        for name, slope in gradient.layers[layer].items():
            moved = []
            for s in (step, -step):
                parameters = {key: np.array(x) for key, x in unit.parameters.items()}
                parameters[name][1] += s
                layers = list(machine.layers)
                layers[layer] = UNITS[type(unit).__name__](unit.n, **parameters)
                moved.append(likelihood(machine.replace(layers=layers)))
            assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(slope[1], abs=1e-8), name


@pytest.mark.usefixtures("all_threads")
def test_chains_do_not_depend_on_company_or_threads() -> None:
    machine = random_rbm(5, sizes=(30, 12), sigma=0.3)
    X = starts(machine, 300)
    whole = tc.solve(machine, X, method="adatap", tol=1e-10)
    with thread_limit(1):
        alone = tc.solve(machine, X[140:150], method="adatap", tol=1e-10)
    assert_allclose(whole.mean[0][140:150], alone.mean[0], atol=1e-9)
    assert_allclose(whole.free_energy[140:150], alone.free_energy, atol=1e-9)
    again = tc.solve(machine, whole, method="adatap", tol=1e-10)
    assert (again.sweeps <= whole.sweeps).all()
    single = tc.solve(machine.replace(dtype="float32"), X, method="adatap")
    assert single.mean[0].dtype == np.float32
    assert_allclose(single.mean[0], whole.mean[0], atol=1e-4)


def test_damping_is_what_it_says_and_unconverged_chains_say_so() -> None:
    machine = random_rbm(6, sizes=(10, 8), sigma=0.5)
    X = starts(machine, 4)
    short = tc.solve(machine, X, method="adatap", max_sweeps=2)
    assert not short.converged.any()
    assert (short.sweeps == 2).all()
    # The first sweep from the fields of naive mean field, mixed with them.
    before = tc.solve(machine, X, method="nmf", max_sweeps=1)
    plain, damped = (tc.solve(machine, X, method="adatap", damping=d, max_sweeps=1) for d in (0.0, 0.25))
    for layer in range(2):
        assert_allclose(damped.B[layer], 0.25 * before.B[layer] + 0.75 * plain.B[layer], atol=1e-12)
        assert_allclose(damped.A[layer], 0.75 * plain.A[layer], atol=1e-12)


def test_strong_couplings_converge_or_are_reported() -> None:
    for kind, scale, least in (("Spin", 0.5, 20), ("Spin", 1.0, 0), ("Binary", 3.0, 20), ("Spin", 10.0, 0)):
        machine = random_rbm(7, kind, kind, sizes=(40, 30), sigma=scale)
        found = tc.solve(machine, starts(machine, 20), method="adatap", tol=1e-8, max_sweeps=1000)
        fine = found[found.converged]
        assert len(fine) >= least
        assert np.isfinite(fine.free_energy).all()
        assert_array_equal(np.isnan(found.mean[0]).any(axis=1), found.lost)
        if not least:
            continue
        on = tc.solve(machine, fine, method="adatap", tol=1e-12)
        assert on.converged.all()
        for a, b in zip(fine.mean + fine.var, on.mean + on.var, strict=True):
            assert_allclose(a, b, atol=1e-7)


@pytest.mark.nojit
def test_what_only_sweeps_have_is_refused() -> None:
    machine = random_rbm(0)
    X = np.zeros((2, 7))
    found = tc.solve(machine, X, method="adatap")
    for refused in (
        lambda: tc.harvest(machine, X, method="adatap"),
        lambda: tc.free_energy(machine, found.mean, found.var, method="adatap"),
        lambda: tc.spectral_radius(machine, found),
    ):
        with pytest.raises(ValueError, match="must be one of 'nmf', 'tap', 'tap3', got 'adatap'"):
            refused()
