"""No wrong number that says valid: results of statistics against enumeration, closed forms, dense scans and pyhf."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pyhf.infer.mle
import pytest
from scipy.optimize import root_scalar
from scipy.special import xlogy
from scipy.stats import poisson

import jcevns as jc
from jcevns.detectors import Response
from jcevns.fit.batch import profile_signals
from jcevns.likelihood.arrangement import Arrangement
from jcevns.likelihood.likelihood import arranged
from jcevns.likelihood.model import poisson_chi2
from jcevns.physics import b8, xenon
from jcevns.statistics.sample import _densest
from jcevns.statistics.toys import simulate
from tests import problems
from tests.reference import run_python
from tests.test_cli import call

CHI2_90 = 2.705543454095404  # Delta chi2 of 90%, one parameter
FIXED = {"flux": problems.NOMINAL}


def deviance(expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Poisson chi2 over the last axis, by SciPy."""
    return 2 * np.sum(expected - observed + xlogy(observed, observed) - xlogy(observed, expected), axis=-1)


def root_of(function: Callable[[float], float], low: float, high: float) -> float:
    return float(root_scalar(function, bracket=(low, high), xtol=1e-14).root)


class Interference(jc.Interaction):
    """The Standard Model times 1 - strength: less than nothing above a strength of 1."""

    strength: jax.Array = jc.parameter(0.0, lower=0.0, null=0.0, scale=1.0)

    def weights(self):
        return jc.StandardModel().weights() * (1 - self.strength)

    def terms(self, recoil, particle, flavour):
        return jc.StandardModel().terms(recoil, particle, flavour)


def interfering(observed: list[float], backgrounds: dict, nuisances: tuple = (), error: float | None = 0.12):
    one = problems.counting("t", observed, [4.0, 2.0], backgrounds, nuisances, error)
    return jc.Likelihood(one, Interference())


def toml(folder: Path, name: str, observed: list[float], background: list[float] | None) -> str:
    edges = [4, 5, 6, 7] if len(observed) == 3 else [4, 6, 8]
    text = f'name = "{name}"\nobserved = {observed}\nbin_edges = {edges}\nexposure_tonne_year = 0.01\n'
    text += '[response]\ncharge_yield = "nest"\n'
    if background is not None:
        text += f"[backgrounds]\nbg = {background}\n"
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trust")


@pytest.fixture(scope="module")
def bare(folder: Path) -> str:
    return toml(folder, "nobg", [1, 2, 0], None)


@pytest.fixture(scope="module")
def under(folder: Path) -> str:
    return toml(folder, "under", [0, 0], [2.0, 1.0])


# Less than nothing expected.


def test_poisson_chi2_of_a_negative_mean_is_infinite():
    nothing, some = jnp.zeros(2), jnp.array([0.0, 3.0])
    assert poisson_chi2(jnp.array([-1.0, 5.0]), nothing) == np.inf
    assert poisson_chi2(jnp.array([5.0, -1.0]), some) == np.inf
    assert poisson_chi2(jnp.array([-1e-12, 5.0]), nothing) == pytest.approx(10.0)  # rounding
    assert poisson_chi2(jnp.array([0.0, 5.0]), nothing) == pytest.approx(10.0)
    slope = jax.grad(poisson_chi2)(jnp.array([2.0, 5.0]), some)
    assert slope == pytest.approx(np.array([2.0, 2 * (1 - 3 / 5)]))


@pytest.mark.parametrize("nuisances", [(), (jc.Nuisance("flat", 0.3, ("flat",)),)], ids=["flux", "two"])
def test_negative_points_are_never_valid(nuisances):
    likelihood = interfering([0, 0], {"flat": [1.0, 1.0]}, nuisances)
    nominal = np.asarray(jc.signal(likelihood))
    strengths = [0.0, 1.0, 1.1, 3.0, 10.0]
    negative = np.array([np.any((1 - s) * nominal + 1.0 < 0) for s in strengths])
    assert list(negative) == [False, False, False, True, True]
    for s, bad in zip(strengths, negative, strict=True):
        found = jc.profile(likelihood, {"strength": s})
        assert bool(found.valid) != bad
        assert np.isposinf(float(found.chi2)) == bad
        assert np.isposinf(float(jc.chi2(likelihood, {"strength": s}))) == bad
        if not bad:
            assert np.all(np.asarray(found.expected) >= 0)
            assert found.chi2 >= 0
    scanned = jc.scan(likelihood, {"strength": strengths})
    assert list(scanned.valid.values) == list(~negative)
    assert np.nanmin(scanned.chi2.values) >= 0


