"""Toy experiments: what is drawn, how it is fitted, and how a run is kept."""

from __future__ import annotations

import dataclasses
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

import jcevns as jc
from jcevns.constants import SIN2_THETA_W
from jcevns.inference import toy_runs
from jcevns.inference.fit import profile_signal
from jcevns.inference.hypothesis import Hypothesis, coupling_hypothesis, hypothesis
from jcevns.inference.parameters import find_parameter
from jcevns.inference.toy_runs import throw
from jcevns.inference.toys import BLOCK, Toys, fit_curves, fit_intervals, fit_toys, simulate
from tests import problems
from tests import reference_official as ref

FLUX = 5.46e6
FIELDS = ("best", "chi2", "chi2_truth", "valid")
OFFICIAL_CHUNK = 16


@cache
def likelihood(name: str) -> jc.Likelihood:
    if name == "xenonnt-2024":
        return jc.Likelihood(jc.experiment(name), flux_pull=False)
    if name == "counting":  # counts large enough for asymptotic statements
        nuisances = (jc.Nuisance("efficiency", 0.1, ("signal",)), jc.Nuisance("flat", 0.03, ("flat",)))
        return jc.Likelihood(
            problems.counting("counting", [400, 300, 500], [90.0, 40.0, 10.0], {"flat": [400, 300, 500]}, nuisances)
        )
    return problems.joint((problems.XENONNT,), flux_pull=name == "plain")


@cache
def of_flux(name: str) -> Hypothesis:
    return hypothesis(likelihood(name), "flux")


def same(one: Toys, other: Toys) -> bool:
    return all(np.array_equal(getattr(one, f), getattr(other, f)) for f in FIELDS)


_fit = jax.jit(
    lambda model, signal, observed, centre: profile_signal(
        eqx.tree_at(lambda m: (m.observed, m.centre), model, (observed, centre)), signal
    )
)


def held_at(h: Hypothesis, value: float, observed: np.ndarray, centre: np.ndarray) -> float:
    """chi2 of one toy at one value, by the fit of the data."""
    fit = _fit(h.model, jnp.asarray(h.signal(float(value))), jnp.asarray(observed), jnp.asarray(centre))
    assert bool(fit.valid)
    return float(fit.chi2)


# Draws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(700, 800), (1000, 500), (1, 1498, 1), (400, 400, 400, 300)], ids=str)
def test_toys_depend_on_seed_and_index_alone(parts) -> None:
    h = of_flux("counting")
    whole = simulate(h, FLUX, 1500, seed=3)
    starts = np.cumsum([0, *parts[:-1]])
    pieces = [simulate(h, FLUX, n, seed=3, first=int(f)) for n, f in zip(parts, starts, strict=True)]
    for k, name in enumerate(("counts", "centres")):
        np.testing.assert_array_equal(np.concatenate([p[k] for p in pieces]), whole[k], err_msg=name)


def test_another_seed_or_block_is_another_sample() -> None:
    h = of_flux("counting")
    base = simulate(h, FLUX, 2 * BLOCK, seed=3)
    for other in (simulate(h, FLUX, BLOCK, seed=4), simulate(h, FLUX, BLOCK, seed=3, first=BLOCK)):
        for a, b in zip(other, base, strict=True):
            assert np.mean(a == b[:BLOCK]) < 0.1


@pytest.mark.parametrize("moved", [False, True], ids=["nominal", "other true nuisances"])
def test_means_and_variances(moved) -> None:
    h, count, value = of_flux("xenonnt-2024"), 6000, 7e6
    signal = np.asarray(jc.signal(likelihood("xenonnt-2024"), jc.Theory(b8_flux=jnp.asarray(value))))
    truth = np.array([-0.2, 0.1, -0.05, 0.4, 0.3, 1.3, -0.6]) * moved
    official = ref.Official("xenonnt-2024", signal.reshape(7, 7, -1), flux_pull=False)
    assert tuple(official.names) == h.nuisances
    N = official.expected(official.nominal + truth)
    observed, centre = simulate(h, value, count, seed=8, pulls=truth if moved else None)
    assert np.all(observed == np.floor(observed))
    assert np.all(np.abs(observed.mean(axis=0) - N) < 5 * np.sqrt(N / count))
    assert np.all(np.abs(observed.var(axis=0) - N) < 5 * np.sqrt((N + 2 * N**2) / count))
    total = observed.sum(axis=1)
    assert total.mean() == pytest.approx(N.sum(), abs=4 * np.sqrt(N.sum() / count))
    assert total.var() == pytest.approx(N.sum(), rel=4 * np.sqrt(2 / count))  # bins are independent
    sigma = np.array(official.sigma)
    assert np.all(np.abs(centre.mean(axis=0) - truth) < 4 * sigma / np.sqrt(count))
    assert np.all(np.abs(centre.std(axis=0) / sigma - 1) < 4 / np.sqrt(2 * count))
    correlation = np.corrcoef(np.column_stack([centre, total]).T)
    assert np.max(np.abs(correlation - np.eye(len(correlation)))) < 5 / np.sqrt(count)


