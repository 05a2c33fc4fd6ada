"""Batched profile fit against the robust one and against iminuit."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns import Likelihood, signal
from jcevns.fit import batch
from jcevns.fit.batch import Profiles
from jcevns.fit.newton import BatchFit, batch_fit
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import arranged
from tests import problems, reference
from tests.reference import run_python

NAMES = ("xenonnt", "pandax", "combined")
KEYS = {"xenonnt": (problems.XENONNT,), "pandax": (problems.PANDAX,), "combined": problems.BOTH}
_robust = jax.jit(jax.vmap(problems.profile_signal, in_axes=(None, 0)))
_slopes = jax.jit(jax.vmap(jax.grad(lambda m, s: problems.profile_signal(m, s).chi2, 1), in_axes=(None, 0)))


def profile_signals(likelihood: Likelihood, counts: np.ndarray, *options) -> Profiles:
    return batch.profile_signals(arranged(likelihood), counts, None, *options)


def pulls(likelihood: Likelihood, fit: Profiles) -> np.ndarray:
    """Relative pulls, (nuisance, point)."""
    return np.asarray(jax.vmap(lambda x: models.pulls(likelihood.model, x), -1, -1)(fit.x))


def columns(likelihood: Likelihood, count: int = 181, seed: int = 3) -> np.ndarray:
    """The Standard Model's signal times nine decades, and as many distorted bin by bin."""
    scale = np.geomspace(1e-4, 1e5, count)
    base = np.asarray(signal(likelihood))[:, None] * scale
    return np.concatenate([base, base * np.random.default_rng(seed).lognormal(0, 0.7, base.shape)], axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_same_minimum_as_the_robust_fit(name, likelihoods) -> None:
    likelihood = likelihoods[name]
    counts = columns(likelihood)
    fit, robust = profile_signals(likelihood, counts), _robust(likelihood.model, jnp.asarray(counts.T))
    assert np.all(fit.valid)
    assert np.all(np.asarray(robust.valid))
    # chi2 grows to 1e5 and more: absolute where it matters, relative beyond.
    np.testing.assert_allclose(fit.chi2, robust.chi2, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(pulls(likelihood, fit), robust.pulls.T, rtol=0, atol=1e-6)
    np.testing.assert_allclose(fit.slope, _slopes(likelihood.model, jnp.asarray(counts.T)).T, rtol=1e-5, atol=1e-9)
    assert np.all((fit.edm >= 0) & (fit.edm < 1e-8))


@pytest.mark.parametrize("name", NAMES)
def test_same_minimum_as_iminuit(name, likelihoods) -> None:
    likelihood = likelihoods[name]
    counts = columns(likelihood, seed=8)[:, np.linspace(0, 361, 12).astype(int)]
    experiments = [problems.built(key) for key in KEYS[name]]
    ends = np.cumsum([e.observed.size for e in experiments])[:-1]
    fit = profile_signals(likelihood, counts)
    for k, column in enumerate(counts.T):
        value, _ = reference.minimum(reference.Chi2(experiments, np.split(column, ends)))
        assert fit.chi2[k] == pytest.approx(value, rel=1e-10, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_slope_is_the_derivative_of_chi2(name, likelihoods) -> None:
    likelihood, step = likelihoods[name], 1e-3
    base = columns(likelihood, seed=4)[:, [60, 90, 100, 200, 260, 290]]
    slope = profile_signals(likelihood, base).slope
    for i in range(base.shape[0]):
        moved = [base.copy() for _ in range(4)]
        for m, k in zip(moved, (-2, -1, 1, 2), strict=True):
            m[i] *= 1 + k * step
        f = profile_signals(likelihood, np.concatenate(moved, axis=1)).chi2.reshape(4, -1)
        expected = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step * base[i])
        np.testing.assert_allclose(slope[i], expected, rtol=1e-6, atol=1e-6)


def test_a_broken_column_leaves_the_others_alone(likelihoods) -> None:
    likelihood = likelihoods["combined"]
    clean = columns(likelihood)
    broken = clean.copy()
    broken[2, 7], broken[:, 200], broken[0, 360] = np.nan, np.nan, np.inf
    good = np.setdiff1d(np.arange(clean.shape[1]), [7, 200, 360])
    whole, other = profile_signals(likelihood, clean), profile_signals(likelihood, broken)
    assert not np.any(other.valid[[7, 200, 360]])
    for a, b in zip(whole, other, strict=True):
        np.testing.assert_array_equal(a[..., good], b[..., good])


def test_observed_counts_per_column(likelihoods) -> None:
    likelihood = likelihoods["combined"]
    counts = columns(likelihood, 12)[:, :24]
    rng = np.random.default_rng(0)
    observed = rng.poisson(np.asarray(likelihood.model.observed)[:, None], counts.shape).astype(float)
    observed[:, 0] = 0
    fit = batch_fit(likelihood.layout, likelihood.model, jnp.asarray(counts), jnp.asarray(observed))
    one = batch_fit(likelihood.layout, likelihood.model, jnp.asarray(counts), jnp.asarray(observed[:, 5:6]))
    # A minimum that is doubted goes to the robust fit, in scans and toys: here it is enough that it was reached.
    assert np.all(fit.edm < 1e-8)
    assert np.mean(fit.valid) > 0.8
    for k in range(24):
        model = dataclasses.replace(likelihood.model, observed=jnp.asarray(observed[:, k]))
        alone = problems.compiled(model, jnp.asarray(counts[:, k]))
        assert float(fit.chi2[k]) == pytest.approx(float(alone.chi2), abs=1e-9)
    assert float(one.chi2[5]) == pytest.approx(float(fit.chi2[5]), abs=1e-12)


def test_chunks_do_not_matter(likelihoods) -> None:
    likelihood = likelihoods["xenonnt"]
    counts, seen = columns(likelihood), []
    whole = profile_signals(likelihood, counts)
    parts = profile_signals(likelihood, counts, 100, seen.append)
    assert sorted(seen) == [62, 100, 100, 100]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_restart_recovers_points(likelihoods, monkeypatch) -> None:
    likelihood = likelihoods["combined"]
    counts = columns(likelihood)
    counts[0, 40] = np.nan
    truth = profile_signals(likelihood, counts)
    lost = np.r_[0:20, 40, 100:117, 361]  # more than one batch of restarts

    def failing(layout, model, signals, *more):
        fit = batch_fit(layout, model, signals, *more)
        hit = jnp.isin(signals[1], jnp.asarray(counts[1, lost]))  # wherever in the batch they are
        return BatchFit(*(jnp.where(hit, jnp.zeros((), x.dtype), x) for x in fit[:-1]), fit.valid & ~hit)

    monkeypatch.setattr(batch, "batch_fit", failing)
    found = profile_signals(likelihood, counts)
    np.testing.assert_array_equal(found.valid, np.arange(362) != 40)
    usable = found.valid
    np.testing.assert_allclose(found.chi2[usable], truth.chi2[usable], rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(
        pulls(likelihood, found)[:, usable], pulls(likelihood, truth)[:, usable], rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(found.slope[:, usable], truth.slope[:, usable], rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(found.chi2[200:361], truth.chi2[200:361])


def test_points_that_stay_invalid_are_marked(likelihoods, monkeypatch) -> None:
    likelihood = likelihoods["combined"]
    monkeypatch.setattr(batch, "batch_fit", lambda *a: batch_fit(*a)._replace(valid=jnp.zeros(a[2].shape[1], bool)))
    general = batch.general_fits
    monkeypatch.setattr(batch, "general_fits", lambda *a: (*general(*a)[:-1], np.zeros(16, bool)))
    explore = batch._explore
    monkeypatch.setattr(batch, "_explore", lambda *a: explore(*a)._replace(valid=jnp.zeros(16, bool)))
    assert not np.any(profile_signals(likelihood, columns(likelihood, 4)).valid)


def test_without_nuisances() -> None:
    likelihood = Likelihood(
        problems.counting("bare", [0, 3, 5], [1.0, 2.0, 1.5], {"flat": [0.5, 1.0, 2.0]}, (), error=None)
    )
    counts = np.random.default_rng(1).lognormal(0, 2, (3, 50))
    fit = profile_signals(likelihood, counts)
    N, D = counts + np.array([[0.5], [1.0], [2.0]]), np.array([[0.0], [3.0], [5.0]])
    expected = 2 * np.sum(N - D + np.where(D > 0, D * np.log(np.where(D > 0, D, 1) / N), 0), axis=0)
    np.testing.assert_allclose(fit.chi2, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fit.slope, 2 * (1 - D / N), rtol=1e-12, atol=1e-12)
    assert fit.x.shape == (0, 50)
    assert np.all(fit.valid)
    counts[1, 3] = np.nan
    assert np.flatnonzero(~profile_signals(likelihood, counts).valid).tolist() == [3]


SINGLE = """
import json, sys
import jax
jax.config.update("jax_numpy_dtype_promotion", "strict")
import numpy as np
from jcevns import Likelihood, experiment
from jcevns.fit.batch import profile_signals
from jcevns.likelihood.likelihood import arranged

likelihood = Likelihood([experiment("xenonnt-2024-s2"), experiment("pandax4t-us2")])
counts = np.array(json.loads({counts!r}), "float32")
fit = profile_signals(arranged(likelihood), counts)
print(json.dumps([fit.chi2.tolist(), fit.valid.tolist(), [str(x.dtype) for x in fit]]))
"""


def test_single_precision(likelihoods) -> None:
    likelihood = likelihoods["combined"]
    counts = columns(likelihood, 91)
    double = profile_signals(likelihood, counts)
    near = double.chi2 < double.chi2.min() + 100  # beyond, a digit of chi2 is worth more than the tolerance
    assert near.sum() > 50
    counts, double = counts[:, near], double.chi2[near]
    done = run_python(SINGLE.format(counts=json.dumps(counts.tolist())), "-W", "error")
    assert done.returncode == 0, done.stderr
    chi2, valid, kinds = json.loads(done.stdout)
    assert kinds == ["float32"] * 5 + ["bool"]
    assert all(valid)
    np.testing.assert_allclose(chi2, double, rtol=0, atol=1e-3)
