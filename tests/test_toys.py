"""Toy experiments: what is drawn, how it is fitted, how a run is kept, and the statistics made of them."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy.stats import kstest

import jcevns as jc
from jcevns.fit.batch import expand
from jcevns.fit.interval import interval
from jcevns.fit.profile import profile_model
from jcevns.statistics import toy_runs
from jcevns.statistics.calibration import coverage, discovery, fit_quality, toy_interval
from jcevns.statistics.hypothesis import Hypothesis, hypothesis
from jcevns.statistics.toy_kernels import Sample
from jcevns.statistics.toy_runs import run_toys, throw
from jcevns.statistics.toys import (
    BLOCK,
    Toys,
    draw,
    fit_curves,
    fit_observed,
    fit_segments,
    fit_toys,
    observed,
    simulate,
)
from tests import problems
from tests import reference_official as ref
from tests.problems import FLUX, NOMINAL

FIELDS = ("best", "chi2", "chi2_truth", "valid", "censored")
OFFICIAL_CHUNK = 16
SIN2W = 0.23857


@cache
def likelihood(name: str) -> jc.Likelihood:
    if name == "xenonnt-2024":
        return jc.Likelihood(name)
    if name == "counting":  # counts large enough for asymptotic statements
        nuisances = (jc.Nuisance("efficiency", 0.1, ("signal",)), jc.Nuisance("flat", 0.03, ("flat",)))
        return jc.Likelihood(
            problems.counting("counting", [400, 300, 500], [90.0, 40.0, 10.0], {"flat": [400, 300, 500]}, nuisances)
        )
    return problems.joint((problems.XENONNT,))


@cache
def of_flux(name: str) -> Hypothesis:
    return hypothesis(likelihood(name), "flux")


def in_electrons(observed: list[float], background: list[float] | None, edges=(4.0, 6.0, 8.0)) -> jc.Experiment:
    """An experiment with the 8B signal of 0.01 tonne-year, a flux without error and no nuisance."""
    response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), list(edges), exposure=0.01)
    channel = jc.Channel(dataclasses.replace(jc.physics.b8(), error=None), jc.physics.xenon(), response)
    return jc.Experiment("weak", channel, observed, {} if background is None else {"bg": background}, ())


def same(one: Toys, other: Toys) -> bool:
    return all(np.array_equal(getattr(one, f), getattr(other, f)) for f in FIELDS)


_fit = jax.jit(
    lambda model, signal, observed, centre: profile_model(
        eqx.tree_at(lambda m: (m.observed, m.centre), model, (observed, centre)), signal
    )
)


def held_at(h: Hypothesis, value: float, sample: Sample, k: int) -> float:
    """chi2 of one toy at one value, by the fit of the data."""
    signal = expand(h.mixture(h.points(float(value))))[:, 0]
    chi2, _, _, _, valid, _ = _fit(h.model, jnp.asarray(signal), jnp.asarray(sample.observed[k]), sample.centre[k])
    assert bool(valid)
    return float(chi2)


def first(sample: Sample, chosen: slice) -> Sample:
    return Sample(*(column[chosen] for column in sample))


# Draws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(700, 800), (1000, 500), (1, 1498, 1), (400, 400, 400, 300)], ids=str)
def test_toys_depend_on_seed_and_index_alone(parts) -> None:
    h = of_flux("counting")
    whole = draw(h, NOMINAL, 1500, seed=3)
    starts = np.cumsum([0, *parts[:-1]])
    pieces = [draw(h, NOMINAL, n, seed=3, first=int(f)) for n, f in zip(parts, starts, strict=True)]
    for k, name in enumerate(("counts", "centres")):
        np.testing.assert_array_equal(np.concatenate([p[k] for p in pieces]), whole[k], err_msg=name)


def test_another_seed_or_block_is_another_sample() -> None:
    h = of_flux("counting")
    base = draw(h, NOMINAL, 2 * BLOCK, seed=3)
    for other in (draw(h, NOMINAL, BLOCK, seed=4), draw(h, NOMINAL, BLOCK, seed=3, first=BLOCK)):
        for a, b in zip(other[:2], base[:2], strict=True):
            assert np.mean(a == b[:BLOCK]) < 0.1


@pytest.mark.parametrize("moved", [False, True], ids=["nominal", "other true nuisances"])
def test_means_and_variances(moved) -> None:
    h, count, value = of_flux("xenonnt-2024"), 6000, 7e6
    signal = np.asarray(jc.signal(likelihood("xenonnt-2024"), {FLUX: value}))
    truth = np.array([-0.2, 0.1, -0.05, 0.4, 0.3, 1.3, -0.6]) * moved
    official = ref.Official("xenonnt-2024", signal.reshape(7, 7, -1), flux=False)
    assert tuple(official.names) == h.nuisances
    N = official.expected(official.nominal + truth)
    records = [likelihood("xenonnt-2024").parameters[n] for n in h.nuisances]
    own = np.array([r.default + p for r, p in zip(records, truth, strict=True)])  # all defaults are 1 or 0
    given = dict(zip(h.nuisances, own, strict=True)) if moved else None
    observed, measured = simulate(likelihood("xenonnt-2024"), "flux", value, count, seed=8, nuisances=given)
    assert tuple(measured) == h.nuisances
    centre = np.column_stack([measured[r.name] - r.default for r in records])
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
def official_toys(value: float) -> tuple[Sample, Toys]:
    h = of_flux("xenonnt-2024")
    sample = draw(h, value, 40, seed=2)
    return sample, fit_toys(h, value, sample, OFFICIAL_CHUNK)


@pytest.mark.parametrize("value", [NOMINAL, 0.0])
def test_same_fit_as_the_independent_one(value) -> None:
    """Toy by toy: data, auxiliary measurements, free flux and flux held."""
    h, (sample, toys) = of_flux("xenonnt-2024"), official_toys(value)
    assert np.all(toys.valid)
    nominal = np.asarray(jc.signal(likelihood("xenonnt-2024"))).reshape(7, 7, -1)
    for k in range(6):
        data = {
            "observed": sample.observed[k],
            "centre": dict(zip(h.nuisances, sample.centre[k], strict=True)),
            "flux": False,
        }
        free = ref.Official("xenonnt-2024", nominal, free_strength=True, **data).minimum()
        held = ref.Official("xenonnt-2024", nominal * value / NOMINAL, **data).minimum()
        assert toys.chi2[k] == pytest.approx(free.chi2, abs=1e-6)
        assert toys.best[k] == pytest.approx(free.strength * NOMINAL, rel=1e-3, abs=1e2)
        assert toys.chi2_truth[k] == pytest.approx(held.chi2, abs=1e-6)
        assert toys.q[k] == pytest.approx(max(held.chi2 - free.chi2, 0.0), abs=2e-6)


def test_best_fits_scatter_around_the_truth() -> None:
    count = 2000
    toys = throw(likelihood("counting"), "flux", NOMINAL, count, seed=6)
    assert np.all(toys.valid)
    assert np.all(toys.chi2 <= toys.chi2_truth + 1e-9)
    assert len(toys) == count
    assert np.mean(toys.best) == pytest.approx(NOMINAL, abs=5 * np.std(toys.best) / np.sqrt(count) + 0.02 * NOMINAL)
    inside = np.mean(toys.q < 1)
    assert inside == pytest.approx(0.6827, abs=4 * np.sqrt(0.6827 * 0.3173 / count))


def test_chunks_do_not_matter() -> None:
    def agree(one: Toys, other: Toys, chosen: slice = slice(None)) -> None:
        assert np.all(one.valid)
        np.testing.assert_array_equal(one.valid[chosen], other.valid)
        np.testing.assert_allclose(one.chi2[chosen], other.chi2, rtol=0, atol=1e-9)
        np.testing.assert_allclose(one.chi2_truth[chosen], other.chi2_truth, rtol=0, atol=1e-9)
        # Newton ends 1e-9 in chi2 from the minimum at worst: the place itself is known less well.
        np.testing.assert_allclose(one.best[chosen] / NOMINAL, other.best / NOMINAL, rtol=0, atol=1e-6)

    h = of_flux("counting")
    drawn = draw(h, NOMINAL, 300, seed=2)
    agree(fit_toys(h, NOMINAL, drawn, 256), fit_toys(h, NOMINAL, drawn, 60))
    # Other neighbours in a chunk: toys are merged into bins chunk by chunk.
    sample, toys = official_toys(NOMINAL)
    chosen = slice(35, 2, -3)
    agree(toys, fit_toys(of_flux("xenonnt-2024"), NOMINAL, first(sample, chosen), OFFICIAL_CHUNK), chosen)


def curve(name: str) -> Hypothesis:
    if name == "sin2w":
        return hypothesis(likelihood("plain"), "sin2w")
    return hypothesis(jc.Likelihood(problems.built(problems.XENONNT), name), "coupling", {"mass": 10.0})


@pytest.mark.parametrize(
    ("name", "truth", "upper"), [("sin2w", SIN2W, 0.9), ("scalar", 4e-6, 3.2e-5), ("vector", 3.5e-5, 8e-5)]
)
def test_best_fit_of_a_curve_is_the_lowest(name, truth, upper) -> None:
    """Against a dense grid, on which every toy is fitted anew: the vector has dips on both sides of a hill."""
    h, count = curve(name), 200
    sample = draw(h, truth, count, seed=5)
    toys = fit_toys(h, truth, sample)
    assert h.strength is None
    assert np.all(toys.valid)
    dense = np.linspace(max(h.record.lower, -1.0), upper, 161)
    chi2 = fit_curves(h, dense, sample)
    assert chi2.shape == (dense.size, count)
    assert np.all(np.isfinite(chi2))
    assert np.all(toys.chi2 <= chi2.min(axis=0) + 1e-7)
    assert np.all(toys.chi2 >= chi2.min(axis=0) - 0.1)
    assert np.all(toys.chi2 <= toys.chi2_truth + 1e-9)
    assert np.all(toys.best >= h.record.lower)
    np.testing.assert_array_equal(toys.censored, toys.best == h.record.lower)
    for k in range(5):  # the values belong together, and to the toy
        assert held_at(h, toys.best[k], sample, k) == pytest.approx(toys.chi2[k], abs=1e-7)
        assert held_at(h, truth, sample, k) == pytest.approx(toys.chi2_truth[k], abs=1e-7)
        assert held_at(h, dense[30], sample, k) == pytest.approx(chi2[30, k], abs=1e-7)


@pytest.mark.parametrize(("name", "threshold"), [("counting", 1.0), ("counting", 2.7055), ("xenonnt-2024", 1.0)])
def test_interval_ends_lie_on_the_threshold(name, threshold) -> None:
    h = of_flux(name)
    count, chunk = (40, OFFICIAL_CHUNK) if name == "xenonnt-2024" else (100, 256)
    sample = draw(h, NOMINAL, count, seed=2)
    found = fit_segments(h, NOMINAL, sample, threshold, chunk)
    best, low, high = found.best, found.of_best(0), found.of_best(1)
    toys = fit_toys(h, NOMINAL, sample, chunk)
    assert np.all(found.valid)
    # A place is known to the root of what chi2 is: 1e-9 of it moves a best fit by 1e-5 of its width.
    np.testing.assert_allclose(found.chi2, toys.chi2, rtol=0, atol=1e-8)
    np.testing.assert_allclose(best / NOMINAL, toys.best / NOMINAL, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(high, found.upper)
    assert np.all(np.isfinite(high))
    assert np.any(np.isfinite(low))
    assert np.all(high > best)
    for k in range(12):
        assert held_at(h, high[k], sample, k) == pytest.approx(toys.chi2[k] + threshold, abs=1e-6)
        at_zero = held_at(h, 0.0, sample, k) - toys.chi2[k]
        assert np.isfinite(low[k]) == (at_zero > threshold)  # open where 0 is inside
        if np.isfinite(low[k]):
            assert low[k] < best[k]
            assert held_at(h, low[k], sample, k) == pytest.approx(toys.chi2[k] + threshold, abs=1e-6)


class Mine(jc.Interaction):
    """A user's theory: the Standard Model times (1 + shift)^2, with an uncertain size and a slope inside `terms`."""

    shift: Float[Array, ""] = jc.parameter(0.0, null=0.0)
    size: Float[Array, ""] = jc.parameter(1.0, lower=0.0, sigma=0.05)
    slope: Float[Array, ""] = jc.parameter(0.0, lower=-3.0, upper=3.0)

    def weights(self):
        return self.size * jnp.stack([jnp.ones(()), self.shift, self.shift**2])

    def terms(self, recoil, particle, flavour):
        model = jc.StandardModel()
        one = jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)
        one = one * (1 + self.slope * (recoil * 1e3 - 1.0))
        return jnp.stack([one, 2 * one, one])


