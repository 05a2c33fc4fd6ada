"""Products of factors have several minima: the lowest is found, or the fit is not valid."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import jcevns as jc
from benchmarks.complementary import EXPERIMENTS
from benchmarks.testbench import binned
from benchmarks.testbench.check import judge
from benchmarks.testbench.products import STRUCTURES, draw, structure
from benchmarks.testbench.reference import Models, evaluate, lowest, starts
from jcevns.fit.batch import profile_signals
from jcevns.fit.products import Factors, Tangent, global_minimum
from jcevns.likelihood.likelihood import arranged

FLUXES = ("flux.b8", "flux.sns", "flux.solar")


@pytest.mark.parametrize("name", STRUCTURES)
def test_signals_far_above_the_data(name) -> None:
    """As in scans of excluded couplings: widths of 3 to 30%, signals up to 1e4 times the data. All is found."""
    found, rng = STRUCTURES[name], np.random.default_rng(3)
    models = draw(found, rng, 512)
    result = judge(models, binned.fit(found, models), rng)
    assert (result["false"], result["lost"]) == ([], 0)


@pytest.mark.parametrize(("call", "column"), [(3, 234), (4, 994), (5, 131), (6, 801)])
def test_the_flux_or_the_efficiencies_give_way(call, column) -> None:
    """Two ways down whose chi2 differ by less than the bound's slack: each said valid with the higher one."""
    found, rng = STRUCTURES["two experiments of a flux"], np.random.default_rng([1, 1, call, 5])
    models = draw(found, rng).take(np.array([column]))
    judged = judge(models, binned.fit(found, models), rng)
    assert (judged["false"], judged["lost"]) == ([], 0)


@pytest.mark.parametrize(
    ("index", "call", "column"),
    [(8, 6, 311), (33, 2, 74), (22, 4, 214), (81, 2, 79), (96, 0, 112), (103, 3, 385), (116, 3, 494)],
)
def test_minima_that_searches_missed(index, call, column) -> None:
    """Three with a chi2 of 900 to 2e6 per bin, some with wide factors; in the last, five factors give way."""
    found, models = binned.rebuild(1, index, call)
    one = models.take(np.array([column]))
    judged = judge(one, binned.fit(found, one), np.random.default_rng(0))
    assert judged["false"] == []


def test_smallest_cases() -> None:
    """Found by the test-bench: two wide factors on one signal, and a shared flux beside factors of one's own."""
    one = Models(np.zeros((1, 1)), np.full((1, 1, 1), 36.67), np.ones((1, 2)), np.array([[0.3822, 0.4354]]), 1)
    assert claimed(structure([[1, 1]], [0], [1]), one) == pytest.approx(5.275, abs=1e-3)
    templates = np.zeros((1, 2, 4))
    templates[0, 0, :2], templates[0, 1, 2:] = (148243.7, 267605.8), (18247.1, 0.0)
    loading = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    two = Models(np.array([[3487.0, 6256.0, 629.0, 0.0]]), templates, loading, np.array([[0.7855, 1.0708, 2.027]]), 2)
    assert claimed(structure([[1, 1, 0], [1, 0, 1]], [0, 1], [2, 2]), two) == pytest.approx(1.143, abs=1e-3)


def claimed(found: binned.Structure, models: Models) -> float:
    """chi2 of a fit that says valid."""
    result = binned.fit(found, models)
    assert result.valid[0]
    return float(result.chi2[0])


# The proof ---------------------------------------------------------------------------------------------------------


def proven(loading: np.ndarray, tilt: jax.Array, factors: Factors, chi2: jax.Array) -> jax.Array:
    """By the tangent at the minimum alone."""
    return global_minimum(
        loading, Tangent(tilt, chi2[None], np.zeros(len(loading), int), np.array([1e9])), factors, chi2
    )