@pytest.mark.parametrize("bins", [2, 20], ids=["written-out", "many"])
def test_batched_fits_are_those_of_a_dense_scan_or_not_valid(bins):
    """Random signals of both signs, one nuisance on the signal and one on the background, against a dense grid."""
    rng = np.random.default_rng(3)
    background = rng.uniform(0.5, 2.0, bins)
    likelihood = jc.Likelihood(
        problems.counting(
            "t", [0.0] * bins, [1.0] * bins, {"flat": background.tolist()}, (jc.Nuisance("flat", 0.3, ("flat",)),)
        )
    )
    arrangement: Arrangement = arranged(likelihood)
    signals = rng.normal(0.0, 1.2, (bins, 60)) * background[:, None]
    found = profile_signals(arrangement, signals)
    f, g = np.exp(np.linspace(-1.5, 1.5, 241)), np.exp(np.linspace(-1.5, 1.5, 241))
    penalty = ((f[:, None] - 1) / 0.12) ** 2 + ((g[None] - 1) / 0.3) ** 2
    checked = 0
    for k in range(signals.shape[1]):
        counts = f[:, None, None] * signals[:, k] + g[None, :, None] * background
        possible = np.all(counts >= 0, axis=-1)
        dense = np.min(np.where(possible, 2 * counts.sum(axis=-1) + penalty, np.inf))
        if found.valid[k]:
            assert dense - 0.02 * (1 + dense) < found.chi2[k] <= dense + 1e-9
            checked += 1
        else:
            assert not found.chi2[k] < dense - 0.05 or np.isinf(dense)
    assert checked > (5 if bins == 2 else -1)


def test_wall_without_background_in_closed_form():
    """No event: chi2 = 2 A f + ((f - 1)/0.12)^2, A = S (1 - strength), lowest at the wall A = 0, where f = 1."""
    likelihood = interfering([0, 0], {})
    total = float(np.sum(np.asarray(jc.signal(likelihood))))
    profiled = lambda s: 2 * total * (1 - s) - 0.12**2 * (total * (1 - s)) ** 2  # noqa: E731
    found = jc.interval(likelihood, "strength")
    ((low, high),) = found.segments
    assert found.valid
    assert found.best_fit == pytest.approx(1.0, abs=1e-6)
    assert found.chi2_min == pytest.approx(0.0, abs=1e-6)
    assert low == pytest.approx(root_of(lambda s: profiled(s) - CHI2_90, 0, 1), rel=1e-6)
    assert high == pytest.approx(1.0, abs=1e-6)
    (limit,) = jc.limits(likelihood, "strength")
    assert limit.valid
    assert limit.chi2_min >= -1e-8
    assert limit.segments[0][1] == pytest.approx(1.0, abs=1e-6)


def test_wall_with_a_background_and_nothing_to_fit():
    """4 - 4 s + 1 and 2 - 2 s + 1 events expected, none seen: allowed up to the wall s = 1.25."""
    likelihood = interfering([0, 0], {"flat": [1.0, 1.0]}, error=None)
    nominal = np.asarray(jc.signal(likelihood))
    wall = 1 + 1 / nominal.max()
    chi2 = lambda s: 2 * np.sum(nominal * (1 - s) + 1)  # noqa: E731
    found = jc.interval(likelihood, "strength")
    ((low, high),) = found.segments
    assert found.valid
    assert high == pytest.approx(wall, rel=1e-6)
    assert found.chi2_min == pytest.approx(chi2(wall), rel=1e-6)
    assert low == pytest.approx(root_of(lambda s: chi2(s) - chi2(wall) - CHI2_90, -1, wall), rel=1e-6)