# Fits ----------------------------------------------------------------------------------------------------------


@cache
def official_toys(value: float) -> tuple[np.ndarray, np.ndarray, Toys]:
    h = of_flux("xenonnt-2024")
    observed, centre = simulate(h, value, 40, seed=2)
    return observed, centre, fit_toys(h, value, observed, centre, OFFICIAL_CHUNK)


@pytest.mark.parametrize("value", [FLUX, 0.0])
def test_same_fit_as_the_independent_one(value) -> None:
    """Toy by toy: data, auxiliary measurements, free flux and flux held."""
    h, (observed, centre, toys) = of_flux("xenonnt-2024"), official_toys(value)
    assert np.all(toys.valid)
    nominal = np.asarray(jc.signal(likelihood("xenonnt-2024"), jc.Theory())).reshape(7, 7, -1)
    for k in range(6):
        data = {
            "observed": observed[k],
            "centre": dict(zip(h.nuisances, centre[k], strict=True)),
            "flux_pull": False,
        }
        free = ref.Official("xenonnt-2024", nominal, free_strength=True, **data).minimum()
        held = ref.Official("xenonnt-2024", nominal * value / FLUX, **data).minimum()
        assert toys.chi2[k] == pytest.approx(free.chi2, abs=1e-6)
        assert toys.best[k] == pytest.approx(free.strength * FLUX, rel=1e-3, abs=1e2)
        assert toys.chi2_truth[k] == pytest.approx(held.chi2, abs=1e-6)
        assert toys.q[k] == pytest.approx(max(held.chi2 - free.chi2, 0.0), abs=2e-6)


def test_best_fits_scatter_around_the_truth() -> None:
    h, count = of_flux("counting"), 2000
    toys = throw(h, FLUX, count, seed=6)
    assert np.all(toys.valid)
    assert np.all(toys.chi2 <= toys.chi2_truth + 1e-9)
    assert len(toys) == count
    assert np.mean(toys.best) == pytest.approx(FLUX, abs=5 * np.std(toys.best) / np.sqrt(count) + 0.02 * FLUX)
    inside = np.mean(toys.q < 1)
    assert inside == pytest.approx(0.6827, abs=4 * np.sqrt(0.6827 * 0.3173 / count))


def test_chunks_do_not_matter() -> None:
    def agree(one: Toys, other: Toys, chosen: slice = slice(None)) -> None:
        assert np.all(one.valid)
        np.testing.assert_array_equal(one.valid[chosen], other.valid)
        np.testing.assert_allclose(one.chi2[chosen], other.chi2, rtol=0, atol=1e-9)
        np.testing.assert_allclose(one.chi2_truth[chosen], other.chi2_truth, rtol=0, atol=1e-9)
        # Newton ends 1e-9 in chi2 from the minimum at worst: the place itself is known less well.
        np.testing.assert_allclose(one.best[chosen] / FLUX, other.best / FLUX, rtol=0, atol=1e-6)

    h = of_flux("counting")
    drawn = simulate(h, FLUX, 300, seed=2)
    agree(fit_toys(h, FLUX, *drawn, 256), fit_toys(h, FLUX, *drawn, 60))
    # Other neighbours in a chunk: toys are merged into bins chunk by chunk.
    observed, centre, toys = official_toys(FLUX)
    chosen = slice(35, 2, -3)
    agree(toys, fit_toys(of_flux("xenonnt-2024"), FLUX, observed[chosen], centre[chosen], OFFICIAL_CHUNK), chosen)


def curve(name: str) -> Hypothesis:
    here = likelihood("plain")
    return hypothesis(here, "sin2w") if name == "sin2w" else coupling_hypothesis(here, name, 10.0)


