"""The joint chi2 against plain NumPy, its closed derivatives, its nuisances and messages."""

from __future__ import annotations

import decimal
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns import Likelihood, Nuisance, signal
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import internal
from jcevns.likelihood.poisson import deviance, poisson_chi2
from tests import reference
from tests.problems import PROBLEMS, arrangement, built, counting, joint, signals

chi2 = jax.jit(models.chi2)
NO_CELL = jnp.zeros(0, int)
derivatives = jax.jit(lambda m, s, x: models.derivatives(m, s, x, NO_CELL))
automatic = jax.jit(lambda m, s, x: (jax.grad(models.chi2, 2)(m, s, x), jax.hessian(models.chi2, 2)(m, s, x)))


def thetas(size: int) -> list[np.ndarray]:
    """Log-factors: no pull, moderate pulls of both signs, and heavy ones."""
    wave = np.cos(1.7 * np.arange(size))
    return [np.zeros(size), 0.3 * wave, -1.5 * wave]


def place(model: models.Model, theta: np.ndarray) -> jax.Array:
    """Parameters of the model at log-factors."""
    return jnp.asarray(np.where(model.is_log, theta, np.exp(theta)))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_chi2_is_that_of_plain_numpy(problem) -> None:
    plain = reference.Chi2(problem.experiments, signals(problem), problem.flux)
    model, counts = problem.arrangement.model, jnp.asarray(np.concatenate(signals(problem)))
    for theta in thetas(plain.size):
        np.testing.assert_allclose(chi2(model, counts, place(model, theta)), plain(theta), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sm", "zero-count-bin", "heavy-pulls-joint", "flux-1e9"])
def test_closed_gradient_and_hessian(name) -> None:
    problem = next(p for p in PROBLEMS if p.name == name)
    model, counts = problem.arrangement.model, jnp.asarray(np.concatenate(signals(problem)))
    plain, log = reference.Chi2(problem.experiments, signals(problem), problem.flux), np.asarray(model.is_log)
    for theta in thetas(plain.size):
        x = np.asarray(place(model, theta))
        value, gradient, hessian = derivatives(model, counts, jnp.asarray(x))
        exact_gradient, exact_hessian = automatic(model, counts, jnp.asarray(x))
        scale = abs(float(value)) + 1
        np.testing.assert_allclose(gradient, exact_gradient, rtol=1e-11, atol=1e-13 * scale)
        np.testing.assert_allclose(hessian, exact_hessian, rtol=1e-11, atol=1e-13 * scale)

        def at(x, log=log):
            return np.where(log, x, np.log(np.where(log, 1.0, x)))

        def slopes(x, plain=plain, log=log):
            """From slopes in the log-factors to those in the parameters."""
            return plain.gradient(at(x)) / np.where(log, 1.0, x)

        moves = np.eye(plain.size)
        by_value = [reference.slope(lambda h, e=e, x=x: plain(at(x + h * e)), 0.0, 1e-4) for e in moves]
        by_gradient = [reference.slope(lambda h, e=e, x=x: slopes(x + h * e), 0.0, 1e-4) for e in moves]
        np.testing.assert_allclose(gradient, by_value, rtol=1e-7, atol=1e-9 * scale)
        np.testing.assert_allclose(hessian, by_gradient, rtol=1e-7, atol=1e-9 * scale)


def test_slope_in_the_signal() -> None:
    both = joint(("xenonnt", "pandax"))
    model, counts = both.model, signal(both)
    x = place(model, 0.2 * np.sin(np.arange(len(model.sigma))))
    by_autodiff = jax.jit(jax.grad(models.chi2, 1))(model, counts, x)
    found = models.signal_slope(model, counts, x, NO_CELL)
    np.testing.assert_allclose(found, by_autodiff, rtol=1e-12, atol=1e-13)
    # d chi2/dS_i = 2 (1 - D_i/N_i) x the factors on the signal there.
    expected = np.asarray(models.expected_counts(model, counts, x))
    parts = np.asarray(models.parts(model, counts, x))[: len(model.signals)].sum(axis=0)
    plain = 2 * (1 - np.asarray(model.observed) / expected) * parts / np.asarray(counts)
    np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("dtype", "relative"), [(np.float64, 2e-14), (np.float32, 2e-5)])
