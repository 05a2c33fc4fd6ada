"""Posteriors against direct integration; diagnostics that are not silent."""

import itertools
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import loguniform, norm, truncnorm, uniform

from jcevns import Likelihood, Nuisance, Parameter, signal
from jcevns.fit.profile import fit_model
from jcevns.physics.flux import B8_FLUX
from jcevns.plot.posterior import write_posterior
from jcevns.statistics.laplace import laplace
from jcevns.statistics.priors import Prior, choose_priors, default_prior, parse_prior, truncated_normal
from jcevns.statistics.sample import sample
from jcevns.statistics.sampled_model import SampledModel
from tests import users
from tests.problems import BOTH, XENONNT, built, counting, joint

FLUXES = np.linspace(0.0, 30e6, 301)
PRIOR = Prior("uniform", 0.0, 40e6)


@pytest.fixture(scope="module")
def likelihood() -> Likelihood:
    return joint((XENONNT,))


@pytest.fixture(scope="module")
def brute_force(likelihood) -> tuple[float, float, np.ndarray]:
    """Mean, standard deviation and density of the flux, by quadrature over the four nuisances in NumPy."""
    experiment = built(XENONNT)
    observed = np.asarray(experiment.observed)
    per_flux = np.asarray(signal(likelihood)) / B8_FLUX
    templates = [np.asarray(experiment.backgrounds[k]) for k in ("accidental", "neutron", "electronic")]
    nodes, weights = [], []
    for sigma in (0.05, 0.048, 0.50, 1.00):  # fiducial volume, accidental, neutron, electronic
        x, w = np.polynomial.legendre.leggauss(16)
        low, high = max(0.0, 1 - 6 * sigma), 1 + 6 * sigma
        factor = (low + high) / 2 + (high - low) / 2 * x
        density = truncnorm.pdf(factor, -1 / sigma, np.inf, loc=1.0, scale=sigma)
        nodes.append(factor)
        weights.append(w * (high - low) / 2 * density)
    height = np.zeros(FLUXES.size)
    for place in itertools.product(range(16), repeat=3):
        background = sum(nodes[k + 1][i] * t for k, (i, t) in enumerate(zip(place, templates, strict=True)))
        weight = np.prod([weights[k + 1][i] for k, i in enumerate(place)])
        expected = background + np.multiply.outer(np.multiply.outer(FLUXES, nodes[0]), per_flux)
        log = np.sum(observed * np.log(expected) - expected, axis=-1)
        height += weight * (np.exp(log - 50.0) @ weights[0])
    density = height / np.trapezoid(height, FLUXES)
    mean = np.trapezoid(FLUXES * density, FLUXES)
    return mean, np.sqrt(np.trapezoid((FLUXES - mean) ** 2 * density, FLUXES)), density


@pytest.fixture(scope="module")
def posterior(likelihood):
    return sample(likelihood, "flux", {"flux": PRIOR}, chains=4, samples=1000, warmup=500, seed=3)


def test_mean_and_variance_agree_with_quadrature(posterior, brute_force) -> None:
    mean, sd, _ = brute_force
    found = posterior.parameters["flux.b8"]
    assert not posterior.problems
    error = sd / np.sqrt(found.ess_bulk)
    assert found.mean == pytest.approx(mean, abs=4 * error)
    assert found.sd == pytest.approx(sd, rel=4 / np.sqrt(found.ess_tail))


def test_quantiles_agree_with_quadrature(posterior, brute_force) -> None:
    total = np.concatenate([[0.0], np.cumsum((brute_force[2][1:] + brute_force[2][:-1]) / 2 * np.diff(FLUXES))])
    for probability in (0.16, 0.5, 0.84, 0.95):
        exact = np.interp(probability, total, FLUXES)
        below = np.mean(posterior.samples("flux") < exact)
        spread = np.sqrt(probability * (1 - probability) / posterior.parameters["flux.b8"].ess_tail)
        assert below == pytest.approx(probability, abs=4 * spread)


