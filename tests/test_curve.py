"""Intervals of hard profiles and of a thousand random ones, against dense scans in NumPy and SciPy."""

from __future__ import annotations

import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import jcevns as jc
from jcevns.fit.curve import survey
from jcevns.fit.interval import Interval
from jcevns.physics.standard_model import weak_charge
from tests import problems, reference
from tests.problems import CURVES, Curve, bounded

LEVELS = (0.683, 0.9)
Segments = tuple[tuple[float | None, float | None], ...]


# The reference --------------------------------------------------------------------------------------------------


def zoomed(chi2, low: float, high: float) -> tuple[float, float]:
    """Lowest point between two positions around one minimum, kinks included."""
    for _ in range(14):
        x = np.linspace(low, high, 17)
        y = chi2(x)
        k = int(np.argmin(y))
        low, high = x[max(k - 1, 0)], x[min(k + 1, 16)]
    return float(x[k]), float(y[k])


def scanned(chi2, x: np.ndarray, threshold: float, tolerance: float = 1e-13) -> tuple[float, float, Segments, int]:
    """Best value, chi2 there, accepted ranges and the number of dips, from a scan that misses nothing."""
    y = chi2(x)
    dips = np.flatnonzero((y[1:-1] < y[:-2]) & (y[1:-1] <= y[2:])) + 1
    dips = dips[y[dips] < np.min(y) + threshold + 5]
    found = [zoomed(chi2, x[k - 1], x[k + 1]) for k in dips]
    x = np.concatenate([x, [a for a, _ in found]])
    y = np.concatenate([y, [b for _, b in found]])
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    level = float(np.min(y)) + threshold
    above = y > level
    cells = np.flatnonzero(above[1:] != above[:-1])
    root = lambda t: float(chi2(np.array([t]))[0]) - level  # noqa: E731
    ends = [brentq(root, x[k], x[k + 1], xtol=tolerance * max(abs(x[k]), 1e-300), rtol=1e-13) for k in cells]
    inside = not above[0]
    points: list[float | None] = [*([None] if inside else []), *ends]
    points += [None] if len(points) % 2 else []
    segments = tuple(zip(points[::2], points[1::2], strict=True))
    return float(x[np.argmin(y)]), float(np.min(y)), segments, sum(v < level for _, v in found)


def wrong(found: Interval, best: float, segments: Segments, scale: float, digits: float = 1e-6) -> str:
    """What differs; empty if nothing does."""
    if not abs(found.chi2_min - best) < digits * (1 + abs(best)):
        return f"minimum {found.chi2_min}, truly {best}"
    if len(found.segments) != len(segments):
        return f"{len(found.segments)} segments {found.segments}, truly {segments}"
    for one, other in zip(found.segments, segments, strict=True):
        for a, b in zip(one, other, strict=True):
            if (a is None) != (b is None) or (a is not None and abs(a - b) > digits * (abs(b) + 0.01 * scale)):
                return f"end {a}, truly {b}"
    return ""


# The catalogue --------------------------------------------------------------------------------------------------


def positions(curve: Curve) -> np.ndarray:
    """The whole range: densely where the structure is, by decades up to far out."""
    low, high = curve.bounds.get("lower", -math.inf), curve.bounds.get("upper", math.inf)
    width = curve.span[1] - curve.span[0]
    dense = 3001 if curve.others else 200_001
    far = np.geomspace(1e-6, 1e4, 20 if curve.others else 20_001) * width
    x = np.concatenate([np.linspace(*curve.span, dense), curve.span[0] - far, curve.span[1] + far])
    return np.unique(np.clip(x, low, high))