@pytest.mark.parametrize("name", ["sin2w", "scalar"])
def test_best_fit_of_a_curve_is_the_lowest(name) -> None:
    """Against a dense grid, on which every toy is fitted anew."""
    h, count = curve(name), 200
    truth = 0.23857 if name == "sin2w" else 0.5 * h.scale
    toys = throw(h, truth, count, seed=5)
    assert not h.is_strength
    assert np.all(toys.valid)
    dense = np.unique(np.concatenate([h.grid, *(h.grid[:-1] + f * np.diff(h.grid) for f in (0.2, 0.4, 0.6, 0.8))]))
    chi2 = fit_curves(h, dense, truth, count, seed=5)
    assert chi2.shape == (dense.size, count)
    assert np.all(np.isfinite(chi2))
    assert np.all(toys.chi2 <= chi2.min(axis=0) + 1e-3)
    assert np.all(toys.chi2 <= toys.chi2_truth + 1e-9)
    assert np.all(toys.best >= h.lower)
    observed, centre = simulate(h, truth, count, seed=5)
    for k in range(5):  # the values belong together, and to the toy
        assert held_at(h, toys.best[k], observed[k], centre[k]) == pytest.approx(toys.chi2[k], abs=1e-7)
        assert held_at(h, truth, observed[k], centre[k]) == pytest.approx(toys.chi2_truth[k], abs=1e-7)
        assert held_at(h, dense[30], observed[k], centre[k]) == pytest.approx(chi2[30, k], abs=1e-7)


@pytest.mark.parametrize(("name", "threshold"), [("counting", 1.0), ("counting", 2.7055), ("xenonnt-2024", 1.0)])
def test_interval_ends_lie_on_the_threshold(name, threshold) -> None:
    h = of_flux(name)
    count, chunk = (40, OFFICIAL_CHUNK) if name == "xenonnt-2024" else (100, 256)
    observed, centre = simulate(h, FLUX, count, seed=2)
    best, low, high = fit_intervals(h, observed, centre, threshold, chunk)
    toys = fit_toys(h, FLUX, observed, centre, chunk)
    np.testing.assert_allclose(best / FLUX, toys.best / FLUX, rtol=0, atol=1e-6)
    assert np.all(np.isfinite(high))
    assert np.any(np.isfinite(low))
    assert np.all(high > best)
    for k in range(12):
        assert held_at(h, high[k], observed[k], centre[k]) == pytest.approx(toys.chi2[k] + threshold, abs=1e-6)
        at_zero = held_at(h, 0.0, observed[k], centre[k]) - toys.chi2[k]
        assert np.isfinite(low[k]) == (at_zero > threshold)  # open where 0 is inside
        if np.isfinite(low[k]):
            assert low[k] < best[k]
            assert held_at(h, low[k], observed[k], centre[k]) == pytest.approx(toys.chi2[k] + threshold, abs=1e-6)


def test_background_only_toys_follow_half_a_chi2() -> None:
    toys = throw(of_flux("counting"), 0.0, 2000, seed=9)
    assert np.all(toys.valid)
    zero = toys.q < 1e-6
    assert np.mean(zero) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / len(toys)))
    assert np.all(toys.best[zero] < 1e-2 * FLUX)
    assert kstest(toys.q[~zero], "chi2", args=(1,)).pvalue > 1e-3


# Runs ----------------------------------------------------------------------------------------------------------


class Interruption(Exception):
    pass


@pytest.fixture
def fitted(monkeypatch) -> list[int]:
    """Sizes of the blocks that are really computed."""
    sizes: list[int] = []

    def counted(h, value, observed, centre, chunk):
        sizes.append(len(observed))
        return fit_toys(h, value, observed, centre, chunk)

    monkeypatch.setattr(toy_runs, "fit_toys", counted)
    return sizes


def test_interrupted_run_goes_on_where_it_was(tmp_path, fitted) -> None:
    h, seen = of_flux("counting"), []
    whole = throw(h, FLUX, 2500, seed=4, progress=seen.append)
    assert seen == [1000, 1000, 500]

    def stop(toys: int) -> None:
        raise Interruption

    fitted.clear()
    with pytest.raises(Interruption):
        throw(h, FLUX, 2500, seed=4, store=tmp_path / "new" / "folder", progress=stop)
    resumed = throw(h, FLUX, 2500, seed=4, store=tmp_path / "new" / "folder")
    assert fitted == [1000, 1000, 500]  # the first block once only
    assert same(resumed, whole)
    assert same(throw(h, FLUX, 2500, seed=4, store=tmp_path / "new" / "folder"), whole)
    assert len(fitted) == 3