def test_laplace_grid_agrees_with_quadrature(likelihood, brute_force) -> None:
    grid = laplace(likelihood, {"flux": FLUXES}, {"flux": PRIOR})
    assert grid.valid.all()
    density = grid.marginal("flux")
    assert np.trapezoid(density, FLUXES) == pytest.approx(1.0)
    # Half the L1 distance; the wide, truncated electron-recoil factor is what is not Gaussian.
    assert np.trapezoid(np.abs(density - brute_force[2]), FLUXES) / 2 < 0.02


def test_same_seed_same_samples_and_the_reader_is_told_what_they_are(likelihood, posterior) -> None:
    again = sample(likelihood, "flux", {"flux": PRIOR}, chains=4, samples=1000, warmup=500, seed=3)
    np.testing.assert_array_equal(again.samples("flux"), posterior.samples("flux"))
    assert posterior.settings["priors"] == {"flux.b8": str(PRIOR)}
    low, high = posterior.parameters["flux.b8"].hdi_68
    inside = np.mean((posterior.samples("flux") > low) & (posterior.samples("flux") < high))
    assert inside == pytest.approx(0.6827, abs=0.005)
    assert posterior.data.posterior_predictive["counts"].shape == (1, 500, 3)


def test_diagnostics_object(likelihood) -> None:
    short = sample(likelihood, "flux", chains=2, samples=30, warmup=5, seed=1)
    assert short.problems
    with pytest.raises(RuntimeError, match="more samples") as error:
        short.check()
    assert "flux" in str(error.value)


def test_joint_posterior_has_the_solar_model_prior(likelihood) -> None:
    assert default_prior(likelihood.parameters["flux"], joint=True).sd == pytest.approx(0.12 * B8_FLUX)
    both = sample(likelihood, ["flux", "sin2w"], chains=4, samples=500, warmup=500, seed=2)
    assert both.parameters["flux.b8"].mean == pytest.approx(B8_FLUX, rel=0.05)
    assert both.parameters["sin2w"].quantiles_68[0] > -0.108
    # More flux needs less weak charge: the two pull against each other.
    assert np.corrcoef(both.samples("flux"), both.samples("sin2w"))[0, 1] < 0


def test_two_parameters_agree_with_quadrature() -> None:
    """Flux and sin2w of a counting experiment without nuisances: the plane integrated by the trapezoidal rule."""
    toy = Likelihood(counting("toy", [20, 14], [12.0, 8.0], {"flat": [6.0, 4.0]}, ()))
    found = sample(toy, ["flux", "sin2w"], chains=8, samples=1000, warmup=500, seed=4)
    found.check()
    flux, sin2w = np.linspace(1e5, 11e6, 220), np.linspace(default_prior(toy.parameters["sin2w"]).low, 1.2385, 260)
    shape = np.stack([np.asarray(signal(toy, {"sin2w": s})) for s in sin2w]) / B8_FLUX
    expected = flux[:, None, None] * shape + np.array([6.0, 4.0])
    log = np.sum(np.array([20, 14]) * np.log(expected) - expected, axis=-1)
    width = 0.12 * B8_FLUX
    density = np.exp(log - log.max()) * truncnorm.pdf(flux, -B8_FLUX / width, np.inf, B8_FLUX, width)[:, None]
    total = np.trapezoid(np.trapezoid(density, sin2w), flux)
    for name, axis, marginal in (
        ("flux.b8", flux, np.trapezoid(density, sin2w, axis=1) / total),
        ("sin2w", sin2w, np.trapezoid(density, flux, axis=0) / total),
    ):
        check(found.parameters[name], axis, marginal)


def check(mine, axis: np.ndarray, density: np.ndarray) -> None:
    """Mean and standard deviation of samples against a density."""
    density = density / np.trapezoid(density, axis)
    mean = np.trapezoid(axis * density, axis)
    sd = np.sqrt(np.trapezoid((axis - mean) ** 2 * density, axis))
    assert mine.mean == pytest.approx(mean, abs=4 * sd / np.sqrt(mine.ess_bulk))
    # The error of a standard deviation, for tails as heavy as those here.
    assert mine.sd == pytest.approx(sd, rel=4 / np.sqrt(mine.ess_tail))