@cache
def truth(curve: Curve, cl: float) -> tuple[float, float, Segments, int]:
    return scanned(curve.chi2, positions(curve), jc.chi2_threshold(cl))


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_signal_is_that_of_numpy(curve) -> None:
    here = curve.likelihood()
    x = np.linspace(*curve.span, 7)
    surface = jc.Surface(here, ("eps", "other"))
    others = np.linspace(*(curve.others or (0.0, 0.0)), 7)
    expected = curve.chi2(x, others)
    usable = expected < 1e100
    assert usable.sum() > 3
    found = surface.evaluate(np.stack([x, others], axis=1)).chi2
    np.testing.assert_allclose(found[usable], expected[usable], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_every_segment_and_the_global_minimum(curve, cl) -> None:
    best, lowest, segments, _ = truth(curve, cl)
    found = jc.interval(curve.likelihood(), "eps", cl, profiled="other" if curve.others else ())
    digits = 1e-5 if curve.name in ("many-events", "two-parameter") else 1e-6
    assert wrong(found, lowest, segments, curve.span[1] - curve.span[0], digits) == ""
    assert found.valid
    degenerate = curve.name in ("periodic", "kinked-dips", "signed", "flat")
    near = 1e-4 * (curve.span[1] - curve.span[0])
    assert degenerate or found.best_fit == pytest.approx(best, abs=near)


def test_what_the_catalogue_is_about() -> None:
    """Each problem has the trouble that its sentence tells of."""
    dips = {str(c): truth(c, 0.9)[3] for c in CURVES}
    segments = {str(c): truth(c, 0.9)[2] for c in CURVES}
    assert all(len(c.why) > 20 for c in CURVES)
    assert len(segments["two-dip"]) == len(segments["narrow-dips"]) == len(segments["signed"]) == 2
    assert segments["bounded"][0][0] is None
    assert truth(next(c for c in CURVES if c.name == "bounded"), 0.9)[0] == 0.0
    assert len(segments["bounded-above"]) == 2
    assert segments["bounded-above"][-1][1] is None
    assert segments["flat"] == ((None, None),)
    assert dips["periodic"] >= 6
    assert len(segments["saturating"]) == 2
    assert segments["saturating"][-1][1] is None
    assert segments["threshold"][0][0] is not None
    assert sum(b - a for a, b in segments["narrow-dips"]) < 1e-3 * 2


@pytest.mark.parametrize("name", ["two-dip", "signed", "narrow-dips"])
def test_whatever_the_bracketing(name) -> None:
    curve = next(c for c in CURVES if c.name == name)
    here = curve.likelihood()
    width = curve.span[1] - curve.span[0]
    plain = dataclasses.replace(curve, bounds={})
    for lower, scale, default in (
        (-0.5, 1.0, 0.0),
        (-1.0, 0.1, 0.4),
        (-math.inf, None, 0.3),
        (-math.inf, 1e4, -7.0),
        (-5.0, 1e-3, -4.9),
        (-0.3, 3.0, 0.1),
    ):
        changes = {"lower": lower * width, "upper": math.inf, "default": default * width}
        changes["scale"] = None if scale is None else scale * width
        found = jc.interval(bounded(here, "eps", **changes), "eps")
        x = positions(dataclasses.replace(plain, bounds={"lower": lower * width}))
        _, lowest, segments, _ = scanned(curve.chi2, x, found.threshold)
        assert wrong(found, lowest, segments, width) == "", (lower, scale)
        assert found.valid


def test_structure_without_end_is_not_valid() -> None:
    """A sine over an infinite range: no search finds all dips, and none says that it has."""
    curve = next(c for c in CURVES if c.name == "periodic")
    endless = bounded(curve.likelihood(), "eps", lower=-math.inf, upper=math.inf)
    assert not jc.interval(endless, "eps").valid
    assert not jc.fit(endless, "eps").valid


@pytest.mark.parametrize("curve", [c for c in CURVES if c.name in ("two-dip", "signed", "bounded")], ids=str)
def test_fits_limits_and_curves_agree(curve) -> None:
    here = curve.likelihood()
    best, lowest, segments, _ = truth(curve, 0.9)
    fit = jc.fit(here, "eps")
    assert fit.valid
    assert fit.chi2_min == pytest.approx(lowest, abs=1e-6)
    assert abs(fit.values["eps"]) == pytest.approx(abs(best), abs=1e-5)
    assert np.array(fit.interval(0.9).segments, float) == pytest.approx(
        np.array(segments, float), rel=1e-6, nan_ok=True
    )
    (limit,) = jc.limits(here, "eps", over={"other": [0.0]})
    assert np.array(limit.segments, float) == pytest.approx(np.array(segments, float), rel=1e-6, nan_ok=True)
    x = np.linspace(*curve.span, 41)
    expected = curve.chi2(x)
    usable = expected < 1e100
    np.testing.assert_allclose(jc.profile_curve(here, "eps", x)[usable], expected[usable], rtol=1e-9, atol=1e-9)


# A thousand random ones -----------------------------------------------------------------------------------------

BINS, MODELS, KINDS = 6, 1000, ("quadratic", "linear", "sine", "mixed", "saturating")
PLACES = np.linspace(0.9, 1.1, BINS)


class Dips(jc.Interaction):
    """The Standard Model times (1 + u f(eps) + v g(eps))^2, with u and v for each bin: up to eps^4."""

    eps: jax.Array = jc.parameter(0.0)
    shape: jax.Array = eqx.field(default=None)  # (f or g, coefficient)
    slopes: jax.Array = eqx.field(default=None)  # (f or g, bin)
    events: jax.Array = eqx.field(default=None)  # (bin,), over those of the Standard Model

    def weights(self):
        f, g = functions(self.shape, self.eps, jnp)
        return jnp.stack([jnp.ones_like(f), f, g, f * f, f * g, g * g])

    def terms(self, recoil, particle, flavour):
        model = jc.StandardModel()
        whole = jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)
        place = jnp.asarray(PLACES) * 1e-3
        u, v, size = (jnp.interp(recoil, place, row) for row in (*self.slopes, self.events))
        return jnp.stack([size * k * whole for k in (jnp.ones_like(u), 2 * u, 2 * v, u * u, 2 * u * v, v * v)])