@cache
def of_mine(name: str) -> Hypothesis:
    """Its parameters, and nuisances of the experiment, with what else is profiled."""
    parameter, _, kept = name.partition(" ")
    built = jc.Likelihood(likelihood("counting").experiments, Mine())
    return hypothesis(built, parameter, constrained=parameter if kept else ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shift", 0.2),  # two dips; another parameter of the theory is profiled
        ("size", 1.1),
        ("size constrained", 1.02),
        ("slope", 1.0),  # inside the terms
        ("flat", 1.01),  # a nuisance
        ("flat constrained", 1.01),
        ("flux constrained", 5e6),
    ],
)
def test_any_parameter(name, value) -> None:
    """The data, fitted as a toy is, against the interval; toys against a few of their values."""
    h = of_mine(name)
    kept = h.name if "constrained" in name else ()
    whole = interval(h.likelihood, h.name, 0.9, constrained=kept)
    data, truth = fit_observed(h, value)
    assert data.chi2[0] == pytest.approx(whole.chi2_min, abs=1e-7)
    assert data.best[0] == pytest.approx(whole.best_fit, rel=1e-4, abs=1e-4)
    ends = [end for segment in whole.segments for end in segment if end is not None]
    assert ends
    at_ends = fit_curves(h, ends, observed(h))[:, 0]
    np.testing.assert_allclose(at_ends, whole.chi2_min + whole.threshold, rtol=0, atol=1e-6)
    sample = draw(h, value, 60, 3, truth=truth)
    toys = fit_toys(h, value, sample, truth=truth)
    assert np.all(toys.valid)
    around = fit_curves(h, value + np.array([-0.02, 0.0, 0.02]) * max(abs(value), 0.1), sample)
    np.testing.assert_allclose(around[1], toys.chi2_truth, rtol=0, atol=1e-7)
    assert np.all(toys.chi2 <= around.min(axis=0) + 1e-7)
    assert np.mean(toys.q < 1) == pytest.approx(0.68, abs=0.25)


