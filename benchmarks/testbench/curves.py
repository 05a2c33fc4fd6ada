"""Intervals and limits of one parameter against dense scans of an independent profile."""

import dataclasses
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jcevns as jc
from benchmarks.testbench.check import plain
from benchmarks.testbench.reference import Models, descend, scipy_minimum, starts
from jcevns.detectors import Response
from jcevns.fit.curve import Segment
from jcevns.physics.new_physics import Addition

__all__ = ["INTERVALS", "PLACES", "PLANES", "Bounded", "Plane", "Signed", "build", "run"]

INTERVALS, PLANES, PLACES = 64, 8, 8  # of one part: intervals, and limits as planes times places
_MARGIN = 1e-4  # of Delta chi2, within which a point may be on either side
_CHI2 = 1e-6  # relative to 1 + |chi2|
_ROUNDS, _POLISH = 5, 30


def _table() -> Any:
    return jnp.ones((3, 1))


def _energies(bins: int) -> np.ndarray:
    """Recoil energy that stands for each bin, keV."""
    return np.linspace(0.9, 1.1, bins)


def _at(table: Any, recoil_keV: Any) -> Any:
    return jax.vmap(lambda row: jnp.interp(recoil_keV, jnp.asarray(_energies(table.shape[1])), row))(table)


class Signed(Addition):
    """Counts a + b x + c x^2 in each bin, x of any sign: one dip or several."""

    x: jax.Array = jc.parameter(0.5)
    table: jax.Array = eqx.field(default_factory=_table)

    label = "signed"

    def weights(self) -> Any:
        return jnp.stack([jnp.ones_like(self.x), self.x, self.x**2])

    def rates(self, recoil_keV: Any) -> Any:
        return _at(self.table, recoil_keV)


class Bounded(Signed):
    """The same from x = 0 up."""

    x: jax.Array = jc.parameter(0.5, lower=0.0, null=0.0)

    label = "bounded"


class Plane(Addition):
    """Counts a + b x + y c x^2: a limit on x at each y."""

    x: jax.Array = jc.parameter(0.5, lower=0.0, null=0.0)
    y: jax.Array = jc.parameter(1.0)
    table: jax.Array = eqx.field(default_factory=_table)

    label = "plane"

    def weights(self) -> Any:
        return jnp.stack([jnp.ones_like(self.x), self.x, self.y * self.x**2])

    def rates(self, recoil_keV: Any) -> Any:
        return _at(self.table, recoil_keV)


class Problem(NamedTuple):
    """One parameter, its data and its signal.

    Attributes:
        table: a, b, c of the signal in each bin.
        background: templates.
        observed: counts.
        sigma: widths of the nuisances.
        loading: 1 where a nuisance (column) acts on a component (row, the signal first).
        lower: bound of the parameter.
    """

    table: np.ndarray
    background: np.ndarray
    observed: np.ndarray
    sigma: np.ndarray
    loading: np.ndarray
    lower: float


@cache
def _flux() -> Any:
    return dataclasses.replace(jc.physics.b8(), error=None)


def build(problem: Problem, kind: Any) -> jc.Likelihood:
    """The problem as a likelihood of the package; `kind` is the class of its signal."""
    bins, names = problem.observed.size, [f"b{k}" for k in range(len(problem.background))]
    channel = jc.Channel(_flux(), jc.physics.xenon(), Response(_energies(bins), np.eye(bins)))
    components = np.array(["signal", *names])
    nuisances = [
        jc.Nuisance(f"n{j}", float(width), tuple(components[column > 0].tolist()))
        for j, (width, column) in enumerate(zip(problem.sigma, problem.loading.T, strict=True))
    ]
    backgrounds = dict(zip(names, problem.background, strict=True))
    one = jc.Experiment("bench", channel, problem.observed, backgrounds, nuisances)
    return jc.Likelihood(one, kind(table=jnp.asarray(problem.table)))


def _structure(rng: np.random.Generator) -> tuple[int, np.ndarray]:
    bins, backgrounds = int(rng.choice([1, 2, 4, 9])), int(rng.choice([1, 2]))
    columns = {"none": [], "own": range(1, backgrounds + 1), "signal": range(backgrounds + 1)}
    chosen = columns[rng.choice(list(columns), p=[0.2, 0.3, 0.5])]
    loading = np.zeros((backgrounds + 1, len(chosen)))
    for j, component in enumerate(chosen):
        loading[component, j] = 1
    return bins, loading