def test_toys_know_no_negative_mean():
    likelihood = interfering([0, 0], {"flat": [1.0, 1.0]})
    with pytest.raises(ValueError, match="no counts can be drawn"):
        simulate(likelihood, "strength", 3.0, 10, 1)
    counts, _ = simulate(likelihood, "strength", 1.0, 10, 1)
    assert np.all(counts >= 0)
    toys = jc.throw(interfering([0, 0], {}), "strength", 0.5, 60, 1)
    assert np.all(toys.valid)
    assert np.all(toys.best <= 1 + 1e-6)
    assert np.min(toys.chi2) > -1e-8


# Nothing expected.


def test_fit_quality_without_background_by_enumeration(bare):
    """Deviance minimised over the strength in closed form, of all outcomes of three Poisson bins at the best fit."""
    experiment = jc.experiment(bare)
    signal = np.asarray(jc.signal_counts(experiment, jc.StandardModel()), float)
    share = signal / signal.sum()

    def lowest(counts: np.ndarray) -> float:
        return float(2 * np.sum(xlogy(counts, counts) - xlogy(counts, counts.sum() * share))) if counts.sum() else 0.0

    data = np.array([1.0, 2.0, 0.0])
    right = sum(
        np.prod(poisson.pmf(n, data.sum() * share))
        for n in itertools.product(range(16), repeat=3)
        if lowest(np.array(n, float)) >= lowest(data) - 1e-6
    )
    found = jc.fit_quality(bare, "flux", toys=2000)
    assert found.deviance == pytest.approx(lowest(data), rel=1e-9)
    assert (found.invalid, found.toys) == (0, 2000)
    assert abs(found.p_value - right) < 4 * found.error


def test_events_without_background_exclude_no_signal(bare):
    found = jc.discovery(bare, "flux", toys=100)
    assert (found.beyond, found.p_value, found.p_error, found.toys) == (0, 0.0, 0.0, 100)
    assert found.q0 == found.calibrated == np.inf
    interval = jc.toy_interval(bare, "flux", [0.0, 1e6, 3e6, 1e7, 2e7, 4e7], toys=200)
    assert interval.q[0] == np.inf
    assert (interval.lower or 0.0) > 1e6


def json_of(capsys: pytest.CaptureFixture, *arguments: str):
    code, out, problem = call(capsys, *arguments, "--json")
    assert code == 0, problem
    return json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_commands_write_json_without_background(bare, capsys):
    significance = ("toys", "significance", "--experiments", bare, "--toys", "40")
    row = json_of(capsys, *significance)
    assert (row["p_value"], row["q0"], row["calibrated"]) == (0.0, None, None)
    assert "calibrated   infinite" in call(capsys, *significance)[1]
    assert json_of(capsys, "fit", "flux", "--experiments", bare)["valid"]
    (limit,) = json_of(capsys, "limit", "flux", "--experiments", bare)
    assert limit["valid"]
    assert limit["excluded"][0][0] == 0.0
    project = ("project", "--experiments", bare, "--exposure", "0.01", "--toys", "40")
    first, second = json_of(capsys, *project)
    assert first["asimov"] is None  # a significance beyond all numbers
    assert "infinite" in call(capsys, *project)[1]
    assert second["quantity"] == "best fit of flux.b8"
    assert second["toys"] + second["invalid"] == 40
    # Expected counts as data, fractions of an event: chi2 goes to infinity at zero, but slowly.
    total = float(np.sum(jc.signal_counts(jc.experiment(bare), jc.StandardModel())))
    height = lambda f: 2 * total * (f - 1 - np.log(f)) - 1  # noqa: E731
    low, high = root_of(height, 1e-9, 1), root_of(height, 1, 100)
    assert second["asimov"] == pytest.approx((high - low) / 2 * problems.NOMINAL, rel=1e-6)


