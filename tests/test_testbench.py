"""A short run of the test-bench, and faults that it must find."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

import jcevns as jc
from benchmarks.testbench import binned, coverage, curves, shapes
from benchmarks.testbench.check import Claims, judge
from benchmarks.testbench.page import summary, text
from benchmarks.testbench.reference import Models, evaluate, lowest, starts
from benchmarks.testbench.run import execute, plan
from benchmarks.testbench.store import Store

SEED = 11


def none_false(found: dict) -> None:
    """No answer that says valid is wrong; what is wrong is shown."""
    assert found["models"] > 0
    assert found["valid"] > found["models"] // 2
    assert found["false"] == []


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_binned_models(index) -> None:
    none_false(binned.run(SEED, index, 1))


@pytest.mark.slow
def test_wide_factors_and_data_that_nothing_describes_need_a_proof() -> None:
    """Two of these said valid, for starts along the products had found nothing lower (chi2 13.29 for 13.27)."""
    found, models = binned.rebuild(1, 18, 3)
    judged = judge(models, binned.fit(found, models), np.random.default_rng([1, 18, 3, 1]))
    assert judged["valid"] > judged["models"] // 2
    assert judged["false"] == []


@pytest.mark.slow
@pytest.mark.parametrize("index", [1, 3])
def test_models_with_shapes(index) -> None:
    none_false(shapes.run(SEED, index, 128))


@pytest.mark.slow
def test_intervals_and_limits() -> None:
    none_false(curves.run(SEED, 0, 16, 2))


MISSED = {
    # The minimum is in a bin that is empty but for a thousand times its data.
    "beyond": (
        [
            [23.1995, 725.047, 26485.8, 2022.1],
            [266.571, 6406.26, -59799.7, -15355.2],
            [765.748, 14150.9, 33753.9, 29150.5],
        ],
        [5196.22855, 0.0, 4382.50017, 1679.2112],
        [5292, 0, 8692, 32114],
    ),
    # The last node before a wall has a slope towards it, and the minimum is between the two.
    "before a wall": (
        [
            [1.57485, 46.00542, 1.40911, 255.04212],
            [161.37571, -369.61883, -122.48756, -409.79419],
            [1635.27, 293.666, 1052.92, 65.1139],
        ],
        [1.64284, 2.24516, 12.07129, 4.4919],
        [1718, 102, 955, 67],
    ),
}


@pytest.mark.parametrize("name", MISSED)
def test_minima_that_intervals_missed(name) -> None:
    """Against SciPy on a dense scan of the signal: the minimum, and that only its neighbourhood is accepted."""
    table, background, observed = (np.array(x, float) for x in MISSED[name])
    none = np.zeros(0), np.zeros((2, 0))
    problem = curves.Problem(table, background[None], observed, *none, 0.0)
    found = jc.interval(curves.build(problem, curves.Bounded), "x")

    def chi2(x: float) -> float:
        counts = np.array([1, x, x**2]) @ table + background
        if np.any(counts < 0) or np.any((counts == 0) & (observed > 0)):
            return np.inf
        return float(2 * np.sum(counts - observed + xlogy(observed, observed) - xlogy(observed, counts)))

    x = np.linspace(0, 3, 30001)
    best = x[np.argmin([chi2(v) for v in x])]
    exact = minimize_scalar(chi2, bounds=(best - 1e-4, best + 1e-4), method="bounded", options={"xatol": 1e-12})
    assert found.valid
    assert found.chi2_min == pytest.approx(exact.fun, rel=1e-9)
    ((low, high),) = found.segments
    assert low < exact.x < high
    np.testing.assert_allclose([chi2(low), chi2(high)], exact.fun + jc.chi2_threshold(0.90), rtol=1e-9)


@pytest.mark.slow
def test_coverage_is_that_of_an_enumeration() -> None:
    """Five binomial errors, for three truths of a counting experiment."""
    for index in range(3):
        found = coverage.run(SEED, index, 2000, 0)["counts"]
        for cl, name in zip(coverage.LEVELS, ("asymptotic 0.683", "asymptotic 0.9"), strict=True):
            inside, trials, invalid = found[name]
            expected = coverage.exact(coverage.CASES[index], cl)
            assert invalid == 0
            assert trials == 2000
            assert inside / trials == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / trials))


# The judge ---------------------------------------------------------------------------------------------------------


def problem() -> tuple[Models, Claims]:
    """Two models of one signal with two nuisances and a background, and their minima."""
    observed = np.array([[12.0, 9.0], [0.0, 400.0]])
    templates = np.array([[[5.0, 2.0], [6.0, 8.0]], [[1.0, 300.0], [0.5, 50.0]]])
    loading, sigma = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.1, 0.3], [0.05, 0.2]])
    models = Models(observed, templates, loading, sigma, 1)
    chi2, theta = lowest(models, starts(models, np.zeros((2, 2)), np.random.default_rng(1), 4))
    return models, Claims(chi2, theta, np.zeros(2), np.ones(2, bool))


def why(claims: Claims) -> list[list[str]]:
    found = judge(problem()[0], claims, np.random.default_rng(2))
    return [row["why"] for row in found["false"]]


def test_right_answers_pass() -> None:
    models, claims = problem()
    assert why(claims) == []
    # The reference by finite differences, which share nothing with its formulas.
    point, step = evaluate(models, claims.theta), 1e-4
    for j in range(2):
        up, down = (evaluate(models, claims.theta + s * np.eye(2)[j]) for s in (step, -step))
        np.testing.assert_allclose(point.gradient[:, j], (up.chi2 - down.chi2) / (2 * step), atol=1e-4)
        slopes = (up.gradient - down.gradient) / (2 * step)
        np.testing.assert_allclose(point.hessian[:, j], slopes, rtol=1e-5, atol=1e-4)


def test_planted_faults_are_found() -> None:
    models, claims = problem()
    moved = claims.theta + np.array([[0.03, 0.0], [0.0, 0.0]])
    assert why(claims._replace(theta=moved, chi2=evaluate(models, moved).chi2)) == [["lower", "gradient"]]
    assert why(claims._replace(chi2=claims.chi2 + np.array([0.0, 1e-3]))) == [["lower", "chi2"]]
    assert why(claims._replace(chi2=claims.chi2 - np.array([0.0, 1e-3]))) == [["chi2"]]
    lost = judge(models, claims._replace(valid=np.zeros(2, bool)), np.random.default_rng(2))
    assert (lost["false"], lost["valid"], lost["lost"]) == ([], 0, 2)


def test_a_local_minimum_is_found() -> None:
    """Two wide nuisances on one signal far above the data: the narrower of them gone to zero is a local minimum."""
    models = Models(np.zeros((1, 1)), np.full((1, 1, 1), 1e6), np.ones((1, 2)), np.array([[0.2, 2.0]]), 1)
    theta = np.array([[-40.0, 0.0]])
    chi2 = evaluate(models, theta).chi2
    found = judge(models, Claims(chi2, theta, np.zeros(1), np.ones(1, bool)), np.random.default_rng(3))
    assert [row["why"] for row in found["false"]] == [["lower"]]
    assert found["false"][0]["reference"] == pytest.approx(0.25, abs=1e-3)


# Runs ---------------------------------------------------------------------------------------------------------------


def test_a_store_of_another_run_is_refused(tmp_path) -> None:
    Store(tmp_path, {"seed": 1})
    with pytest.raises(ValueError, match="name another folder"):
        Store(tmp_path, {"seed": 2})


def test_a_run_goes_on_and_its_sum_does_not_depend_on_it(tmp_path) -> None:
    """Parts that are in the store are not done again: here all of them are, in two goes."""
    store, todo = Store(tmp_path, {"seed": 1}), {"binned": 3}
    part = {"models": 2, "valid": 1, "lost": 0, "worst": 1e-9, "false": [{"seed": 1, "index": 0, "near": True}]}
    for index in range(2):
        store.keep("binned", index, part)
    (tmp_path / "binned-000002.7.partial").write_text("{", encoding="utf-8")  # killed while writing
    assert [store.has("binned", i) for i in range(3)] == [True, True, False]
    done: list[int] = []
    execute(todo, store, 1, 0.0, 1, done.append)
    assert done == [2]
    store.keep("binned", 2, part)
    content = summary({"binned": store.parts("binned", 3)})
    assert content["binned"]["models"] == 6
    assert content["binned"]["false"] == content["binned"]["false_near"] == len(content["false"]["binned"]) == 3
    assert json.loads(text(content)) == content


def test_the_number_of_models_is_that_asked_for() -> None:
    todo = plan(1_000_000)
    assert todo["binned"] * binned.CALLS * binned.CALL >= 1_000_000
    assert todo["shapes"] * shapes.MODELS >= 10_000
    assert todo["curves"] * (curves.INTERVALS + curves.PLANES * curves.PLACES) >= 10_000
    assert todo["coverage"] * coverage.TOYS >= 10_000 * len(coverage.CASES)