def draw(rng: np.random.Generator, bins: int, loading: np.ndarray, shape: str, lower: float) -> Problem:
    """A problem: a strength, a squared coupling, interference with one dip or several, few counts or many."""
    backgrounds = len(loading) - 1
    height = 10 ** rng.uniform(-0.5, 3.5)
    background = height * rng.lognormal(0, 1, (backgrounds, bins))
    if rng.random() < 0.15:
        background[:, rng.integers(bins)] = 0.0
    unit = np.sqrt(height) * rng.lognormal(0, 1, bins) * 10 ** rng.uniform(-1, 1)
    zero = np.zeros(bins)
    if shape == "strength":
        table = np.stack([zero, unit, zero])
    elif shape == "square":
        table = np.stack([zero, zero, unit])
    elif shape == "even":
        table = np.stack([unit * rng.choice([0.0, 1.0]), zero, unit])
    else:  # (a + b x)^2, every bin with a zero of its own
        a, b = np.sqrt(unit) * rng.normal(0, 2, bins), np.sqrt(unit) * rng.normal(0, 2, bins)
        table = np.stack([a**2, 2 * a * b, b**2])
    width = 10 ** rng.uniform(-1.5, 1.5)  # of the parameter
    table = table * np.array([1.0, 1 / width, 1 / width**2])[:, None]
    true = width * rng.choice([0.0, 1.0, rng.uniform(0, 4)])
    signal = np.array([1.0, true, true**2]) @ table
    observed = rng.poisson(signal + background.sum(axis=0) * rng.choice([1.0, 1.0, 0.7, 1.5])).astype(float)
    observed = np.where((signal + background.sum(axis=0) > 0) & (background.sum(axis=0) > 0), observed, 0.0)
    sigma = 10 ** rng.uniform(-2, -0.2, loading.shape[1])
    return Problem(table, background, observed, sigma, loading, lower)


# The independent profile.


def _models(problems: list[Problem], index: np.ndarray, x: np.ndarray) -> Models:
    weights = np.stack([np.ones_like(x), x, x**2], axis=1)
    signal = np.einsum("pt,ptb->pb", weights, np.stack([p.table for p in problems])[index])
    background = np.stack([p.background for p in problems])[index]
    observed, sigma = np.stack([p.observed for p in problems]), np.stack([p.sigma for p in problems])
    templates = np.concatenate([signal[:, None], background], axis=1)
    return Models(observed[index], templates, problems[0].loading, sigma[index], 1)