def test_background_only_toys_follow_half_a_chi2() -> None:
    toys = throw(likelihood("counting"), "flux", 0.0, 2000, seed=9)
    assert np.all(toys.valid)
    zero = toys.q < 1e-6
    assert np.mean(zero) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / len(toys)))
    assert np.all(toys.best[zero] < 1e-2 * NOMINAL)
    assert kstest(toys.q[~zero], "chi2", args=(1,)).pvalue > 1e-3


# Runs ----------------------------------------------------------------------------------------------------------


class Interruption(Exception):
    pass


@pytest.fixture
def fitted(monkeypatch) -> list[int]:
    """Sizes of the blocks that are really computed."""
    sizes: list[int] = []

    def counted(h, value, sample, chunk, truth):
        sizes.append(len(sample.observed))
        return fit_toys(h, value, sample, chunk, truth)

    monkeypatch.setattr(toy_runs, "fit_toys", counted)
    return sizes


def test_interrupted_run_goes_on_where_it_was(tmp_path, fitted) -> None:
    h, seen = of_flux("counting"), []
    whole = run_toys(h, NOMINAL, 2500, seed=4, progress=seen.append)
    assert seen == [1000, 1000, 500]

    def stop(toys: int) -> None:
        raise Interruption

    fitted.clear()
    with pytest.raises(Interruption):
        run_toys(h, NOMINAL, 2500, seed=4, store=tmp_path / "new" / "folder", progress=stop)
    resumed = run_toys(h, NOMINAL, 2500, seed=4, store=tmp_path / "new" / "folder")
    assert fitted == [1000, 1000, 500]  # the first block once only
    assert same(resumed, whole)
    assert same(run_toys(h, NOMINAL, 2500, seed=4, store=tmp_path / "new" / "folder"), whole)
    assert len(fitted) == 3