@pytest.fixture(scope="module")
def mine() -> Likelihood:
    """A user's theory and one background of uncertain size."""
    background = (Nuisance("flat", 0.2, ("flat",)),)
    return Likelihood(counting("toy", [30, 14], [12.0, 8.0], {"flat": [6.0, 4.0]}, background), users.Mine())


def poisson_height(likelihood: Likelihood, values: dict, flat: np.ndarray) -> np.ndarray:
    """Likelihood of the toy at factors of its background, the flux fixed."""
    counts = np.asarray(signal(likelihood, values))
    expected = counts + flat[:, None] * np.array([6.0, 4.0])
    return np.exp(np.sum(np.array([30, 14]) * np.log(expected) - expected, axis=-1))


def test_users_parameter_in_the_terms_against_quadrature(mine) -> None:
    """`range` is folded anew at every step of the sampler; the nuisance is integrated by the trapezoidal rule."""
    at = {"strength": 1.0, "flux": B8_FLUX}
    found = sample(mine, "range", at=at, chains=4, samples=1500, warmup=500, seed=5)
    assert not found.problems
    assert found.settings["target_accept"] == 0.99
    assert found.parameters["range"].prior == "log-uniform:0.1:1000"
    assert found.parameters["range"].unit == "MeV"
    x, flat = np.geomspace(0.1, 1e3, 160), np.linspace(0.0, 2.2, 120)
    prior = truncnorm.pdf(flat, -5, np.inf, 1.0, 0.2)
    height = np.array([np.trapezoid(poisson_height(mine, {**at, "range": v}, flat) * prior, flat) for v in x])
    total = np.concatenate([[0.0], np.cumsum((height[1:] + height[:-1]) / 2 * np.diff(np.log(x)))])
    for probability in (0.16, 0.5, 0.84):
        exact = np.interp(probability, total / total[-1], x)
        below = np.mean(found.samples("range") < exact)
        spread = np.sqrt(probability * (1 - probability) / found.parameters["range"].ess_tail)
        assert below == pytest.approx(probability, abs=4 * spread)
    grid = laplace(mine, {"range": x}, at=at)
    assert np.trapezoid(np.abs(grid.marginal("range") - height / x / np.trapezoid(height / x, x)), x) / 2 < 0.02


def test_users_parameter_and_a_nuisance_by_name(mine) -> None:
    """A nuisance that is named has the prior given, in place of its constraint."""
    priors = {"strength": "uniform:0:3", "flat": "uniform:0.5:2"}
    at = {"range": 20.0, "flux": B8_FLUX}
    found = sample(mine, ("strength", "toy.flat"), priors, at, chains=4, samples=600, warmup=400, seed=6)
    assert not found.problems
    assert list(found.parameters) == ["strength", "toy.flat"]
    assert list(found.records) == ["strength", "toy.flat"]
    x, flat = np.linspace(0, 3, 150), np.linspace(0.5, 2, 150)
    height = np.stack([poisson_height(mine, {**at, "strength": v}, flat) for v in x])
    check(found.parameters["strength"], x, np.trapezoid(height, flat, axis=1))
    check(found.parameters["toy.flat"], flat, np.trapezoid(height, x, axis=0))
    np.testing.assert_array_equal(found.samples("flat"), found.samples("toy.flat"))
    grid = laplace(mine, {"strength": x, "flat": flat}, priors, at)
    expected = height / np.trapezoid(np.trapezoid(height, flat), x)
    np.testing.assert_allclose(grid.density, expected, rtol=1e-6, atol=1e-12)


