"""Independent draws against quadrature: no nuisance, one, two modes, a proposal that does not cover the posterior."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from scipy.special import ndtr
from scipy.stats import norm, poisson

import jcevns as jc
from jcevns.cli.sampling import SAMPLERS
from jcevns.statistics import sample as sampling
from jcevns.statistics.independence import independent_draws
from jcevns.statistics.priors import truncated_normal
from tests import problems

NOMINAL = problems.NOMINAL
SIGNAL, FLAT, DATA = [6.0, 3.0, 1.5], [4.0, 4.0, 4.0], [14, 6, 4]
HIGHEST = 4e7


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """A likelihood of scores."""

    free: int
    size: int
    observed: Array
    mean: Callable[[Array], Array]

    def given(self, interest: Array) -> Any:
        return None

    def counts(self, scores: Array, given: Any) -> Array:
        return self.mean(scores)


def quadrature(target: Scores, end: float = 6.0, points: int = 601) -> tuple[np.ndarray, np.ndarray, float]:
    """A grid of scores, the posterior's density at its two-dimensional mesh, and the log of the evidence."""
    x = np.linspace(-end, end, points)
    mesh = np.stack([m.ravel() for m in np.meshgrid(x, x, indexing="ij")], axis=1)
    means = np.asarray(jax.vmap(target.mean)(jnp.asarray(mesh)))
    log = poisson.logpmf(np.asarray(target.observed), means).sum(axis=1) + norm.logpdf(mesh).sum(axis=1)
    density = np.exp(log).reshape(points, points)
    total = np.trapezoid(np.trapezoid(density, x), x)
    return x, density / total, math.log(total)


def check(target: Scores, within: float = 0.02) -> None:
    """Quantiles of both scores, and the evidence."""
    found = independent_draws(target, chains=8, samples=4000, seed=3)
    x, density, log_evidence = quadrature(target)
    for axis in (0, 1):
        marginal = np.trapezoid(density, x, axis=1 - axis)
        below = np.concatenate([[0.0], np.cumsum((marginal[1:] + marginal[:-1]) / 2 * np.diff(x))])
        drawn = found.scores[..., axis].ravel()
        for p in (0.05, 0.16, 0.5, 0.84, 0.95):
            assert np.mean(drawn < np.interp(p, below, x)) == pytest.approx(p, abs=within)
    weights = np.exp(found.log_weights - found.log_weights.max())
    error = weights.std() / weights.mean() / math.sqrt(weights.size)
    assert math.log(weights.mean()) + found.log_weights.max() == pytest.approx(log_evidence, abs=4 * error + 1e-4)


def test_a_curved_ridge() -> None:
    """Signal and background of one bin that both are free: what is known is a sum."""
    check(
        Scores(1, 2, jnp.array([30.0, 9.0]), lambda z: jnp.array([20 * jnp.exp(0.5 * z[0]), 8.0]) + 6 * ndtr_of(z[1]))
    )


def ndtr_of(score: Array) -> Array:
    return jax.scipy.special.ndtr(score)


def test_two_modes_with_nothing_between_them() -> None:
    """The signal is even in the parameter of interest: both signs have half of the draws."""
    target = Scores(1, 2, jnp.array([40.0]), lambda z: 5 + 30 * z[:1] ** 2 + 2 * z[1:])
    found = independent_draws(target, chains=8, samples=4000, seed=1)
    assert np.mean(found.scores[..., 0] > 0) == pytest.approx(0.5, abs=0.02)
    check(dataclasses.replace(target, mean=lambda z: 5 + 30 * z[:1] ** 2 + 2 * jnp.exp(0.3 * z[1:])))


def test_two_parameters_of_interest() -> None:
    check(Scores(2, 2, jnp.array([30.0, 12.0]), lambda z: jnp.exp(jnp.array([3 + z[0] * z[1], 2 + z[0]]))))


@pytest.fixture(scope="module")
def two() -> jc.Likelihood:
    """The flux and a background known to 30%."""
    flat = (jc.Nuisance("flat", 0.3, ("flat",)),)
    return jc.Likelihood(problems.counting("two", DATA, SIGNAL, {"flat": FLAT}, flat, error=None))