def test_blocks_of_a_shorter_run_serve_a_longer_one(tmp_path, fitted) -> None:
    h = of_flux("counting")
    short = run_toys(h, NOMINAL, 1300, seed=4, store=tmp_path)
    fitted.clear()
    longer = run_toys(h, NOMINAL, 2000, seed=4, store=tmp_path)
    assert fitted == [1000]
    for f in FIELDS[:3]:
        np.testing.assert_allclose(getattr(longer, f)[:1300], getattr(short, f), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "wrong size"])
def test_damaged_block_is_computed_again(tmp_path, damage, fitted) -> None:
    h = of_flux("counting")
    whole = run_toys(h, NOMINAL, 2000, seed=4, store=tmp_path)
    first = sorted(tmp_path.iterdir())[0]
    content = first.read_bytes()
    if damage == "wrong size":
        np.savez(first, **{f: getattr(whole, f)[:10] for f in FIELDS})
    else:
        first.write_bytes({"garbage": b"not a file of toys", "truncated": content[:-300], "empty": b""}[damage])
    fitted.clear()
    assert same(run_toys(h, NOMINAL, 2000, seed=4, store=tmp_path), whole)
    assert fitted == [1000]
    fitted.clear()
    assert same(run_toys(h, NOMINAL, 2000, seed=4, store=tmp_path), whole)
    assert fitted == []


