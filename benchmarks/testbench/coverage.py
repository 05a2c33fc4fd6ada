"""How often each kind of interval holds the truth: at a bound, at low counts, with several dips."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy
from scipy.stats import poisson

import jcevns as jc
from benchmarks.testbench.curves import Bounded, Problem, Signed, build
from jcevns.constants import ONE_SIGMA
from jcevns.statistics.hypothesis import hypothesis
from jcevns.statistics.toys import draw, fit_segments

__all__ = ["CASES", "DATA_SETS", "TOYS", "Case", "exact", "run"]

TOYS, DATA_SETS, FC_TOYS = 1000, 20, 500  # of one part, and per tested value
LEVELS = (ONE_SIGMA, 0.90)
UPPER = ("one-sided", "cls", "pcl")


class Case(NamedTuple):
    """A problem without its data, and the true value of its parameter."""

    label: str
    problem: Problem
    kind: type
    truth: float


def _problem(table: Any, background: Sequence, sigma: Sequence, loading: Sequence, lower: float) -> Problem:
    rows = np.array(background, float)
    factors = np.array(loading, float).reshape(1 + len(rows), len(sigma))
    counts = np.zeros(rows.shape[1])
    return Problem(np.array(table, float), rows, counts, np.array(sigma, float), factors, lower)


def _cases() -> tuple[Case, ...]:
    one = _problem([[0], [1], [0]], [[0.5]], [], [], 0.0)
    few = _problem([[0], [1], [0]], [[1.0]], [0.3], [[0], [1]], 0.0)
    wide = _problem(np.outer([0, 1, 0], [12.0, 6.0, 3.0]).tolist(), [[50.0] * 3], [0.05], [[0], [1]], 0.0)
    a, b = np.array([6.0, 5.0, 4.0, 3.0]), np.array([-3.0, -2.4, -2.1, -1.6])
    dips = _problem([a**2, 2 * a * b, b**2], [[15.0] * 4], [0.1, 0.05], [[1, 0], [0, 1]], -np.inf)
    return (
        *(Case("one bin, 0.5 background, bounded", one, Bounded, s) for s in (0.0, 1.0, 3.0)),
        *(Case("one bin, 1 background of 30%, bounded", few, Bounded, s) for s in (0.0, 2.0)),
        *(Case("three bins, 50 background of 5%, bounded", wide, Bounded, s) for s in (0.0, 0.5, 2.0)),
        *(Case("two dips, four bins", dips, Signed, s) for s in (0.0, 1.0, 2.1, 4.3)),
    )


CASES = _cases()


def _q(case: Case, counts: np.ndarray) -> np.ndarray:
    """Delta chi2 of the truth for a strength in one bin without nuisances, bounded at zero."""
    background, slope = case.problem.background[0, 0], case.problem.table[1, 0]

    def chi2(x: Any) -> np.ndarray:
        mean = background + slope * x
        return 2 * (mean - counts + xlogy(counts, counts) - xlogy(counts, mean))

    return chi2(case.truth) - chi2(np.maximum((counts - background) / slope, 0.0))


def exact(case: Case, cl: float) -> float | None:
    """Coverage of Delta chi2 below its threshold by enumeration; None where there is more than one bin."""
    if case.problem.observed.size > 1 or case.problem.sigma.size:
        return None
    mean = case.problem.background[0, 0] + case.problem.table[1, 0] * case.truth
    counts = np.arange(200)
    inside = _q(case, counts) <= jc.chi2_threshold(cl)
    return float(np.sum(poisson.pmf(counts, mean)[inside]))


def _simulated(case: Case, rng: np.random.Generator) -> Problem | None:
    """Data and auxiliary measurements at the truth.

    A nuisance measured at 1 + c instead of 1 is the same as templates 1 + c times as large, and a width as much
    smaller; None where nothing is left.
    """
    problem = case.problem
    measured = 1 + problem.sigma * rng.standard_normal(problem.sigma.size)
    if np.any(measured <= 0):
        return None
    signal = np.array([1.0, case.truth, case.truth**2]) @ problem.table
    observed = rng.poisson(signal + problem.background.sum(axis=0)).astype(float)
    scale = np.exp(problem.loading @ np.log(measured))
    return problem._replace(
        table=problem.table * scale[0],
        background=problem.background * scale[1:, None],
        observed=observed,
        sigma=problem.sigma / measured,
    )


def run(seed: int, index: int, toys: int = TOYS, data_sets: int = DATA_SETS) -> dict[str, Any]:
    """Toys of one case: for each method how many hold the truth, how many there were, how many were not valid."""
    case = CASES[index % len(CASES)]
    stream = int(np.random.SeedSequence([seed, index, 3]).generate_state(1)[0])
    likelihood = build(case.problem, case.kind)
    counts: dict[str, list[int]] = {}
    for row in jc.coverage(likelihood, "x", [case.truth], LEVELS, toys, stream):
        counts[f"asymptotic {row.cl:.3g}"] = [round(row.coverage * row.toys), row.toys, row.invalid]
    here = hypothesis(likelihood, "x")
    found = fit_segments(here, case.truth, draw(here, case.truth, toys, stream), jc.chi2_threshold(0.90))
    within = np.array([
        any((a is None or a <= case.truth) and (b is None or case.truth <= b) for a, b in s) for s in found.segments
    ])  # fmt: skip
    valid = found.valid
    bad = int(np.sum(~valid))
    counts["segments 0.9"] = [int(np.sum(within & valid)), int(valid.sum()), bad]
    counts["upper end 0.9"] = [int(np.sum((found.upper >= case.truth) & valid)), int(valid.sum()), bad]
    several = int(sum(len(s) > 1 for s in found.segments))
    rng = np.random.default_rng([seed, index, 4])
    direct, ordered = [0, 0, 0], [0, 0, 0]
    upper = {method: [0, 0, 0] for method in (UPPER if case.kind is Bounded else ())}
    for number in range(data_sets):
        problem = _simulated(case, rng)
        if problem is None:
            continue
        own = build(problem, case.kind)
        one = jc.interval(own, "x", 0.90)
        judged = (direct, case.truth in one, one.valid), (ordered, *_ordered(own, case, (stream + number) % 2**32))
        for total, inside, good in judged:
            total[:] = [total[0] + (inside and good), total[1] + good, total[2] + (not good)]
        for method, total in upper.items():
            (limit,) = jc.limits(own, "x", cl=0.90, method=method)
            # Where everything is excluded the limit is zero, and says so: no coverage, but an answer.
            good = limit.upper is not None
            total[:] = [total[0] + (good and limit.upper >= case.truth), total[1] + good, total[2] + (not good)]
    counts.update({f"{method} 0.9": total for method, total in upper.items()})
    counts["interval 0.9"], counts["Feldman-Cousins 0.9"] = direct, ordered
    return {"case": index % len(CASES), "counts": counts, "several": several}


def _ordered(likelihood: jc.Likelihood, case: Case, seed: int) -> tuple[bool, bool]:
    """Whether the truth is inside the interval by toys, and whether there is one."""
    tested = [case.truth, case.truth + 0.1]
    try:
        found = jc.toy_interval(likelihood, "x", tested, 0.90, FC_TOYS, seed)
    except RuntimeError as error:
        return False, "no value tested is inside" in str(error)
    return found.q[0] <= found.critical[0], True