def test_commands_write_json_of_an_underfluctuation(under, capsys):
    row = json_of(capsys, "toys", "significance", "--experiments", under, "--toys", "40")
    assert (row["p_value"], row["calibrated"], row["q0"]) == (1.0, 0.0, 0.0)
    assert json_of(capsys, "fit", "flux", "--experiments", under)["valid"]
    (limit,) = json_of(capsys, "limit", "flux", "--experiments", under)
    assert limit["excluded"][0][0] * signal_per_flux(under) == pytest.approx(CHI2_90 / 2, rel=1e-6)
    assert json_of(capsys, "toys", "fit-quality", "--experiments", under, "--toys", "40")["deviance"] == 6.0


def signal_per_flux(path: str) -> float:
    """Events per cm^-2 s^-1; without an event chi2 = 2 N."""
    return float(np.sum(jc.signal_counts(jc.experiment(path), jc.StandardModel()))) / problems.NOMINAL


# A search goes on until the answer is inside.


def scalar(path: str) -> tuple[jc.Likelihood, np.ndarray, np.ndarray]:
    """Likelihood, its counts without the scalar, and those of it per coupling^4."""
    likelihood = jc.Likelihood(jc.experiment(path), "scalar")
    without, some = (np.asarray(jc.signal(likelihood, {"mass": 10.0, "coupling": g})) for g in (0.0, 1e-5))
    background = np.asarray(likelihood.experiments[0].backgrounds["bg"])
    return likelihood, without + background, (some - without) / 1e-20


def test_toy_interval_far_beyond_the_natural_scale(folder):
    observed = np.array([4000.0, 3000.0])
    likelihood, without, slope = scalar(toml(folder, "excess", observed.astype(int).tolist(), [2.0, 1.0]))
    grid = np.geomspace(1e-5, 2e-4, 40001)
    chi2 = deviance(without + grid[:, None] ** 4 * slope, observed)
    at = {"mass": 10.0, **FIXED}
    found = jc.toy_interval(likelihood, "coupling", [4e-5, 6.5e-5, 8e-5], toys=60, at=at)
    assert found.best_fit == pytest.approx(grid[chi2.argmin()], rel=1e-4)
    right = deviance(without + np.array(found.values)[:, None] ** 4 * slope, observed) - chi2.min()
    assert found.q == pytest.approx(tuple(right), rel=1e-4)
    assert (found.invalid, found.censored) == (0, (0, 0, 0))


def test_critical_values_of_sin2w_by_toys_on_a_grid(folder):
    path = toml(folder, "weak", [2000, 1500], [2000.0, 1500.0])
    likelihood = jc.Likelihood(jc.experiment(path))
    lower = likelihood.parameters["sin2w"].lower
    nodes = np.array([0.0, 1.0, 2.0])
    rows = np.stack([np.asarray(jc.signal(likelihood, {"sin2w": x})) for x in nodes])
    c = np.linalg.solve(np.vander(nodes, 3, increasing=True), rows)
    counts = lambda s: np.vander(np.atleast_1d(s), 3, increasing=True) @ c + np.array([2000.0, 1500.0])  # noqa: E731
    fine, rng = counts(lower + 6 * np.linspace(0, 1, 400) ** 2), np.random.default_rng(5)
    values, right = [0.3, 0.9, 1.5, 2.6], []
    for s in values:
        toys = rng.poisson(counts(s)[0], (4000, 2)).astype(float)
        lowest = np.min(deviance(fine[None], toys[:, None]), axis=1)
        right.append(np.quantile(np.maximum(deviance(counts(s), toys) - lowest, 0), 0.9))
    found = jc.toy_interval(likelihood, "sin2w", values, toys=500, at=FIXED)
    assert found.critical == pytest.approx(tuple(right), rel=0.3)
    assert found.invalid == 0


