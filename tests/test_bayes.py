"""Evidence, leave-one-out and priors of one's own against quadrature; regions of the corner plot."""

from __future__ import annotations

import math

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import distributions as dist
from scipy.special import logsumexp
from scipy.stats import expon, halfcauchy, lognorm, norm, poisson, truncnorm

import jcevns as jc
from jcevns.plot.corner import _density, plot_corner, plot_pair
from jcevns.statistics.priors import DistributionPrior, choose_priors, parse_prior
from tests import problems

NOMINAL = problems.NOMINAL
SIGNAL, FLAT = [6.0, 3.0, 1.5], [4.0, 4.0, 4.0]
DATA = [14, 6, 4]


@pytest.fixture(scope="module")
def one() -> jc.Likelihood:
    """The flux alone: no nuisance."""
    return jc.Likelihood(problems.counting("one", DATA, SIGNAL, {"flat": FLAT}, (), error=None))


@pytest.fixture(scope="module")
def two() -> jc.Likelihood:
    """The flux and a background known to 30%."""
    flat = (jc.Nuisance("flat", 0.3, ("flat",)),)
    return jc.Likelihood(problems.counting("two", DATA, SIGNAL, {"flat": FLAT}, flat, error=None))


def log_poisson(likelihood: jc.Likelihood, flux: np.ndarray, flat: np.ndarray | float = 1.0) -> np.ndarray:
    """Of each bin, the last axis."""
    mean = np.multiply.outer(flux / NOMINAL, np.asarray(jc.signal(likelihood)))
    return poisson.logpmf(DATA, mean + np.multiply.outer(np.asarray(flat), FLAT))


# Evidence.


def test_evidence_of_one_parameter(one) -> None:
    flux = np.linspace(0.0, 4e7, 40_001)
    height = np.exp(log_poisson(one, flux).sum(axis=-1))
    for prior, density in (
        ("uniform:0:4e7", np.full(flux.size, 1 / 4e7)),
        ("truncated:5.46e6:0.66e6:0:4e7", truncnorm.pdf(flux, -5.46 / 0.66, (40 - 5.46) / 0.66, 5.46e6, 0.66e6)),
    ):
        exact = math.log(np.trapezoid(height * density, flux))
        found = jc.evidence(one, "flux", {"flux": prior}, draws=10_000)
        assert found.log_evidence == pytest.approx(exact, abs=4 * found.error)
        assert 0 < found.error < 0.02
        assert found.priors == {"flux.b8": str(parse_prior(prior))}


def test_evidence_of_two_parameters(two) -> None:
    flux, flat = np.linspace(0.0, 4e7, 801), np.linspace(0.0, 3.0, 601)
    log = np.array([log_poisson(two, flux, b).sum(axis=-1) for b in flat])
    weight = truncnorm.pdf(flat, -1 / 0.3, np.inf, 1.0, 0.3)
    exact = math.log(np.trapezoid(weight * np.trapezoid(np.exp(log) / 4e7, flux, axis=1), flat))
    seeds = [jc.evidence(two, "flux", draws=10_000, seed=seed) for seed in range(1, 9)]
    values = np.array([found.log_evidence for found in seeds])
    assert values.mean() == pytest.approx(exact, abs=4 * seeds[0].error / math.sqrt(len(seeds)))
    assert values.std(ddof=1) == pytest.approx(seeds[0].error, rel=0.8)
    sampled = jc.evidence(two, ("flux", "flat"), {"flux": "uniform:0:4e7"}, draws=10_000)
    assert sampled.log_evidence == pytest.approx(exact, abs=4 * sampled.error)


def test_evidence_of_two_modes() -> None:
    """A coupling that may be small, or so large that it turns the sign of the amplitude."""
    likelihood = jc.Likelihood(problems.built(problems.PANDAX), "vector")
    settings = {"at": {"mass": 10.0, "flux": NOMINAL}, "priors": {"coupling": "uniform:0:6e-5"}}
    found = jc.evidence(likelihood, "coupling", **settings, draws=10_000)
    grid = np.linspace(0.0, 6e-5, 1201)
    surface = jc.laplace(likelihood, {"coupling": grid}, **settings)
    assert np.sum(np.diff(np.sign(np.diff(surface.density))) < 0) > 0
    alone = jc.evidence(
        likelihood, "coupling", at=settings["at"], priors={"coupling": "uniform:0:2e-5"}, draws=10_000
    )
    inside = float(np.interp(2e-5, grid, np.append(0, np.cumsum((surface.density[1:] + surface.density[:-1]) / 2))))
    share = inside * (grid[1] - grid[0])
    ratio = alone.log_evidence - found.log_evidence  # of integrals over a third of the range, each over its width
    assert ratio == pytest.approx(math.log(3 * share), abs=0.05)


