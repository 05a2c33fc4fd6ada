"""The joint chi2 against plain NumPy, its closed derivatives, its nuisances and messages."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns import Likelihood, Nuisance, Theory, signal
from jcevns.likelihood import poisson
from tests import reference
from tests.problems import PROBLEMS, built, counting, joint, signals

chi2 = jax.jit(poisson.chi2)
derivatives = jax.jit(poisson.chi2_derivatives)
automatic = jax.jit(lambda m, s, t: (jax.grad(poisson.chi2, 2)(m, s, t), jax.hessian(poisson.chi2, 2)(m, s, t)))


def thetas(size: int) -> list[np.ndarray]:
    """No pull, moderate pulls of both signs, and heavy ones."""
    wave = np.cos(1.7 * np.arange(size))
    return [np.zeros(size), 0.3 * wave, -1.5 * wave]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_chi2_is_that_of_plain_numpy(problem) -> None:
    plain = reference.Chi2(problem.experiments, signals(problem), problem.flux_pull)
    counts = jnp.asarray(np.concatenate(signals(problem)))
    for theta in thetas(plain.size):
        np.testing.assert_allclose(
            chi2(problem.likelihood.model, counts, jnp.asarray(theta)), plain(theta), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("name", ["sm", "zero-count-bin", "heavy-pulls-joint", "flux-1e9"])
def test_closed_gradient_and_hessian(name) -> None:
    problem = next(p for p in PROBLEMS if p.name == name)
    model, counts = problem.likelihood.model, jnp.asarray(np.concatenate(signals(problem)))
    plain = reference.Chi2(problem.experiments, signals(problem), problem.flux_pull)
    for theta in thetas(plain.size):
        value, gradient, hessian = derivatives(model, counts, jnp.asarray(theta))
        exact_gradient, exact_hessian = automatic(model, counts, jnp.asarray(theta))
        scale = abs(float(value)) + 1
        np.testing.assert_allclose(gradient, exact_gradient, rtol=1e-11, atol=1e-13 * scale)
        np.testing.assert_allclose(hessian, exact_hessian, rtol=1e-11, atol=1e-13 * scale)
        moves = np.eye(plain.size)
        by_value = [reference.slope(lambda h, e=e, t=theta: plain(t + h * e), 0.0, 1e-3) for e in moves]
        by_gradient = [reference.slope(lambda h, e=e, t=theta: plain.gradient(t + h * e), 0.0, 1e-3) for e in moves]
        np.testing.assert_allclose(gradient, by_value, rtol=1e-7, atol=1e-9 * scale)
        np.testing.assert_allclose(hessian, by_gradient, rtol=1e-7, atol=1e-9 * scale)


def test_slope_in_the_signal() -> None:
    model, counts = joint(("xenonnt", "pandax")).model, signal(joint(("xenonnt", "pandax")), Theory())
    theta = jnp.asarray(0.2 * np.sin(np.arange(len(model.sigma))))
    expected = jax.jit(poisson.expected_counts)(model, counts, theta)
    by_autodiff = jax.jit(jax.grad(poisson.chi2, 1))(model, counts, theta)
    np.testing.assert_allclose(poisson.signal_slope(model, expected, theta), by_autodiff, rtol=1e-12, atol=1e-13)


def test_poisson_chi2_in_closed_form() -> None:
    D, N = np.array([0.0, 1.0, 7.0, 300.0]), np.array([2.5, 1.0, 4.0, 290.0])
    expected = 2 * (2.5 + 0.0 + (4 - 7 + 7 * np.log(7 / 4)) + (290 - 300 + 300 * np.log(300 / 290)))
    np.testing.assert_allclose(poisson.poisson_chi2(jnp.asarray(N), jnp.asarray(D)), expected, rtol=1e-13)


def test_empty_bin_counts_twice_its_expectation_with_finite_slope() -> None:
    N, D = jnp.asarray([1e-300, 3.0]), jnp.zeros(2)
    value, slope = jax.value_and_grad(poisson.poisson_chi2)(N, D)
    assert float(value) == pytest.approx(6.0)
    np.testing.assert_array_equal(slope, [2.0, 2.0])


def test_bin_without_signal_background_and_data_is_harmless() -> None:
    """D = 0 where nothing is expected contributes 0, and its derivatives are finite."""
    experiment = counting(
        "empty",
        [0, 4],
        [1.0, 2.0],
        {"flat": [0.0, 3.0]},
        (Nuisance("flat", 0.3, ("flat",)), Nuisance("signal", 0.1, ("signal",))),
    )
    model = Likelihood(experiment).model
    value, gradient, hessian = derivatives(model, jnp.zeros(2), jnp.zeros(2))
    assert float(value) == pytest.approx(2 * (3 - 4 + 4 * np.log(4 / 3)))
    np.testing.assert_allclose(gradient, [2 * 3 * (1 - 4 / 3), 0.0], rtol=1e-13)
    assert np.isfinite(hessian).all()


def test_shared_flux_pull_is_one_nuisance() -> None:
    both = joint(("xenonnt", "pandax"))
    assert both.nuisances == (
        "b8_flux",
        "xenonnt-2024-s2.fiducial_volume",
        "xenonnt-2024-s2.accidental",
        "xenonnt-2024-s2.neutron",
        "xenonnt-2024-s2.electronic",
        "pandax4t-us2.signal",
        "pandax4t-us2.cathode",
        "pandax4t-us2.microdischarge",
    )
    np.testing.assert_array_equal(both.model.sigma, [0.12, 0.05, 0.048, 0.5, 1.0, 0.22, 0.31, 0.23])
    assert joint(("xenonnt", "pandax"), flux_pull=False).nuisances == both.nuisances[1:]
    # Moving it costs (pull/sigma)^2 once.
    theta = jnp.zeros(8).at[0].set(np.log(1.12))
    counts = signal(both, Theory())
    moved = chi2(both.model, counts, theta) - chi2(both.model, 1.12 * counts, jnp.zeros(8))
    assert float(moved) == pytest.approx(1.0, rel=1e-11)


def test_joint_chi2_is_the_sum_where_nothing_is_shared() -> None:
    alone = [joint((key,), flux_pull=False) for key in ("xenonnt", "pandax")]
    both = joint(("xenonnt", "pandax"), flux_pull=False)
    sizes = [len(a.model.sigma) for a in alone]
    theta = jnp.asarray(0.2 * np.cos(np.arange(sum(sizes))))
    parts = [chi2(a.model, signal(a, Theory()), t) for a, t in zip(alone, jnp.split(theta, [sizes[0]]), strict=True)]
    np.testing.assert_allclose(chi2(both.model, signal(both, Theory()), theta), sum(parts), rtol=1e-13)


def test_order_of_experiments_does_not_matter() -> None:
    forward, backward = joint(("xenonnt", "pandax")), joint(("pandax", "xenonnt"))
    values = {name: 0.1 * (i - 3) for i, name in enumerate(forward.nuisances)}
    found = [
        chi2(k.model, signal(k, Theory()), jnp.asarray([values[n] for n in k.nuisances])) for k in (forward, backward)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-13)


def test_data_status_names_every_experiment() -> None:
    status = joint(("xenonnt", "pandax")).data_status()
    assert {name: entry["status"] for name, entry in status.items()} == {
        "xenonnt-2024-s2": "published",
        "pandax4t-us2": "reconstructed",
    }


def test_no_experiment() -> None:
    with pytest.raises(ValueError, match="at least one experiment"):
        Likelihood([])


def test_experiment_twice() -> None:
    with pytest.raises(ValueError, match="'pandax4t-us2' is given twice"):
        Likelihood([built("pandax"), built("xenonnt"), built("pandax")])


def test_shared_widths_must_agree() -> None:
    first = built("pandax").nuisances[0]
    assert first.shared
    wider = dataclasses.replace(first, sigma=0.2)
    changed = counting("wider", [1, 2], [1.0, 1.0], {"flat": [1.0, 1.0]}, (wider,))
    with pytest.raises(ValueError, match=r"shared nuisance 'b8_flux' has width 0\.12 .* 0\.2 in 'wider'"):
        Likelihood([built("zero-bin"), changed])


def test_the_same_events_are_not_counted_twice() -> None:
    with pytest.raises(ValueError, match=r"xenonnt-2024-s2 and xenonnt-2026 hold the same events \(XENONnT SR0, "):
        Likelihood([jc.experiment("xenonnt-2024-s2"), jc.experiment("xenonnt-2026")])