def test_blocks_of_a_shorter_run_serve_a_longer_one(tmp_path, fitted) -> None:
    h = of_flux("counting")
    short = throw(h, FLUX, 1300, seed=4, store=tmp_path)
    fitted.clear()
    longer = throw(h, FLUX, 2000, seed=4, store=tmp_path)
    assert fitted == [1000]
    for f in FIELDS[:3]:
        np.testing.assert_allclose(getattr(longer, f)[:1300], getattr(short, f), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "wrong size"])
def test_damaged_block_is_computed_again(tmp_path, damage, fitted) -> None:
    h = of_flux("counting")
    whole = throw(h, FLUX, 2000, seed=4, store=tmp_path)
    first = sorted(tmp_path.iterdir())[0]
    content = first.read_bytes()
    if damage == "wrong size":
        np.savez(first, **{f: getattr(whole, f)[:10] for f in FIELDS})
    else:
        first.write_bytes({"garbage": b"not a file of toys", "truncated": content[:-300], "empty": b""}[damage])
    fitted.clear()
    assert same(throw(h, FLUX, 2000, seed=4, store=tmp_path), whole)
    assert fitted == [1000]
    fitted.clear()
    assert same(throw(h, FLUX, 2000, seed=4, store=tmp_path), whole)
    assert fitted == []


def test_other_settings_do_not_reuse_a_block(tmp_path, fitted) -> None:
    h = of_flux("counting")
    pulls = np.array([0.0, 0.05])[: len(h.nuisances)]
    base = {"hypothesis": h, "value": FLUX, "count": 300, "seed": 4}
    other_data = eqx.tree_at(lambda m: m.sigma, h.model, h.model.sigma * 1.1)
    changes = (
        {},
        {"seed": 5},
        {"value": 1.001 * FLUX},
        {"pulls": pulls},
        {"hypothesis": type(h)(**{**vars(h), "model": other_data})},
    )
    results = []
    for k, change in enumerate(changes):
        results.append(throw(**{**base, **change}, store=tmp_path))
        assert fitted == [300] * (k + 1)
    assert not any(same(results[0], r) for r in results[1:])
    throw(**base, store=tmp_path)
    assert len(fitted) == len(changes)


# Bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1])
def test_no_toys(count) -> None:
    for call in (throw, simulate):
        with pytest.raises(ValueError, match="ask for one or more"):
            call(of_flux("counting"), FLUX, count, 1)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_impossible_truth(value) -> None:
    with pytest.raises(ValueError, match="must be finite and at least 0"):
        throw(of_flux("counting"), value, 10)
    with pytest.raises(ValueError, match=r".+"):
        simulate(of_flux("counting"), value * 1e9, 10, 1)


def test_negative_first_toy() -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        simulate(of_flux("counting"), FLUX, 10, 1, first=-1)


def test_interval_of_a_curve_is_refused() -> None:
    h = curve("sin2w")
    with pytest.raises(ValueError, match="not a strength"):
        fit_intervals(h, *simulate(h, 0.23857, 3, 1))


def test_only_polynomials() -> None:
    steep = jc.Parameter("steep", "", lambda v: jc.Theory(b8_flux=1e6 * jnp.exp(v)), lower=0.0, scale=1.0)
    with pytest.raises(ValueError, match="not a polynomial of degree two in 'steep'"):
        hypothesis(likelihood("counting"), steep)


@pytest.mark.parametrize("name", ["flux", "sin2w"])
def test_expected_error_is_half_the_interval_of_asimov_data(name) -> None:
    """Many values at once against roots of the profile of an experiment with Asimov data."""
    grown = jc.scaled(problems.built(problems.XENONNT), 35.0)
    parameter = find_parameter(name)
    truth = FLUX if name == "flux" else SIN2_THETA_W
    expected = jc.Likelihood(grown, parameter.flux_pull)
    found = jc.expected_error(hypothesis(expected, name), truth, toys=50)
    counts = hypothesis(expected, name).expected(truth, np.zeros(len(expected.nuisances)))
    data = jc.Likelihood(dataclasses.replace(grown, observed=counts), parameter.flux_pull)
    exact = jc.interval(data, name, 0.6826894921370859)
    assert found.asimov == pytest.approx((exact.upper - exact.lower) / 2, rel=1e-6)