def functions(shape, eps, library):
    """f and g: polynomials, sines, and what levels off."""
    found = []
    for c in shape:
        y = (eps - c[6]) / c[7]
        found.append(c[0] * y + c[1] * y**2 + c[2] * library.sin(c[3] * y + c[4]) + c[5] * y**2 / (1 + y**2))
    return found


@dataclasses.dataclass(frozen=True)
class Model:
    """A random profile."""

    kind: str
    shape: np.ndarray
    slopes: np.ndarray
    events: np.ndarray
    background: np.ndarray
    observed: np.ndarray
    changes: dict[str, float | None]

    def amplitude(self, eps: np.ndarray) -> np.ndarray:
        """Square root of the signal, signed, (point, bin)."""
        f, g = functions(self.shape, np.asarray(eps, float)[:, None], np)
        return (1 + self.slopes[0] * f + self.slopes[1] * g) * np.sqrt(self.events)

    def chi2(self, eps: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            N, D = self.amplitude(eps) ** 2 + self.background, self.observed
            value = 2 * np.sum(N - D + np.where(D > 0, D * np.log(np.where(D > 0, D, 1.0) / N), 0.0), axis=1)
        return np.where(np.isfinite(value), value, 1e300)

    def positions(self) -> np.ndarray:
        """Coarse over 3e4 scales, refined until the amplitude moves by less than 0.15 wherever it can be small."""
        centre, scale = self.shape[0, 6:]
        low, high = self.changes["lower"], self.changes["upper"]
        a, b = max(low, centre - 3e4 * scale), min(high, centre + 3e4 * scale)
        wide = centre + scale * np.sinh(np.linspace(-12, 12, 1201))
        near = np.linspace(max(a, centre - 30 * scale), min(b, centre + 30 * scale), 1001)
        x = np.unique(np.concatenate([near, np.clip(wide, a, b), [a, b, self.changes["default"]]]))
        most = np.sqrt(16 * (self.observed + 10))
        for _ in range(40):
            amplitude = self.amplitude(x)
            change = np.abs(np.diff(amplitude, axis=0))
            slope = change / np.diff(x)[:, None]
            beside = np.maximum(np.vstack([slope[:1], slope[:-1]]), np.vstack([slope[1:], slope[-1:]]))
            beside = beside * np.diff(x)[:, None]
            least = np.minimum(np.abs(amplitude[1:]), np.abs(amplitude[:-1])) - np.maximum(change, beside)
            coarse = np.max(np.maximum(change, beside / 8), axis=1) > 0.15
            usable = np.diff(x) > 1e-11 * (np.abs(x[1:]) + 1e-3 * scale)
            cells = np.flatnonzero(coarse & usable & np.all(least < most, axis=1))
            if not cells.size or x.size > 400_000:
                break
            x = np.sort(np.concatenate([x, *(x[cells] + (x[cells + 1] - x[cells]) * t for t in (0.25, 0.5, 0.75))]))
        return x


def drawn(seed: int) -> Model:
    """Random functions, data around a random true value, and any range, default and scale."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS, p=[0.3, 0.2, 0.2, 0.2, 0.1]))
    scale = 10 ** rng.uniform(-3, 3)
    shape = np.zeros((2, 8))
    shape[:, 6], shape[:, 7] = rng.normal() * scale * rng.choice([0, 1, 5]), scale
    if kind in ("quadratic", "mixed"):
        shape[:, :2] = rng.normal(0, 1.5, (2, 2))
    if kind == "linear":
        shape[:, 0] = rng.normal(0, 3, 2)
    if kind in ("sine", "mixed"):
        shape[:, 2], shape[:, 3], shape[:, 4] = rng.normal(0, 1, 2), rng.uniform(0.3, 4, 2), rng.uniform(0, 6.3, 2)
    if kind == "saturating":
        shape[:, 5], shape[:, 0] = rng.normal(0, 3, 2), rng.normal(0, 0.2, 2) * rng.choice([0, 1])
    slopes = 1 + rng.normal(0, rng.choice([0.0, 0.05, 0.5]), (2, BINS))
    centre, sides = shape[0, 6], rng.integers(4)
    closed = kind in ("sine", "mixed")  # else there are dips without end
    low = centre - scale * 10 ** rng.uniform(-1, 1) if closed or sides in (0, 1) else -math.inf
    high = centre + scale * 10 ** rng.uniform(-1, 1) if closed or sides in (0, 2) else math.inf
    a, b = max(low, centre - 3 * scale), min(high, centre + 3 * scale)
    default = rng.uniform(a, b) if rng.random() < 0.7 else a
    guess = None if rng.random() < 0.2 else scale * 10 ** rng.uniform(-2, 2)
    events = 10 ** rng.uniform(0, 3) * rng.uniform(0.3, 1, BINS)
    background = rng.uniform(0.2, 1, BINS) * 10 ** rng.uniform(-1, 2)
    changes = {"lower": low, "upper": high, "default": default, "scale": guess}
    made = Model(kind, shape, slopes, events, background, np.zeros(BINS), changes)
    expected = np.minimum(made.amplitude(np.array([rng.uniform(a, b)]))[0] ** 2, 30 * events) + background
    return dataclasses.replace(made, observed=rng.poisson(expected).astype(float))


@cache
def base() -> tuple[jc.Likelihood, np.ndarray]:
    """A likelihood whose arrays are replaced, so that it is compiled once, and its events at u = v = 0."""
    made = problems.counting("random", [1.0] * BINS, [200.0] * BINS, {"flat": [1.0] * BINS}, (), error=None)
    one = np.ones(BINS)
    theory = Dips(0.0, jnp.ones((2, 8)), jnp.zeros((2, BINS)), jnp.asarray(one))
    here = jc.Likelihood(made, theory)
    return here, np.asarray(jc.signal(here))


def likelihood(model: Model) -> jc.Likelihood:
    here, unit = base()

    def places(one):
        theory, numbers = one.theory, one.model
        return numbers.observed, numbers.background, theory.shape, theory.slopes, theory.events

    arrays = (model.observed, model.background[None], model.shape, model.slopes, model.events / unit)
    changed = eqx.tree_at(places, here, tuple(jax.device_put(np.asarray(v, float)) for v in arrays))
    records = [dataclasses.replace(p, **model.changes) if p.name == "eps" else p for p in here.parameters.values()]
    changed.__dict__["parameters"] = type(here.parameters)(records)
    return changed


def test_random_signals_are_those_of_numpy() -> None:
    for seed in range(10):
        model = drawn(seed)
        x = np.linspace(max(model.changes["lower"], -1.0), min(model.changes["upper"], 1.0) + 1e-6, 5)
        surface = jc.Surface(likelihood(model), "eps")
        np.testing.assert_allclose(surface.signals(x[:, None]), model.amplitude(x) ** 2, rtol=1e-9)
        found = surface.evaluate(x[:, None]).chi2
        np.testing.assert_allclose(found, model.chi2(x), rtol=1e-9, atol=1e-9)


def compared(first: int, stop: int) -> dict[str, list]:
    """Intervals that are wrong though they say valid, models whose intervals do not, numbers of dips."""
    mistakes, invalid, dips = [], [], []
    for seed in range(first, stop):
        model = drawn(seed)
        found = jc.interval(likelihood(model), "eps")
        _, lowest, segments, count = scanned(model.chi2, model.positions(), found.threshold)
        dips.append(count)
        problem = wrong(found, lowest, segments, model.shape[0, 7])
        if not found.valid:
            invalid.append(seed)
        elif problem:
            mistakes.append((seed, problem))
    return {"mistakes": mistakes, "invalid": invalid, "dips": dips}


def test_a_thousand_random_models() -> None:
    """Every accepted segment and the global minimum, or the word that the interval is not valid."""
    script = """
import json, jax
jax.config.update("jax_enable_x64", True)
from tests.test_curve import compared
print(json.dumps(compared({first}, {first} + {count})))
"""
    # In processes of their own, one for each core, without the type checks of this one: a third of the time.
    half = MODELS // 2
    with ThreadPoolExecutor(2) as pool:
        scripts = [script.format(first=k * half, count=half) for k in range(2)]
        runs = list(pool.map(reference.run_python, scripts))
    assert [r.returncode for r in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    parts = [json.loads(r.stdout) for r in runs]
    mistakes, invalid, dips = ([v for part in parts for v in part[key]] for key in ("mistakes", "invalid", "dips"))
    assert mistakes == []
    assert len(invalid) < 0.03 * MODELS
    counts = np.bincount(np.minimum(dips, 4), minlength=5)
    assert counts.sum() == MODELS
    assert np.all(counts[1:4] > 0.03 * MODELS), counts


# The case of the issue ------------------------------------------------------------------------------------------


class Shifted(jc.Interaction):
    """dsigma = SM (1 + 3 A eps/Q_V)^2."""

    eps: jax.Array = jc.parameter(0.0)

    def weights(self):
        return jnp.stack([jnp.ones_like(self.eps), self.eps, self.eps**2])

    def terms(self, recoil, particle, flavour):
        model = jc.StandardModel()
        whole = jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)
        ratio = 3 * particle.A / weak_charge(particle, model.sin2w)
        return jnp.stack([whole, 2 * ratio * whole, ratio**2 * whole])


@pytest.mark.parametrize(
    ("lower", "scale"),
    [
        (-1.0, 1.0),
        (-2.0, 2.0),
        (-1.0, 0.5),
        (-0.5, 0.5),
        (-0.8, 1.6),
        (-3.0, 6.0),
        (-math.inf, 1.0),
        (-math.inf, None),
    ],
)
def test_local_minima_are_not_called_the_best_fit(lower, scale) -> None:
    here = bounded(jc.Likelihood("xenonnt-2024-s2", Shifted()), "eps", lower=lower, scale=scale)
    found = jc.interval(here, "eps")
    assert found.valid
    assert found.best_fit == pytest.approx(-0.002, abs=5e-4)
    assert found.chi2_min == pytest.approx(3.854, abs=5e-4)
    np.testing.assert_allclose(found.segments, [(-0.043, 0.051), (0.140, 0.233)], atol=6e-4)
    fit = jc.fit(here, "eps")
    assert fit.valid
    assert fit.values["eps"] == pytest.approx(found.best_fit, abs=1e-7)
    assert fit.chi2_min == pytest.approx(found.chi2_min, abs=1e-9)


def test_turning_points_far_above_the_level_are_not_looked_for() -> None:
    """Where nothing describes the data the slope is noise, with roots that would take as many steps as bisection."""
    calls = []

    def curve(index: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        calls.append(x)
        far = np.exp(-(x**2) / 200)
        return 1000 * (1 - far), 10 * x * far + 1e-7 * np.sin(7 * x) * (1 - far), np.ones(x.size, bool)

    one = np.ones(1)
    data = np.full((1, 1), 100.0)
    signals = lambda index, x: 10 * np.arctan(x / 10)[:, None]  # noqa: E731
    (found,) = survey(curve, signals, data, 1, -1e4 * one, 1e4 * one, 0.5 * one, one, 2.7)
    assert found.best == pytest.approx(0.0, abs=1e-9)
    visited = np.concatenate(calls)
    assert np.any(np.abs(visited) > 100)
    assert not any(np.any(np.abs(x) > 100) for x in calls[1:])  # after the nodes