def test_expected_limits_count_every_toy(folder):
    counts = [20000.0, 15000.0]
    likelihood, without, slope = scalar(toml(folder, "w4", [20000, 15000], counts))
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 3e-4, 3000)])
    curve, rng = without + grid[:, None] ** 4 * slope, np.random.default_rng(1)

    def upper(data: np.ndarray) -> float:
        chi2 = deviance(curve, data)
        return float(grid[np.flatnonzero(chi2 - chi2.min() <= CHI2_90)[-1]])

    found = jc.expected_limit(likelihood, "coupling", toys=300, at={"mass": 10.0, **FIXED})
    assert (found.toys, found.invalid, found.censored) == (300, 0, 0)
    assert found.asimov == pytest.approx(upper(curve[0]), rel=4e-3)
    toys = [upper(d) for d in rng.poisson(curve[0], (600, 2)).astype(float)]
    assert found.bands[1:4] == pytest.approx(tuple(np.quantile(toys, [0.1587, 0.5, 0.8413])), rel=0.05)


# Sets with holes.


def test_no_excluded_value_inside_a_segment():
    values = [2e-6, 6e-6, 1.5e-5, 2.5e-5, 3.5e-5, 3.9e-5, 4.5e-5]
    likelihood = jc.Likelihood("xenonnt-2024-s2", "vector")
    found = jc.toy_interval(likelihood, "coupling", values, toys=100, at={"mass": 10.0})
    assert len(found.segments) == 2
    for value, q, critical in zip(found.values, found.q, found.critical, strict=True):
        inside = any((a is None or a <= value) and (b is None or value <= b) for a, b in found.segments)
        assert inside == (q <= critical)


@pytest.mark.parametrize("probability", [0.682689, 0.90])
def test_posterior_of_two_modes_is_two_ranges(probability):
    """Two normals far apart, halves of the draws: each range holds the probability of its own normal."""
    rng = np.random.default_rng(2)
    first = rng.random(8000) < 0.5
    draws = np.where(first, rng.normal(0.0, 1.0, 8000), rng.normal(10.0, 1.0, 8000))
    (a, b), (c, d) = _densest(arviz, draws, probability, (0.0, 10.0))
    half = -root_of(lambda z: jax.scipy.stats.norm.cdf(z) - (1 - probability) / 2, -5, 0)
    assert np.array([a, b, c, d]) == pytest.approx(np.array([-half, half, 10 - half, 10 + half]), abs=0.2)
    inside = ((draws > a) & (draws < b)) | ((draws > c) & (draws < d))
    assert np.mean(inside) == pytest.approx(probability, abs=0.03)
    for one in (rng.normal(size=4000), rng.exponential(size=4000), rng.random(4000)):
        assert _densest(arviz, one, probability, (1.0, 2.0)) == ((1.0, 2.0),)


# Export.


def random_likelihood(rng: np.random.Generator) -> jc.Likelihood:
    experiments = []
    for k in range(rng.integers(1, 3)):
        bins, components = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        backgrounds = {f"b{i}": rng.uniform(0.5, 8.0, bins).tolist() for i in range(components)}
        nuisances = []
        for name in [*backgrounds, "signal"]:
            bounds = [(0.0, np.inf), (0.9, 1.1), (0.5, np.inf), (0.0, 1.2)][rng.integers(4)]
            if rng.random() < 0.8:
                nuisances.append(jc.Nuisance(f"n-{name}", float(rng.uniform(0.05, 0.8)), (name,), bounds=bounds))
        error = 0.12 if rng.random() < 0.7 else None
        observed = rng.poisson(rng.uniform(2.0, 30.0), bins).astype(float).tolist()
        response = Response(np.linspace(0.9, 1.1, bins), np.diag(rng.uniform(1.0, 6.0, bins)) / 200.0)
        channel = jc.Channel(dataclasses.replace(b8(), error=error), xenon(), response)
        experiments.append(jc.Experiment(f"e{k}", channel, np.array(observed), backgrounds, tuple(nuisances)))
        if k and experiments[0].channels[0].flux.error != error:
            experiments.pop()
    return jc.Likelihood(experiments)


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
@pytest.mark.parametrize("seed", range(3))
def test_round_trip_of_random_models(seed):
    """Differences of profiled chi2 between strengths of the signal are those of pyhf, bounds included."""
    rng = np.random.default_rng(seed)
    likelihood = random_likelihood(rng)
    before = pyhf.get_backend()
    optimizer = pyhf.optimize.minuit_optimizer(tolerance=1e-7, strategy=2, maxiter=100_000)
    pyhf.set_backend("numpy", optimizer, precision="64b")
    try:
        workspace = pyhf.Workspace(json.loads(json.dumps(jc.to_pyhf(likelihood))))
        model = workspace.model()
        data = workspace.data(model)
        theirs = [
            float(pyhf.infer.mle.fixed_poi_fit(mu, data, model, return_fitted_val=True)[1]) for mu in (0.0, 1.0, 4.0)
        ]
    finally:
        pyhf.set_backend(*before)
    ours = []
    for mu in (0.0, 1.0, 4.0):
        found = profile_signals(arranged(likelihood), mu * np.asarray(jc.signal(likelihood))[:, None])
        assert found.valid[0]
        ours.append(found.chi2[0])
    assert np.diff(ours) == pytest.approx(np.diff(theirs), abs=2e-5)