def bound(factors: np.ndarray, loading: np.ndarray, tilt: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Q, by itself."""
    products = np.prod(np.where(loading[:, :, None] > 0, factors, 1.0), axis=1)
    return np.sum(((factors - 1) / sigma[:, None]) ** 2, axis=0) + tilt @ products


@pytest.mark.parametrize("loading", [[[1, 1, 0], [1, 0, 1]], [[1, 1, 0], [0, 1, 1], [0, 1, 0]], [[1, 1, 1]]])
def test_the_bound_against_a_dense_scan(loading) -> None:
    """At minima of Q found from random starts: the lowest of them is proven, one that is not is not."""
    loading = np.array(loading, float)
    rng = np.random.default_rng(5)
    grid = np.linspace(0, 1.5, 31)
    proof = jax.jit(partial(proven, loading))
    dense = np.stack(np.meshgrid(grid, grid, grid, indexing="ij")).reshape(3, -1)
    said: list[tuple[bool, bool]] = []
    for _ in range(12):
        sigma, tilt = rng.uniform(0.2, 1.0, 3), 10 ** rng.uniform(0, 2.5, len(loading))
        starts = [dense[:, np.argmin(bound(dense, loading, tilt, sigma))], *rng.uniform(0, 1.2, (6, 3))]
        for begin in starts:
            found = minimize(
                lambda f, s=sigma, t=tilt: bound(f[:, None], loading, t, s)[0],
                begin,
                bounds=[(0, None)] * 3,
                tol=1e-13,
            )
            lowest = min(np.min(bound(dense, loading, tilt, sigma)), found.fun)
            if 1e-9 < found.fun - lowest < 0.1:
                continue  # decided by the grid
            ones = np.ones(3)
            # A chi2 so large that nothing is excluded by it.
            answer = proof(tilt, Factors(found.x, ones, sigma, 0 * ones, np.inf * ones), np.array(1e3))
            doubted = np.any(found.x[loading.any(axis=0)] < 0.5)
            if doubted:
                said.append((bool(answer), bool(found.fun - lowest < 1e-9)))
    assert {right for _, right in said} == {True, False}
    for answer, right in said:
        assert not answer or right
    assert np.mean([answer for answer, right in said if right]) > 0.9


def test_what_stands_still_or_is_free_is_no_other_way() -> None:
    loading, tilt = np.array([[1.0, 1.0]]), jnp.asarray([20.0])
    sigma, ones = jnp.asarray([0.5, 0.4]), jnp.ones(2)
    here = jnp.asarray([1.0, 0.0])  # the narrower taken to zero: the wider would be cheaper
    proof = jax.jit(lambda s, low, up: proven(loading, tilt, Factors(here, ones, s, low, up), jnp.asarray(9.0)))
    low, up = jnp.zeros(2), jnp.full(2, jnp.inf)
    assert not proof(sigma, low, up)
    assert proof(sigma, low.at[0].set(1.0), up.at[0].set(1.0))
    assert proof(sigma.at[1].set(jnp.inf), low, up)


def test_the_proof_of_a_real_fit() -> None:
    """Tangent of the Poisson part: the bound is chi2 itself at the minimum, and below it everywhere else."""
    found = STRUCTURES["two experiments of a flux"]
    rng = np.random.default_rng(8)
    models = binned.draw(found, rng, 64)
    models = models._replace(templates=np.abs(models.templates) + 1e-3 * (found.experiment[:, None] == found.owner))
    x = rng.normal(0, 0.5, (64, 5))
    counts = np.exp(x @ found.loading.T)[:, :, None] * models.templates
    tilt = 2 * np.einsum("ncb,nb->nc", models.templates, 1 - models.observed / counts.sum(axis=1))
    other = rng.normal(0, 1.0, (64, 5))
    products = np.exp(other @ found.loading.T) - np.exp(x @ found.loading.T)
    pulls = [np.sum((np.expm1(t) / models.sigma) ** 2, axis=1) for t in (x, other)]
    below = evaluate(models, x).chi2 - pulls[0] + np.sum(tilt * products, axis=1) + pulls[1]
    assert np.all(below <= evaluate(models, other).chi2 * (1 + 1e-9) + 1e-6)


def test_all_experiments_together() -> None:
    """Fluxes of their own, in experiments of their own: a whole scan of a scalar is valid, and right in NumPy."""
    likelihood = jc.Likelihood([jc.experiment(name, **options) for name, options in EXPERIMENTS.items()])
    here, model = likelihood.under("scalar"), likelihood.model
    points = np.array([(m, g) for m in np.geomspace(0.1, 1e4, 8) for g in np.geomspace(1e-7, 1e-4, 16)])
    signals = jc.Surface(here, ("mass", "coupling")).signals(points).T
    found = profile_signals(arranged(here), signals, chunk=64)
    assert np.all(found.valid)
    doubted = np.any(np.exp(found.x[[likelihood.nuisances.index(n) for n in FLUXES]]) < 0.5, axis=0)
    assert 20 < doubted.sum() < len(points)
    chosen = np.flatnonzero(doubted)[::5]
    loading, owner = np.array(model.loading), np.array(model.owner)
    own = [owner[e] * signals[:, chosen].T for e, _ in model.signals]
    background = np.broadcast_to(model.background, (chosen.size, *model.background.shape))
    templates = np.concatenate([np.stack(own, axis=1), background], axis=1)
    data, sigma = (np.tile(np.asarray(x), (chosen.size, 1)) for x in (model.observed, model.sigma))
    models = Models(data, templates, loading, sigma, len(own))
    x = found.x[:, chosen].T
    x = np.where(model.is_log, x, np.log(np.where(model.is_log, 1.0, x)))
    best, _ = lowest(models, [x, *starts(models, x, np.random.default_rng(2), 24)])
    np.testing.assert_allclose(found.chi2[chosen], best, rtol=1e-7)