def test_evidence_without_effective_draws_is_refused(one, monkeypatch) -> None:
    from jcevns.statistics import evidence as module

    monkeypatch.setattr(module, "_modes", lambda *a: (np.full((1, 1), 7.0), np.full((1, 1, 1), 1e-3), np.zeros(1)))
    with pytest.raises(RuntimeError, match=r"rests on \d+ effective draws of 1000, fewer than 400: .* draws=10000"):
        module.evidence(one, "flux", {"flux": "uniform:0:4e9"}, draws=1000)
    with pytest.raises(ValueError, match="must be a whole number of 800 or more"):
        jc.evidence(one, "flux", draws=100)


# Leave-one-out.


EVEN = [8, 6, 9, 5, 7]


@pytest.fixture(scope="module")
def even() -> jc.Likelihood:
    """Bins none of which says most: what is left out is predicted by samples with all."""
    return jc.Likelihood(problems.counting("even", EVEN, [3.0] * 5, {"flat": [4.0] * 5}, (), error=None))


@pytest.fixture(scope="module")
def posterior(even):
    return jc.sample(even, "flux", {"flux": "uniform:0:4e7"}, chains=4, samples=1000, warmup=500, seed=2)


def log_even(even: jc.Likelihood, flux: np.ndarray) -> np.ndarray:
    return poisson.logpmf(EVEN, np.multiply.outer(flux / NOMINAL, np.asarray(jc.signal(even))) + 4.0)


def test_log_likelihood_of_each_bin(even, posterior) -> None:
    found = np.asarray(posterior.data.log_likelihood["counts"])
    assert found.shape == (4, 1000, 5)
    np.testing.assert_allclose(found, log_even(even, np.asarray(posterior.data.posterior["flux.b8"])), rtol=1e-10)


def test_loo_is_that_of_refits(even, posterior) -> None:
    """Each bin predicted by the posterior of the others, by quadrature."""
    flux = np.linspace(0.0, 4e7, 20_001)
    log = log_even(even, flux)
    exact = []
    for left in range(5):
        others = np.delete(log, left, axis=1).sum(axis=1)
        exact.append(logsumexp(log[:, left] + others) - logsumexp(others))
    found = arviz.loo(posterior.data, pointwise=True)
    assert np.all(np.asarray(found.pareto_k) < 0.7)
    np.testing.assert_allclose(np.asarray(found.loo_i), exact, atol=0.02)
    assert float(found.elpd_loo) == pytest.approx(sum(exact), abs=0.05)
    assert float(arviz.waic(posterior.data).elpd_waic) == pytest.approx(sum(exact), abs=0.05)


# Priors of one's own.


class Exponential:
    """A prior as a user writes it."""

    def __init__(self, mean: float):
        self.mean = mean

    def log_prob(self, x):
        return -x / self.mean - jnp.log(self.mean)

    def icdf(self, p):
        return -self.mean * jnp.log1p(-p)

    def cdf(self, x):
        return -jnp.expm1(-x / self.mean)


class Uncut(Exponential):
    cdf = property()


EXACT = {
    "numpyro": (dist.LogNormal(15.0, 0.5), lognorm(0.5, scale=math.exp(15.0))),
    "heavy tails": (dist.HalfCauchy(5e6), halfcauchy(scale=5e6)),
    "own": (Exponential(5e6), expon(scale=5e6)),
}


@pytest.mark.parametrize("case", EXACT)
def test_a_distribution_is_the_image_of_a_normal(case) -> None:
    given, exact = EXACT[case]
    prior = DistributionPrior(given)
    score = np.linspace(-4, 4, 17)
    np.testing.assert_allclose(prior.from_normal(jnp.asarray(score)), exact.ppf(norm.cdf(score)), rtol=1e-6)
    x = exact.ppf(np.linspace(0.01, 0.99, 9))
    np.testing.assert_allclose(prior.log_density(x), exact.logpdf(x), rtol=1e-9)
    assert prior.log_density(np.array([-1.0])) == -np.inf
    slope = jax.grad(lambda z: prior.from_normal(z))(0.3)
    assert float(slope) == pytest.approx(norm.pdf(0.3) / exact.pdf(exact.ppf(norm.cdf(0.3))), rel=1e-5)