def test_deviance_keeps_its_digits(dtype, relative) -> None:
    # 40 digits of the standard library; N ln N of ten million events would leave 1e-8 of chi2, or 10 in float32.
    decimal.getcontext().prec = 40
    rng = np.random.default_rng(5)
    D = rng.poisson(10 ** rng.uniform(0, 7, 400)).astype(dtype)
    N = (D * (1 + 10 ** rng.uniform(-6, 0, 400) * rng.choice([-0.9, 0.9, 5.0], 400)) + 0.1).astype(dtype)
    found = deviance(jnp.asarray(N), jnp.asarray(D))
    assert found.dtype == dtype
    for n, d, value in zip(map(float, N), map(float, D), np.asarray(found, float), strict=True):
        n, d = decimal.Decimal(n), decimal.Decimal(d)
        exact = 2 * float(n - d + (d * (d / n).ln() if d else 0))
        # The distance from the counts is as good as they are.
        assert abs(value - exact) <= relative * (exact + math.sqrt(exact) + 1e-3)


def test_poisson_chi2_in_closed_form() -> None:
    D, N = np.array([0.0, 1.0, 7.0, 300.0]), np.array([2.5, 1.0, 4.0, 290.0])
    expected = 2 * (2.5 + 0.0 + (4 - 7 + 7 * np.log(7 / 4)) + (290 - 300 + 300 * np.log(300 / 290)))
    np.testing.assert_allclose(poisson_chi2(jnp.asarray(N), jnp.asarray(D)), expected, rtol=1e-13)


def test_empty_bin_counts_twice_its_expectation_with_finite_slope() -> None:
    N, D = jnp.asarray([1e-300, 3.0]), jnp.zeros(2)
    value, slope = jax.value_and_grad(poisson_chi2)(N, D)
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
        error=None,
    )
    model = Likelihood(experiment).model
    value, gradient, hessian = derivatives(model, jnp.zeros(2), model.nominal)
    assert float(value) == pytest.approx(2 * (3 - 4 + 4 * np.log(4 / 3)))
    np.testing.assert_allclose(gradient, [2 * 3 * (1 - 4 / 3), 0.0], rtol=1e-13)
    assert np.isfinite(hessian).all()


def test_shared_flux_is_one_nuisance() -> None:
    both = joint(("xenonnt", "pandax"))
    assert both.nuisances == (
        "flux.b8",
        "xenonnt-2024-s2.fiducial_volume",
        "xenonnt-2024-s2.accidental",
        "xenonnt-2024-s2.neutron",
        "xenonnt-2024-s2.electronic",
        "pandax4t-us2.signal",
        "pandax4t-us2.cathode",
        "pandax4t-us2.microdischarge",
    )
    np.testing.assert_allclose(both.model.sigma, [0.12, 0.05, 0.048, 0.5, 1.0, 0.22, 0.31, 0.23], rtol=1e-15)
    assert arrangement(("xenonnt", "pandax"), flux=False).nuisances == both.nuisances[1:]
    # Moving it costs (pull/sigma)^2 once.
    x = both.model.nominal.at[0].set(np.log(1.12))
    counts = signal(both)
    moved = chi2(both.model, counts, x) - chi2(both.model, 1.12 * counts, both.model.nominal)
    assert float(moved) == pytest.approx(1.0, rel=1e-11)
    np.testing.assert_allclose(x, internal(both, {"flux.b8": 1.12 * 5.46e6}), rtol=1e-14)


def test_joint_chi2_is_the_sum_where_nothing_is_shared() -> None:
    alone = [joint((key,)) for key in ("xenonnt", "pandax")]
    models_alone = [arrangement((key,), flux=False).model for key in ("xenonnt", "pandax")]
    both, model = joint(("xenonnt", "pandax")), arrangement(("xenonnt", "pandax"), flux=False).model
    sizes = [len(m.sigma) for m in models_alone]
    theta = 0.2 * np.cos(np.arange(sum(sizes)))
    parts = [
        chi2(m, signal(a), place(m, t))
        for m, a, t in zip(models_alone, alone, np.split(theta, [sizes[0]]), strict=True)
    ]
    np.testing.assert_allclose(chi2(model, signal(both), place(model, theta)), sum(parts), rtol=1e-13)