def test_constrained_parameter_of_the_theory_is_integrated() -> None:
    """Its constraint is its prior where it is not named; the same by quadrature and, nearly, by Laplace's method."""
    toy = Likelihood(counting("toy", [30, 14], [12.0, 8.0], {"flat": [6.0, 4.0]}, ()), users.Constrained())
    at, x, inner = {"flux": B8_FLUX}, np.linspace(0, 4, 120), np.linspace(0.0, 2.2, 120)
    found = sample(toy, "strength", {"strength": "uniform:0:4"}, at, chains=4, samples=600, warmup=400, seed=7)
    assert not found.problems
    assert list(found.parameters) == ["strength"]
    assert list(found.records) == ["strength", "quenching"]
    standard = np.asarray(signal(joint_toy(), at))
    expected = standard * (0.5 + 0.5 * np.multiply.outer(x, inner))[..., None] + np.array([6.0, 4.0])
    height = np.exp(np.sum(np.array([30, 14]) * np.log(expected) - expected, axis=-1))
    density = np.trapezoid(height * truncnorm.pdf(inner, -5, np.inf, 1.0, 0.2), inner)
    check(found.parameters["strength"], x, density)
    grid = laplace(toy, {"strength": x}, {"strength": "uniform:0:4"}, at)
    assert grid.valid.all()
    assert np.trapezoid(np.abs(grid.marginal("strength") - density / np.trapezoid(density, x)), x) / 2 < 0.02


def joint_toy() -> Likelihood:
    return Likelihood(counting("toy", [30, 14], [12.0, 8.0], {"flat": [6.0, 4.0]}, ()))


def test_shape_nuisance_by_name() -> None:
    """Its position has the prior given; the others are as before."""
    likelihood = Likelihood("xenonnt-2024")
    (name,) = [n for n, p in likelihood.parameters.items() if p.kind == "shape"][:1]
    target = SampledModel(likelihood, (name, "flux"), {name: "uniform:-0.5:0.5", "flux": "uniform:1e6:1e7"})
    others = jnp.asarray([1.0 if likelihood.parameters[n].kind != "shape" else 0.2 for n in target.nuisances])
    factors = target.factors({name: 0.3, "flux.b8": 5e6}, others)
    names = target.arrangement.nuisances
    assert "flux.b8" not in names
    assert float(factors[names.index(name)]) == 0.3
    assert np.all(np.delete(np.asarray(factors), names.index(name)) == np.asarray(others))
    np.testing.assert_allclose(
        target.signal({name: 0.3, "flux.b8": 5e6}), signal(likelihood, {"flux": 5e6}), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("record", "alone", "together"),
    [
        (Parameter("a", 1.0, lower=0.0, sigma=0.5, prior="uniform:0:4"), "uniform:0:4", "truncated:1:0.5:0:inf"),
        (Parameter("a", 1.0, sigma=0.5), "normal:1:0.5", "normal:1:0.5"),
        (Parameter("a", 1.0, lower=0.0, upper=3.0), "uniform:0:3", "uniform:0:3"),
        (Parameter("a", 1.0, lower=0.0, prior="log-uniform:0.1:10"), "log-uniform:0.1:10", "log-uniform:0.1:10"),
    ],
)
def test_default_priors(record, alone, together) -> None:
    assert str(default_prior(record)) == alone
    assert str(default_prior(record, joint=True)) == together


def test_priors_and_bounds() -> None:
    record = Parameter("theory.a", 1.0, lower=0.0)
    with pytest.raises(ValueError, match=r"parameter 'theory.a' has no default prior: give .*--prior theory.a="):
        default_prior(record)
    assert str(choose_priors([record], {"a": "normal:1:2"})["theory.a"]) == "truncated:1:2:0:inf"
    with pytest.raises(ValueError, match=r"prior uniform:-1:2 of 'theory.a' reaches beyond \[0, inf\]"):
        choose_priors([record], {"a": Prior("uniform", -1.0, 2.0)})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("flat:0:1", "unknown prior"),
        ("uniform:0", "uniform:low:high"),
        ("uniform:1:0", "must be below"),
        ("uniform:0:inf", "finite"),
        ("log-uniform:0:1", "above 0"),
        ("normal:1:-1", "positive sd"),
        ("normal:a:b", "all numbers"),
    ],
)
def test_bad_priors(text, part) -> None:
    with pytest.raises(ValueError, match=part):
        parse_prior(text)