def test_a_likelihood_with_a_nuisance(two) -> None:
    """Flux and background on a grid of their own, priors written out."""
    flux, flat = np.linspace(0, HIGHEST, 801), np.linspace(1e-6, 3, 601)
    per_flux = np.asarray(jc.signal(two)) / NOMINAL
    mean = flux[:, None, None] * per_flux + flat[None, :, None] * np.array(FLAT)
    prior = norm.pdf(flat, 1, 0.3) / ndtr(1 / 0.3) / HIGHEST
    density = np.exp(poisson.logpmf(DATA, mean).sum(axis=-1)) * prior
    marginal = np.trapezoid(density, flat, axis=1)
    below = np.concatenate([[0.0], np.cumsum((marginal[1:] + marginal[:-1]) / 2 * np.diff(flux))])
    found = jc.sample(two, "flux", {"flux": f"uniform:0:{HIGHEST:g}"}, method="independence", samples=4000)
    found.check()
    for p in (0.05, 0.16, 0.5, 0.84, 0.95):
        assert np.mean(found.samples("flux") < np.interp(p, below / below[-1], flux)) == pytest.approx(p, abs=0.02)
    error = found.settings["log_evidence_error"]
    assert found.settings["log_evidence"] == pytest.approx(math.log(below[-1]), abs=4 * error + 1e-4)
    assert error < 0.01


def test_no_nuisance_at_all() -> None:
    alone = jc.Likelihood(problems.counting("one", DATA, SIGNAL, {"flat": FLAT}, (), error=None))
    flux = np.linspace(0, HIGHEST, 4001)
    mean = flux[:, None] * np.asarray(jc.signal(alone)) / NOMINAL + np.array(FLAT)
    density = np.exp(poisson.logpmf(DATA, mean).sum(axis=-1)) / HIGHEST
    found = jc.sample(alone, "flux", {"flux": f"uniform:0:{HIGHEST:g}"}, method="independence")
    found.check()
    exact = math.log(np.trapezoid(density, flux))
    assert found.settings["log_evidence"] == pytest.approx(exact, abs=4 * found.settings["log_evidence_error"] + 1e-4)


def test_same_seed_same_draws_and_nothing_is_compiled_again(two) -> None:
    first, again, other = (jc.sample(two, "flux", method="independence", samples=500, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.samples("flux"), again.samples("flux"))
    assert not np.array_equal(first.samples("flux"), other.samples("flux"))
    assert other.seconds < 0.5 * first.seconds


def test_proposals_that_do_not_cover_the_posterior_are_not_used(two, monkeypatch) -> None:
    """Weights without a mean: a Pareto tail of index one half, k = 2."""
    draws = sampling.independent_draws

    def heavy(*arguments: Any) -> Any:
        found = draws(*arguments)
        rng = np.random.default_rng(1)
        return dataclasses.replace(found, log_weights=-2 * np.log(rng.random(found.log_weights.size)))

    monkeypatch.setattr(sampling, "independent_draws", heavy)
    found = jc.sample(two, "flux", method="independence", samples=500)
    assert any("Pareto" in problem and "nuts" in problem for problem in found.problems)
    with pytest.raises(RuntimeError, match="do not use"):
        found.check()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"method": "gibbs"}, "gibbs"),
        ({"method": "independence", "warmup": 100}, "warmup belongs to the method nuts"),
        ({"method": "independence", "target_accept": 0.9}, "target_accept belongs to the method nuts"),
    ],
)
def test_what_does_not_belong_together_is_refused(two, arguments, part) -> None:
    with pytest.raises(ValueError, match=part):
        jc.sample(two, "flux", **arguments)


def test_more_parameters_than_a_grid_has_axes() -> None:
    names = ("flux", "sin2w", "accidental", "electronic")
    priors = {"accidental": "uniform:0.5:1.5", "electronic": "uniform:0.5:1.5"}
    with pytest.raises(ValueError, match="method nuts"):
        jc.sample("xenonnt-2024-s2", names, priors, method="independence")


def test_the_command_line_knows_the_samplers() -> None:
    assert SAMPLERS == sampling.METHODS


@pytest.mark.parametrize("low", [-3.0, -0.5])
def test_truncated_normal_rises_at_the_middle(low) -> None:
    """Score zero is where minimisers start: the slope there against a difference."""

    def image(score: Array) -> Array:
        return truncated_normal(score, jnp.asarray(low), jnp.asarray(4.0))

    here, step = jnp.zeros(()), 1e-5
    slope = (image(here + step) - image(here - step)) / (2 * step)
    assert float(jax.grad(image)(here)) == pytest.approx(float(slope), rel=1e-6)
    assert float(slope) > 0