def test_other_settings_do_not_reuse_a_block(tmp_path, fitted) -> None:
    h = of_flux("counting")
    truth = h.truth({"flat": 1.05})
    base = {"hypothesis": h, "value": NOMINAL, "count": 300, "seed": 4}
    other_data = eqx.tree_at(lambda m: m.sigma, h.model, h.model.sigma * 1.1)
    changes = (
        {},
        {"seed": 5},
        {"value": 1.001 * NOMINAL},
        {"truth": truth},
        {"hypothesis": dataclasses.replace(h, model=other_data)},
    )
    results = []
    for k, change in enumerate(changes):
        results.append(run_toys(**{**base, **change}, store=tmp_path))
        assert fitted == [300] * (k + 1)
    assert not any(same(results[0], r) for r in results[1:])
    run_toys(**base, store=tmp_path)
    assert len(fitted) == len(changes)


# Statistics ----------------------------------------------------------------------------------------------------


def test_critical_values_of_a_weak_parameter() -> None:
    """Best fits far from the truth count: critical values by an independent run over a wide grid."""
    built = in_electrons([2000, 1500], [2000.0, 1500.0])
    found = toy_interval(built, "sin2w", [0.3, 0.9, 1.5, 2.6], toys=2000)
    np.testing.assert_allclose(found.critical, [1.65, 1.60, 2.00, 2.73], rtol=0.07)
    assert found.segments == ((None, None),)
    assert found.invalid == 0


def test_excess_far_above_the_scale_of_a_coupling() -> None:
    """Best fit and q of counts in closed form: the signal is the Standard Model's and g^4."""
    built = jc.Likelihood(in_electrons([4000, 3000], [2.0, 1.0]), "scalar")
    values = [3e-5, 4e-5, 6.5e-5, 7e-5, 8e-5]
    found = toy_interval(built, "coupling", values, toys=100, at={"mass": 10.0})
    assert found.best_fit == pytest.approx(6.49080e-5, rel=1e-5)
    assert found.q[1] == pytest.approx(15082.16, abs=0.1)
    assert all(1.5 < c < 5 for c in found.critical)
    ((low, high),) = found.segments
    assert 6.44e-5 < low < 6.47e-5 < found.best_fit < high < 6.55e-5
    assert (found.lower, found.upper) == (low, high)


def test_an_island_is_kept_apart() -> None:
    """The vector of 10 MeV has an accepted range beyond an excluded one."""
    built = jc.Likelihood(problems.built(problems.XENONNT), "vector")
    values = [2e-6, 6e-6, 1.5e-5, 2.5e-5, 3.5e-5, 3.9e-5, 4.5e-5]
    found = toy_interval(built, "coupling", values, toys=300, at={"mass": 10.0})
    (_, first), (second, last) = found.segments
    assert found.segments[0][0] is None  # the lowest value tested is inside
    assert 6e-6 < first < 1.5e-5
    assert 2.5e-5 < second < 3.5e-5
    assert 3.9e-5 < last < 4.5e-5
    outside = [v for v, q, c in zip(found.values, found.q, found.critical, strict=True) if q > c]
    assert outside == [1.5e-5, 2.5e-5, 4.5e-5]
    assert (found.lower, found.upper) == (second, last)  # the best fit is 3.6e-5
    assert found.to_dict()["segments"] == [[None, first], [second, last]]