def test_a_factor_of_twenty_is_within_reach_of_pyhf():
    one = problems.counting("few", [60.0], [0.01], {"flat": [1.0]}, (jc.Nuisance("flat", 20.0, ("flat",)),))
    likelihood = jc.Likelihood(one)
    assert float(jc.profile(likelihood).factors[1]) > 50
    settings = jc.to_pyhf(likelihood)["measurements"][0]["config"]["parameters"]
    ((_, high),) = next(p["bounds"] for p in settings if p["name"] == "few.flat")
    assert 1 + 20.0 * high >= 600


@pytest.mark.parametrize("name", ["mu", "lumi"])
def test_names_of_the_workspace_are_refused(name):
    one = problems.counting("t", [3.0], [2.0], {"flat": [1.0]}, (jc.Nuisance(name, 0.1, ("flat",), shared=True),))
    with pytest.raises(ValueError, match=f"named '{name}'.*rename"):
        jc.to_pyhf(jc.Likelihood(one))
    own = problems.counting("t", [3.0], [2.0], {"flat": [1.0]}, (jc.Nuisance(name, 0.1, ("flat",)),))
    assert jc.to_pyhf(jc.Likelihood(own))["version"] == "1.0.0"  # t.mu is another name


# Single precision.

SINGLE = """
import json
import numpy as np
import jcevns as jc

one = jc.Likelihood("xenonnt-2024-s2")
other = jc.Likelihood("xenonnt-2024-s2", "scalar")
at, few = {"mass": 10.0}, {"toys": 10}
verbs = {
    "fit": lambda: jc.fit(one, "flux"),
    "interval": lambda: jc.interval(one, "flux"),
    "limits": lambda: jc.limits(other, "coupling", over={"mass": [10.0]}),
    "contour": lambda: jc.contour(one, ("sin2w", "flux")),
    "scan": lambda: jc.scan(one, {"flux": [1e6, 2e6]}),
    "laplace": lambda: jc.laplace(one, {"flux": np.linspace(0, 1e7, 5)}),
    "sample": lambda: jc.sample(one, "flux"),
    "throw": lambda: jc.throw(one, "flux", 5e6, 10, 1),
    "discovery": lambda: jc.discovery(one, "flux", **few),
    "discovery of a coupling": lambda: jc.discovery(other, "coupling", at=at, **few),
    "coverage": lambda: jc.coverage(one, "sin2w", [0.2], **few),
    "fit_quality": lambda: jc.fit_quality(one, "flux", at={}, **few),
    "toy_interval": lambda: jc.toy_interval(one, "flux", [1e6, 2e6], **few),
    "expected_limit": lambda: jc.expected_limit(other, "coupling", at=at, **few),
    "expected_error": lambda: jc.expected_error(one, "flux", 5e6, **few),
    "expected_significance": lambda: jc.expected_significance(one, "flux", 5e6, **few),
}
said = {}
for name, verb in verbs.items():
    try:
        said[name] = f"no error: {verb()}"
    except Exception as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def test_every_verb_in_single_precision_names_the_remedy():
    said = json.loads(run_python(SINGLE).stdout)
    assert len(said) == 16
    for name, text in said.items():
        assert "jax_enable_x64" in text, f"{name}: {text}"