def test_a_distribution_is_cut_at_the_bounds(one) -> None:
    record = one.parameters["flux"]
    (prior,) = choose_priors([record], {"flux": dist.Normal(2e6, 3e6)}).values()
    exact = truncnorm(-2 / 3, np.inf, 2e6, 3e6)
    score = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(prior.from_normal(jnp.asarray(score)), exact.ppf(norm.cdf(score)), rtol=1e-8)
    np.testing.assert_allclose(prior.log_density(np.array([-1.0, 1e6])), exact.logpdf([-1.0, 1e6]), rtol=1e-10)
    with pytest.raises(ValueError, match=r"Uncut reaches beyond \[0, 1e\+06\]: give it a method cdf"):
        DistributionPrior(Uncut(5e6)).within(0.0, 1e6)


def test_posterior_with_a_prior_of_ones_own(one, tmp_path) -> None:
    grid = np.linspace(0.0, 4e7, 4001)
    density = np.exp(log_poisson(one, grid).sum(axis=-1) + expon.logpdf(grid, scale=5e6))
    cumulative = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2))
    exact = np.interp([0.1587, 0.5, 0.8413], cumulative / cumulative[-1], grid)
    look = jc.laplace(one, {"flux": grid}, {"flux": Exponential(5e6)})
    np.testing.assert_allclose([look.quantile("flux", p) for p in (0.1587, 0.5, 0.8413)], exact, rtol=1e-4)
    found = jc.sample(one, "flux", {"flux": Exponential(5e6)}, chains=4, samples=1000, warmup=500)
    assert found.parameters["flux.b8"].prior == "Exponential"
    np.testing.assert_allclose(np.quantile(found.samples("flux"), [0.1587, 0.5, 0.8413]), exact, rtol=0.05)
    from jcevns.plot.posterior import plot_marginal

    line = plot_marginal(found, "flux").get_lines()[0]
    scale = 1e6
    np.testing.assert_allclose(line.get_ydata(), expon.pdf(line.get_xdata(), scale=5e6 / scale), rtol=1e-6)


class Lying(Exponential):
    def log_prob(self, x):
        return -x / self.mean


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (object(), "has no log_prob or no icdf"),
        (expon(scale=5e6), "has no log_prob or no icdf"),
        (dist.VonMises(0.0, 1.0), "has no log_prob or no icdf"),
        (dist.Normal(jnp.zeros(2), 1.0), "is not of one number"),
        (Lying(5e6), "log_prob is not the density of icdf"),
    ],
)
def test_bad_distributions(one, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        jc.sample(one, "flux", {"flux": given})


# Regions.


def test_regions_hold_their_probability() -> None:
    """Of a normal the 68% region is an ellipse of known area; beside an edge of the prior density does not fall."""
    stream = np.random.default_rng(3)
    draws = stream.multivariate_normal([0.0, 0.0], [[1.0, 0.95], [0.95, 1.0]], size=8000).T
    density, edges = _density(list(draws), [(-np.inf, np.inf)] * 2)
    heights = np.sort(density.ravel())[::-1]
    cell = math.prod(e[1] - e[0] for e in edges)
    inside = np.searchsorted(np.cumsum(heights) / heights.sum(), 0.68269)
    area = math.pi * 2.2957 * math.sqrt(1 - 0.95**2)
    assert inside * cell == pytest.approx(area, rel=0.1)
    flat, (edge,) = _density([stream.uniform(0.0, 1.0, 8000)], [(0.0, 1.0)])
    assert (edge[0], edge[-1]) == (0.0, 1.0)
    np.testing.assert_allclose(flat / flat.mean(), 1.0, atol=0.15)


def test_corner(two) -> None:
    found = jc.sample(two, ("flux", "flat"), chains=2, samples=500, warmup=300)
    fig = plot_corner(found)
    assert len(fig.axes) == 4
    labels = [text.get_text() for text in fig.axes[2].texts]
    assert {"68%", "90%"} <= set(labels)
    assert fig.axes[2].get_xlabel() == fig.axes[3].get_xlabel() or fig.axes[3].get_xlabel()
    with pytest.raises(ValueError, match="must be probabilities between 0 and 1"):
        plot_pair(found, "flux", "flat", levels=[68.0])