def test_a_parameter_of_a_user() -> None:
    """Counts in closed form; the profile of the shift is the same on both sides of -1."""
    nuisances = (jc.Nuisance("flat", 0.01, ("flat",)),)
    data = problems.counting("plain", [640, 380], [200.0, 40.0], {"flat": [400.0, 330.0]}, nuisances, error=None)
    built = jc.Likelihood(data, Mine())
    sm = np.asarray(jc.signal_counts(data, jc.StandardModel()))
    counts, measured = simulate(built, "shift", 0.1, 4000, seed=1, at={"size": 1.0})
    expected = 1.1**2 * sm + np.array([400.0, 330.0])
    assert np.all(np.abs(counts.mean(axis=0) - expected) < 5 * np.sqrt(expected / 4000))
    assert list(measured) == ["plain.flat"]
    assert measured["plain.flat"].std() == pytest.approx(0.01, rel=0.05)
    (row,) = coverage(built, "shift", [0.1], levels=[0.9], toys=1000, at={"size": 1.0})
    assert row.coverage == pytest.approx(0.9, abs=0.04)
    assert (row.toys, row.invalid, row.censored) == (1000, 0, 0)
    values = [-2.4, -2.2, -2.1, -2.0, -1.9, -1.7, -1.0, -0.3, -0.1, 0.0, 0.1, 0.2, 0.4]
    found = toy_interval(built, "shift", values, toys=300, at={"size": 1.0})
    exact = interval(built, "shift", 0.9, at={"size": 1.0})
    assert len(found.segments) == len(exact.segments) == 2
    for one, other in zip(found.segments, exact.segments, strict=True):
        assert one == pytest.approx(other, abs=0.04)
    none = discovery(built, "shift", toys=4000, at={"size": 1.0})
    assert none.calibrated == pytest.approx(none.asymptotic, abs=0.15)  # two-sided: null is no bound


def test_data_that_are_impossible_without_signal() -> None:
    """No background at all: one event is proof, and zero flux lies outside; p-value of the fit by enumeration."""
    built = in_electrons([1, 2, 0], None, (4.0, 5.0, 6.0, 7.0))
    found = discovery(built, "flux", toys=400)
    assert (found.q0, found.beyond, found.p_value, found.calibrated) == (np.inf, 0, 0.0, np.inf)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["q0"] is None
    quality = fit_quality(built, "flux", toys=4000)
    assert quality.p_value == pytest.approx(0.4093, abs=4 * quality.error)
    inside = toy_interval(built, "flux", [0.0, 1e6, 3e6, 1e7, 2e7, 4e7], toys=400)
    assert inside.q[0] == np.inf
    assert 0 < inside.lower < 1e7 < inside.upper < 4e7
    inside = toy_interval(built, "flux", [0.0, 1e7, 4e7], toys=100)  # the end lies beside what is impossible
    assert 1e6 < inside.lower < 1e7


def test_no_excess_is_no_significance() -> None:
    found = discovery(in_electrons([0, 0], [2.0, 1.0]), "flux", toys=100)
    assert (found.q0, found.p_value, found.calibrated) == (0.0, 1.0, 0.0)
    json.dumps(found.to_dict(), allow_nan=False)


# Bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1])
def test_no_toys(count) -> None:
    for call in (throw, simulate):
        with pytest.raises(ValueError, match="ask for one or more"):
            call(likelihood("counting"), "flux", NOMINAL, count, 1)


@pytest.mark.parametrize(
    ("value", "message"), [(-1.0, r"outside \[0, inf\]"), (np.nan, "finite"), (np.inf, "finite")]
)
def test_impossible_truth(value, message) -> None:
    for call in (throw, simulate):
        with pytest.raises(ValueError, match=message):
            call(likelihood("counting"), "flux", value, 10, 1)


def test_negative_first_toy() -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        simulate(likelihood("counting"), "flux", NOMINAL, 10, 1, first=-1)


def test_no_value_without_signal() -> None:
    with pytest.raises(ValueError, match="'sin2w' has no value without signal"):
        discovery(likelihood("counting"), "sin2w", toys=10)


def test_truth_of_what_is_no_nuisance() -> None:
    with pytest.raises(ValueError, match=r"'sin2w' is no nuisance of flux\.b8"):
        simulate(likelihood("counting"), "flux", NOMINAL, 10, 1, nuisances={"sin2w": 0.3})


def test_without_effect() -> None:
    built = jc.Likelihood(problems.built(problems.XENONNT), "scalar")
    with pytest.raises(ValueError, match="counts do not depend on mass"):
        hypothesis(built, "mass")  # at coupling 0


@pytest.mark.parametrize("values", [[1.0], [2.0, 1.0], [1.0, 1.0]])
def test_values_that_do_not_increase(values) -> None:
    with pytest.raises(ValueError, match="at least two increasing values"):
        toy_interval(likelihood("counting"), "flux", values, toys=10)


def test_interval_beside_what_was_tested() -> None:
    with pytest.raises(RuntimeError, match="no value tested is inside"):
        toy_interval(likelihood("counting"), "flux", [9e6, 1e7], toys=200)
