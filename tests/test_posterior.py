"""Posteriors against direct integration; diagnostics that are not silent."""

import dataclasses
import itertools
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import loguniform, norm, truncnorm, uniform

from jcevns import Likelihood, StandardModel, Theory, signal
from jcevns.inference import laplace
from jcevns.inference.laplace import laplace_grid
from jcevns.inference.posterior import sample
from jcevns.inference.priors import Prior, default_prior, parse_prior, truncated_normal
from jcevns.likelihood.joint import as_morphing
from jcevns.physics.flux import B8_FLUX
from jcevns.report import posterior as report
from jcevns.report.posterior import write_posterior
from tests.problems import BOTH, XENONNT, built, counting, joint

FLUXES = np.linspace(0.0, 30e6, 301)
PRIOR = Prior("uniform", 0.0, 40e6)


@pytest.fixture(scope="module")
def likelihood() -> Likelihood:
    return joint((XENONNT,), flux_pull=False)


@pytest.fixture(scope="module")
def brute_force(likelihood) -> tuple[float, float, np.ndarray]:
    """Mean, standard deviation and density of the flux, by quadrature over the four nuisances in NumPy."""
    experiment = built(XENONNT)
    observed = np.asarray(experiment.observed)
    per_flux = np.asarray(signal(likelihood, Theory(StandardModel()))) / B8_FLUX
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
    found = posterior.parameters["flux"]
    assert not posterior.problems
    error = sd / np.sqrt(found.ess_bulk)
    assert found.mean == pytest.approx(mean, abs=4 * error)
    assert found.sd == pytest.approx(sd, rel=4 / np.sqrt(found.ess_tail))


def test_quantiles_agree_with_quadrature(posterior, brute_force) -> None:
    total = np.concatenate([[0.0], np.cumsum((brute_force[2][1:] + brute_force[2][:-1]) / 2 * np.diff(FLUXES))])
    for probability in (0.16, 0.5, 0.84, 0.95):
        exact = np.interp(probability, total, FLUXES)
        below = np.mean(posterior.samples("flux") < exact)
        spread = np.sqrt(probability * (1 - probability) / posterior.parameters["flux"].ess_tail)
        assert below == pytest.approx(probability, abs=4 * spread)


def test_laplace_grid_agrees_with_quadrature(likelihood, brute_force) -> None:
    grid = laplace_grid(likelihood, {"flux": FLUXES}, {"flux": PRIOR})
    assert grid.valid.all()
    density = grid.marginal("flux")
    assert np.trapezoid(density, FLUXES) == pytest.approx(1.0)
    # Half the L1 distance; the wide, truncated electron-recoil factor is what is not Gaussian.
    assert np.trapezoid(np.abs(density - brute_force[2]), FLUXES) / 2 < 0.02


def test_same_seed_same_samples_and_the_reader_is_told_what_they_are(likelihood, posterior) -> None:
    again = sample(likelihood, "flux", {"flux": PRIOR}, chains=4, samples=1000, warmup=500, seed=3)
    np.testing.assert_array_equal(again.samples("flux"), posterior.samples("flux"))
    assert posterior.settings["priors"] == {"flux": str(PRIOR)}
    low, high = posterior.parameters["flux"].hdi_68
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
    assert default_prior("flux", joint=True).sd == pytest.approx(0.12 * B8_FLUX)
    both = sample(likelihood, ["flux", "sin2w"], chains=4, samples=500, warmup=500, seed=2)
    assert both.parameters["flux"].mean == pytest.approx(B8_FLUX, rel=0.05)
    assert both.parameters["sin2w"].quantiles_68[0] > -0.108
    # More flux needs less weak charge: the two pull against each other.
    assert np.corrcoef(both.samples("flux"), both.samples("sin2w"))[0, 1] < 0


def test_two_parameters_agree_with_quadrature() -> None:
    """Flux and sin2w of a counting experiment without nuisances: the plane integrated by the trapezoidal rule."""
    toy = Likelihood(counting("toy", [20, 14], [12.0, 8.0], {"flat": [6.0, 4.0]}, ()), flux_pull=False)
    found = sample(toy, ["flux", "sin2w"], chains=8, samples=1000, warmup=500, seed=4)
    found.check()
    flux, sin2w = np.linspace(1e5, 11e6, 220), np.linspace(default_prior("sin2w").low, 1.2385, 260)
    shape = np.stack([np.asarray(signal(toy, StandardModel(s))) for s in jnp.asarray(sin2w)]) / B8_FLUX
    expected = flux[:, None, None] * shape + np.array([6.0, 4.0])
    log = np.sum(np.array([20, 14]) * np.log(expected) - expected, axis=-1)
    width = 0.12 * B8_FLUX
    density = np.exp(log - log.max()) * truncnorm.pdf(flux, -B8_FLUX / width, np.inf, B8_FLUX, width)[:, None]
    total = np.trapezoid(np.trapezoid(density, sin2w), flux)
    for name, axis, marginal in (
        ("flux", flux, np.trapezoid(density, sin2w, axis=1) / total),
        ("sin2w", sin2w, np.trapezoid(density, flux, axis=0) / total),
    ):
        mean = np.trapezoid(axis * marginal, axis)
        sd = np.sqrt(np.trapezoid((axis - mean) ** 2 * marginal, axis))
        mine = found.parameters[name]
        assert mine.mean == pytest.approx(mean, abs=4 * sd / np.sqrt(mine.ess_bulk)), name
        # The error of a standard deviation, for tails as heavy as those here.
        assert mine.sd == pytest.approx(sd, rel=4 / np.sqrt(mine.ess_tail)), name


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
        ({"parameters": "flus"}, "choose from flux"),
        ({"parameters": []}, "each once"),
        ({"parameters": "coupling"}, "interaction"),
        ({"parameters": "coupling", "interaction": "scalar"}, "mass"),
        ({"parameters": "flux", "priors": {"sin2w": PRIOR}}, "not sampled"),
    ],
)
def test_bad_requests(likelihood, arguments, part) -> None:
    with pytest.raises(ValueError, match=part):
        sample(likelihood, **arguments)


def test_flux_with_its_pull_is_refused() -> None:
    with pytest.raises(ValueError, match="flux_pull=False"):
        sample(joint((XENONNT,)), "flux")


@pytest.mark.parametrize("package", ["numpyro", "arviz"])
def test_missing_package_says_what_to_install(likelihood, monkeypatch, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'jcevns\[bayes\]'"):
        sample(likelihood, "flux")


@pytest.mark.parametrize(("package", "names"), [("corner", ("flux", "other")), ("h5netcdf", ("flux",))])
def test_missing_package_of_the_files(likelihood, posterior, monkeypatch, tmp_path, package, names) -> None:
    parameters = dict.fromkeys(names, posterior.parameters["flux"])
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(report, "plot_marginal", lambda *arguments: None)
    with pytest.raises(ImportError, match=rf"{package}: pip install 'jcevns\[bayes\]'"):
        write_posterior(dataclasses.replace(posterior, parameters=parameters), likelihood, tmp_path)


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


def test_laplace_paths_agree() -> None:
    """Log-factors with the batched fit, and the general model: the same integral."""
    both = joint(BOTH)
    units = np.linspace(0.0, 0.6, 13)
    counts = np.stack([np.asarray(signal(both, StandardModel(u))) for u in jnp.asarray(units)])
    fast, valid = laplace._integrals(both, counts)
    slow, also = laplace._shapes(as_morphing(both), jnp.asarray(counts))
    assert valid.all()
    assert np.asarray(also).all()
    np.testing.assert_allclose(fast, np.asarray(slow), atol=1e-7)