def test_order_of_experiments_does_not_matter() -> None:
    forward, backward = joint(("xenonnt", "pandax")), joint(("pandax", "xenonnt"))
    values = {name: 0.1 * (i - 3) for i, name in enumerate(forward.nuisances)}
    found = [
        chi2(k.model, signal(k), place(k.model, np.array([values[n] for n in k.nuisances])))
        for k in (forward, backward)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-13)


def test_chi2_at_values_by_name_is_that_of_plain_numpy() -> None:
    """Theory, flux and nuisances together, by full and by short names, with derivatives by name."""
    both = joint(("xenonnt", "pandax"))
    values = {"sin2w": 0.3, "flux": 6.0e6, "accidental": 0.93, "pandax4t-us2.signal": 1.2}
    shifted = both.under(jc.StandardModel(0.3))
    plain = reference.Chi2(both.experiments, np.split(np.asarray(signal(shifted)), [3]))
    full = {"flux.b8": 6.0e6 / 5.46e6, "xenonnt-2024-s2.accidental": 0.93, "pandax4t-us2.signal": 1.2}
    theta = np.array([np.log(full.get(name, 1.0)) for name in plain.labels])
    assert float(jc.chi2(both, values)) == pytest.approx(plain(theta), rel=1e-12)
    slope = jax.grad(lambda v: jc.chi2(both, values | {"flux": v}))(6.0e6)
    numeric = reference.slope(lambda v: float(jc.chi2(both, values | {"flux": v})), 6.0e6, 1e3)
    assert float(slope) == pytest.approx(float(numeric), rel=1e-7)


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
    background = {"flat": [1.0, 1.0]}
    first, second = (
        counting(name, [1, 2], [1.0, 1.0], background, (Nuisance("rate", sigma, ("flat",), shared=True),))
        for name, sigma in (("narrow", 0.12), ("wider", 0.2))
    )
    with pytest.raises(ValueError, match=r"shared parameter 'rate' has sigma 0\.12 .* 0\.2 in 'wider'"):
        Likelihood([first, second])


def test_shared_fluxes_must_agree() -> None:
    changed = counting("wider", [1, 2], [1.0, 1.0], {"flat": [1.0, 1.0]}, (), error=0.2)
    with pytest.raises(ValueError, match=r"shared parameter 'flux\.b8' has sigma 655200\.0 .* in 'wider'"):
        Likelihood([built("zero-bin"), changed])


def test_the_same_events_are_not_counted_twice() -> None:
    with pytest.raises(ValueError, match=r"xenonnt-2024-s2 and xenonnt-2026 hold the same events \(XENONnT SR0, "):
        Likelihood([jc.experiment("xenonnt-2024-s2"), jc.experiment("xenonnt-2026")])


@pytest.mark.parametrize("name", ["xenonnt-2024-s2,pandax4t-us2", "coherent-csi-2021", "xenonnt-2024", "dresden-ii"])
def test_closed_derivatives_in_weights_and_parameters_together(name) -> None:
    surface = jc.Surface(jc.Likelihood(name, "vector"), ("coupling", "sin2w"), at={"mass": 30.0})
    many, model = surface.mixture(np.array([[3e-5, 0.25]]), 2), surface.arrangement.model
    mixture = models.Mixture(jnp.asarray(many.terms[many.row]), jnp.zeros((), int), jnp.asarray(many.weights[:, 0]))
    size = mixture.weights.size
    assert size > 3
    pull = 0.1 * np.random.default_rng(1).normal(size=model.sigma.size)
    x = jnp.clip(model.nominal + pull, model.lower, model.upper)
    cell = models.nearest_cell(model, x)

    def joint(y):
        return models.chi2(model, mixture._replace(weights=y[:size]), y[size:], cell)

    y = jnp.concatenate([mixture.weights, x])
    gradient, hessian = jax.jit(models.joint_derivatives)(model, mixture, x, cell)
    exact = jax.jit(jax.hessian(joint))(y)
    scale = np.sqrt(np.abs(np.diag(exact))) + 1e-300
    np.testing.assert_allclose(gradient, jax.jit(jax.grad(joint))(y), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(hessian / np.outer(scale, scale), exact / np.outer(scale, scale), atol=1e-12)