def profile(problems: list[Problem], index: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Profiled chi2 of problems of one structure at values of the parameter, from two starts."""
    models = _models(problems, index, x)
    start = np.zeros_like(models.sigma)
    acting = np.flatnonzero(models.loading[0])
    down = start.copy()
    if acting.size:
        have = models.templates[:, 0].sum(axis=1)
        down[:, acting[0]] = np.minimum(np.log((models.observed.sum(axis=1) + 1) / (np.maximum(have, 0) + 1)), 0)
    return (
        np.minimum(descend(models, start)[0], descend(models, down)[0]) if acting.size else descend(models, start)[0]
    )


class Scan(NamedTuple):
    """A dense scan: positions in order, chi2 there, and its minimum between them."""

    x: np.ndarray
    chi2: np.ndarray
    lowest: float


def dense(problems: list[Problem], threshold: float, more: list[np.ndarray]) -> list[Scan]:
    """Scans over many decades, finer and finer where Delta chi2 is near the threshold or a minimum.

    Args:
        problems: of one structure.
        threshold: Delta chi2.
        more: positions that are to be among those looked at.
    """
    decades = np.logspace(-6, 5, 180)
    known: list[Scan] = []
    fresh = []
    for problem, own in zip(problems, more, strict=True):
        both = np.concatenate([decades, [0.0]]) if problem.lower == 0 else np.concatenate([decades, [0.0], -decades])
        fresh.append(np.unique(np.concatenate([both, own[np.isfinite(own)]])))
        known.append(Scan(np.empty(0), np.empty(0), np.inf))
    for _ in range(_ROUNDS):
        index = np.repeat(np.arange(len(problems)), [f.size for f in fresh])
        chi2 = np.split(profile(problems, index, np.concatenate(fresh)), np.cumsum([f.size for f in fresh])[:-1])
        for i, (x, value) in enumerate(zip(fresh, chi2, strict=True)):
            x, value = np.concatenate([known[i].x, x]), np.concatenate([known[i].chi2, value])
            order = np.argsort(x, kind="stable")
            known[i] = Scan(x[order], value[order], float(np.min(value)))
            above = known[i].chi2 - known[i].lowest
            with np.errstate(invalid="ignore"):
                step = np.abs(np.diff(above))
                low = np.minimum(above[1:], above[:-1])
                cells = np.flatnonzero(((low < threshold + 3) & ~(step < 0.5)) | (low < 0.3))
            cells = cells[np.diff(known[i].x)[cells] > 1e-7 * np.abs(known[i].x[cells])]
            a, b = known[i].x[cells], known[i].x[cells + 1]
            fresh[i] = np.unique(np.concatenate([a + (b - a) * t for t in (0.25, 0.5, 0.75)]))
            fresh[i] = np.setdiff1d(fresh[i], known[i].x)[:600]
    return _polished(problems, known)


def _polished(problems: list[Problem], known: list[Scan]) -> list[Scan]:
    """The lowest minimum of each scan to its last digits, by golden section."""
    place = [int(np.argmin(one.chi2)) for one in known]
    low = np.array([one.x[max(k - 1, 0)] for one, k in zip(known, place, strict=True)])
    high = np.array([one.x[min(k + 1, one.x.size - 1)] for one, k in zip(known, place, strict=True)])
    index, ratio = np.arange(len(known)), (np.sqrt(5) - 1) / 2
    best = np.array([one.lowest for one in known])
    c, d = high - ratio * (high - low), low + ratio * (high - low)
    at_c, at_d = profile(problems, index, c), profile(problems, index, d)
    for _ in range(_POLISH):
        best = np.minimum(best, np.minimum(at_c, at_d))
        left = at_c < at_d
        low, high = np.where(left, low, c), np.where(left, d, high)
        new = np.where(left, high - ratio * (high - low), low + ratio * (high - low))
        value = profile(problems, index, new)
        c, d, at_c, at_d = (
            np.where(left, new, d), np.where(left, c, new), np.where(left, value, at_d), np.where(left, at_c, value),
        )  # fmt: skip
    return [one._replace(lowest=float(b)) for one, b in zip(known, best, strict=True)]


# What the package says.


class Claim(NamedTuple):
    """An interval or limit of the package."""

    segments: tuple[Segment, ...]
    best: float
    chi2_min: float
    valid: bool

    @property
    def points(self) -> np.ndarray:
        """Where the scan is to look: best fit, ends, and both sides of them."""
        ends = np.array([e for s in self.segments for e in s if e is not None] + [self.best])
        return np.concatenate([ends, ends * (1 + 1e-6), ends * (1 - 1e-6)])

    def inside(self, x: np.ndarray) -> np.ndarray:
        """Which values are accepted."""
        found = np.zeros(x.shape, bool)
        for low, high in self.segments:
            found |= (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
        return found


def _elsewhere(problem: Problem, claim: Claim) -> float:
    """chi2 at the best fit by SciPy, where less than nothing is expected at nominal and the scan does not look."""
    one = _models([problem], np.zeros(1, int), np.array([claim.best]))
    if not np.isfinite(claim.best) or np.all(one.templates.sum(axis=1) >= 0):
        return np.inf
    away = np.where(problem.loading[0] != 0, -1.0, 1.0)[None] * problem.sigma  # less signal, more of the others
    return scipy_minimum(one, [k * away for k in (0.25, 0.5, 1.0, 2.0, 4.0)])[0]


def judge(problem: Problem, claim: Claim, scan: Scan, threshold: float) -> dict[str, Any]:
    """What is wrong with one claim."""
    lowest = min(scan.lowest, float(np.min(scan.chi2)), _elsewhere(problem, claim))
    above = scan.chi2 - lowest - threshold
    inside = claim.inside(scan.x)
    # Where less than nothing is expected at nominal the reference does not look.
    models = _models([problem], np.zeros(scan.x.size, int), scan.x)
    clear = np.all(models.templates.sum(axis=1) >= 0, axis=1)
    wrong = np.flatnonzero(clear & ((inside & (above > _MARGIN)) | (~inside & (above < -_MARGIN))))
    wrong = wrong[np.abs(above[wrong]) < 1e12]
    why = []
    if abs(claim.chi2_min - lowest) > _CHI2 * (1 + abs(lowest)):
        why.append("minimum")
    for k in wrong[:: max(1, wrong.size // 12)]:
        one = models.take(np.array([k]))
        begins = [
            np.zeros((1, problem.sigma.size)),
            *starts(one, np.zeros((1, problem.sigma.size)), np.random.default_rng(0), 5),
        ]
        value = scipy_minimum(one, begins)[0] - lowest - threshold
        value = min(value, above[k])
        if (inside[k] and value > _MARGIN) or (not inside[k] and value < -_MARGIN):
            why.append("segments")
            break
    ends = np.isin(scan.x, [e for s in claim.segments for e in s if e is not None]) & clear
    off = np.abs(above[ends])
    return {
        "why": why if claim.valid else [],
        "chi2": plain(claim.chi2_min),
        "reference": plain(lowest),
        "segments": [[None if e is None else plain(e) for e in s] for s in claim.segments],
        "end": plain(np.max(off[off < 0.1], initial=0.0)) if claim.valid and not why else 0.0,
        "minimum": plain(abs(claim.chi2_min - lowest) / (1 + abs(lowest))) if claim.valid and not why else 0.0,
    }


SHAPES = ("strength", "square", "even", "dips")


def run(seed: int, index: int, intervals: int = INTERVALS, planes: int = PLANES) -> dict[str, Any]:
    """Intervals and limits of one structure, each against its dense scan."""
    rng = np.random.default_rng([seed, index, 7])
    bins, loading = _structure(rng)
    threshold = jc.chi2_threshold(0.90)
    problems: list[Problem] = []
    claims: list[Claim] = []
    refused = 0
    for k in range(intervals):
        kind = (Signed, Bounded)[k % 2]
        problem = draw(rng, bins, loading, str(rng.choice(SHAPES)), -np.inf if k % 2 == 0 else 0.0)
        try:
            found = jc.interval(build(problem, kind), "x")
        except (RuntimeError, ValueError):  # no valid fit at all, or nuisances that take any signal away
            refused += 1
            continue
        problems.append(problem)
        claims.append(Claim(found.segments, found.best_fit, found.chi2_min, found.valid))
    limits = len(claims)
    for _ in range(planes):
        problem = draw(rng, bins, loading, str(rng.choice(SHAPES[1:])), 0.0)
        places = np.concatenate([[1.0], 10 ** rng.uniform(-1, 2, PLACES - 1)])
        try:
            found = jc.limits(build(problem, Plane), "x", over={"y": places})
        except (RuntimeError, ValueError):
            refused += PLACES
            continue
        for one, y in zip(found, places, strict=True):
            problems.append(problem._replace(table=problem.table * np.array([1.0, 1.0, y])[:, None]))
            claims.append(Claim(one.segments, one.best_fit, one.chi2_min, one.valid))
    scans = dense(problems, threshold, [c.points for c in claims])
    rows = [judge(p, c, s, threshold) for p, c, s in zip(problems, claims, scans, strict=True)]
    kinds = np.arange(len(rows)) >= limits
    return {
        "models": len(rows),
        "refused": refused,
        "intervals": limits,
        "limits": len(rows) - limits,
        "valid": sum(c.valid for c in claims),
        "lost": sum(not c.valid for c in claims),
        "several": sum(len(c.segments) > 1 for c in claims),
        "false": [
            {"seed": seed, "index": index, "number": i, "limit": bool(kinds[i]), **r}
            for i, r in enumerate(rows)
            if r["why"]
        ],
        "worst": max((r["minimum"] for r in rows), default=0.0),
        "worst_end": max((r["end"] for r in rows), default=0.0),
    }