@pytest.mark.parametrize("text", ["uniform:0:40", "log-uniform:1e-07:0.01", "normal:1:2", "truncated:1:2:0:inf"])
def test_prior_reads_what_it_prints(text) -> None:
    assert str(parse_prior(text)) == text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"free": "flus"}, "unknown parameter 'flus'"),
        ({"free": []}, "at least one parameter"),
        ({"free": "coupling"}, "unknown parameter 'coupling'"),
        ({"free": ["flux", "flux.b8"]}, "named twice"),
        ({"free": "flux", "priors": {"sin2w": PRIOR}}, "prior for 'sin2w', which is not among"),
        ({"free": "flux", "at": {"flux": 1e6}}, "both sampled and fixed"),
        ({"free": "a_k", "at": {"a_k": 9.0}}, "outside"),
    ],
)
def test_bad_requests(likelihood, arguments, part) -> None:
    with pytest.raises(ValueError, match=part):
        sample(likelihood, **arguments)


@pytest.mark.parametrize("package", ["numpyro", "arviz"])
def test_missing_package_says_what_to_install(likelihood, monkeypatch, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'jcevns\[bayes\]'"):
        sample(likelihood, "flux")


def test_missing_package_of_the_files(likelihood, posterior, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(ImportError, match=r"h5netcdf: pip install 'jcevns\[bayes\]'"):
        write_posterior(posterior, likelihood, tmp_path)


EXACT = {
    "uniform:-1:3": uniform(-1, 4),
    "log-uniform:0.001:10": loguniform(1e-3, 10),
    "normal:2:0.5": norm(2, 0.5),
    "truncated:1:1:0:inf": truncnorm(-1, np.inf, 1, 1),
    "truncated:1:0.25:0.5:1.5": truncnorm(-2, 2, 1, 0.25),
    "truncated:0:1:3:4": truncnorm(3, 4, 0, 1),
}


@pytest.mark.parametrize("text", EXACT)
def test_prior_is_the_image_of_a_normal(text) -> None:
    score = np.linspace(-5, 5, 41)  # beyond, SciPy's quantile of a truncated normal is off by 1e-9
    found = np.asarray(parse_prior(text).from_normal(jnp.asarray(score)))
    # Near an end either the probability below or that above loses its digits: take the smaller one.
    exact = np.where(score < 0, EXACT[text].ppf(norm.cdf(score)), EXACT[text].isf(norm.sf(score)))
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("text", EXACT)
def test_prior_density(text) -> None:
    x = EXACT[text].ppf(np.linspace(0.01, 0.99, 21))
    outside = np.array([EXACT[text].support()[1] + 1.0]) if np.isfinite(EXACT[text].support()[1]) else np.empty(0)
    np.testing.assert_allclose(parse_prior(text).log_density(x), EXACT[text].logpdf(x), rtol=1e-12, atol=1e-12)
    assert np.all(np.isneginf(parse_prior(text).log_density(outside)))


def test_truncated_normal_does_not_leave_its_bounds() -> None:
    score = jnp.linspace(-30.0, 30.0, 61)
    found = np.asarray(truncated_normal(score, jnp.asarray(-2.0), jnp.asarray(2.0)))
    assert np.all(np.isfinite(found))
    assert np.all(np.abs(found) <= 2.0)
    assert np.all(np.diff(found) >= 0)


def test_laplace_is_the_integral_at_the_minimum_of_the_general_model() -> None:
    """Log-factors with the batched fit, and the curvature in the factors by the general minimiser: the same."""
    both, units = joint(BOTH), np.linspace(0.0, 0.6, 13)
    height = []
    for unit in units:
        found = fit_model(both.model, signal(both, {"sin2w": unit}))
        scale = jnp.where(both.model.is_log, jnp.exp(-found.x), 1.0)
        width = np.linalg.slogdet(np.asarray(found.hessian * scale[:, None] * scale[None, :] / 2))[1]
        height.append(float(-found.value / 2) - width / 2)
    density = np.exp(np.array(height) - max(height))
    grid = laplace(both, {"sin2w": units}, {"sin2w": "uniform:0:0.6"})
    assert grid.valid.all()
    np.testing.assert_allclose(grid.density, density / np.trapezoid(density, units), rtol=1e-6)
