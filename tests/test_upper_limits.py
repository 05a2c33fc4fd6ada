"""Upper limits by q-tilde: against pyhf, closed forms, exact counts, and toys against asymptotic formulae."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import jax
import numpy as np
import pyhf
import pytest
from scipy.optimize import brentq
from scipy.special import xlogy
from scipy.stats import norm, poisson

import jcevns as jc
from jcevns.cli import cli, guarded
from jcevns.statistics import toy_runs, upper_toys
from jcevns.statistics.hypothesis import hypothesis
from jcevns.statistics.projections import asimov_significance
from jcevns.statistics.upper import BANDS, Asymptotic, Rule
from jcevns.statistics.upper_toys import ToyTests
from tests import problems

# pyhf 0.7.6 validates with an interface that jsonschema has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")

SPECTRUM = jc.TabulatedSpectrum([0.5, 3.0], [40.0, 0.0])
ONE_SIDED = ("one-sided", "cls", "pcl")
FLAT = (jc.Nuisance("flat", 0.2, ("flat",)), jc.Nuisance("eff", 0.1, ("signal",)))
CL = 0.90


def strength(observed, signal, background, nuisances=()) -> jc.Likelihood:
    """Counts with a signal of the shape given, its parameter a strength bounded at zero."""
    backgrounds = {"flat": list(background)} if np.any(background) else {}
    built = problems.counting("counts", list(observed), list(signal), backgrounds, nuisances, error=None)
    return jc.Likelihood(built, SPECTRUM)


def one_bin(n: float, b: float, nuisances=()) -> tuple[jc.Likelihood, float]:
    """One bin, and the signal events of strength 1."""
    found = strength([n], [6.0], [b], nuisances)
    return found, float(jc.signal(found, {"strength": 1.0})[0])


def limit(likelihood: jc.Likelihood, method: str, **options):
    (found,) = jc.limits(likelihood, options.pop("name", "strength"), method=method, **options)
    return found


# Against pyhf.


@pytest.fixture
def backend() -> Iterator[None]:
    """pyhf's state is global: leave it as it was."""
    before = pyhf.get_backend()
    pyhf.set_backend(
        "numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-7, strategy=2, maxiter=100_000), precision="64b"
    )
    yield
    pyhf.set_backend(*before)


CASES = {
    "counting": (lambda: strength([52], [60.0], [50.0], FLAT), "strength", 1.0),
    "bins": (lambda: strength([52, 31, 18], [6.0, 8.0, 5.0], [50.0, 30.0, 15.0], FLAT), "strength", 1.0),
    "excess": (lambda: strength([70, 40, 22], [6.0, 8.0, 5.0], [50.0, 30.0, 15.0], FLAT), "strength", 1.0),
    "deficit": (lambda: strength([40, 25, 10], [6.0, 8.0, 5.0], [50.0, 30.0, 15.0], FLAT), "strength", 1.0),
    "few": (lambda: strength([1, 0], [20.0, 30.0], [0.7, 1.1], FLAT), "strength", 1.0),
    "flux": (lambda: problems.joint(problems.BOTH), "flux", problems.NOMINAL),
}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("case", CASES)
def test_cls_observed_and_expected_is_that_of_pyhf(case) -> None:
    build, name, unit = CASES[case]
    likelihood = build()
    workspace = pyhf.Workspace(json.loads(json.dumps(jc.to_pyhf(likelihood, {name: unit}))))
    model = workspace.model()
    data = workspace.data(model)
    found = limit(likelihood, "cls", name=name)
    assert found.valid, found.problems
    profiles = Asymptotic(hypothesis(likelihood, name), 0.0, 12.0)
    values = found.upper * np.array([0.3, 1.0, 1.7])
    ours, bands = profiles.p_values(Rule("cls", CL), values)
    alone, _ = profiles.p_values(Rule("one-sided", CL), values)
    for value, p, expected, tail in zip(values, ours, bands, alone, strict=True):
        theirs, tails, band = pyhf.infer.hypotest(
            value / unit, data, model, test_stat="qtilde", return_expected_set=True, return_tail_probs=True
        )
        assert p == pytest.approx(float(theirs), rel=1e-4, abs=1e-6)
        assert tail == pytest.approx(float(tails[0]), rel=1e-4, abs=1e-6)
        np.testing.assert_allclose(expected, [float(b) for b in band], rtol=1e-4, atol=1e-6)
    high = 3 * found.expected[-1] / unit
    upper, band = pyhf.infer.intervals.upper_limits.toms748_scan(data, model, 0.0, high, level=1 - CL, rtol=1e-6)[:2]
    assert found.upper / unit == pytest.approx(float(upper), rel=1e-4)
    np.testing.assert_allclose(np.array(found.expected) / unit, [float(b) for b in band], rtol=1e-4)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("case", CASES)
def test_one_sided_limits_are_those_of_pyhf(case) -> None:
    """Where pyhf's p-value of q-tilde, without the division by that of the background, is 10%."""
    build, name, unit = CASES[case]
    likelihood = build()
    workspace = pyhf.Workspace(jc.to_pyhf(likelihood, {name: unit}))
    model = workspace.model()
    found = limit(likelihood, "one-sided", name=name)
    if found.upper == 0.0:
        assert not found.valid
        return

    def excess(mu: float) -> float:
        _, tails = pyhf.infer.hypotest(mu, workspace.data(model), model, test_stat="qtilde", return_tail_probs=True)
        return float(tails[0]) - (1 - CL)

    guess = found.upper / unit
    assert brentq(excess, 0.5 * guess, 2 * guess, rtol=1e-5) == pytest.approx(guess, rel=1e-3)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("case", CASES)
def test_discovery_is_that_of_pyhf(case) -> None:
    """q0: significance and p-value of the data, and the median if the signal is there."""
    build, name, unit = CASES[case]
    likelihood = build()
    workspace = pyhf.Workspace(jc.to_pyhf(likelihood, {name: unit}))
    model = workspace.model()
    theirs = float(pyhf.infer.hypotest(0.0, workspace.data(model), model, test_stat="q0"))
    found = jc.fit(likelihood, name)
    assert found.p_value == pytest.approx(theirs, rel=1e-3)
    assert found.significance == pytest.approx(norm.isf(theirs), abs=1e-3)
    here = hypothesis(likelihood, name)
    median = asimov_significance(here, np.array([unit]))[0]
    counts = here.expected(here.points([unit]))[0]
    parts = dict(zip(likelihood.names, (counts[slice(*ends)] for ends in likelihood.layout.bins), strict=True))
    main = np.concatenate([parts[channel] for channel in model.config.channels])  # pyhf sorts them
    data = [*main, *workspace.data(model)[len(counts) :]]  # fitted with the signal they are what they are
    _, expected = pyhf.infer.hypotest(0.0, data, model, test_stat="q0", return_expected=True)
    assert median == pytest.approx(norm.isf(float(expected)), abs=1e-3)


def test_a_p_value_is_two_sided_where_no_signal_is_no_bound() -> None:
    signed = jc.Likelihood(problems.built(problems.XENONNT), Signed())
    found = jc.fit(signed, "eps")
    assert found.p_value == pytest.approx(2 * norm.sf(found.significance), rel=1e-9)
    assert jc.fit(problems.joint((problems.XENONNT,)), "sin2w").p_value is None


# Against closed forms.


def q_tilde(n: float, b: float, s: float) -> float:
    """Of one bin with a known background."""
    best = max(n, b)
    if n >= s + b:
        return 0.0
    return 2 * (s + b - best - xlogy(n, (s + b) / best) if n else s + b - best)


def closed_form(n: float, b: float, method: str) -> float:
    """Observed limit in events by eqs. 65-66 of arXiv:1007.1727."""

    def p(s: float) -> float:
        q, a = q_tilde(n, b, s), q_tilde(b, b, s)
        score = math.sqrt(q) if q <= a else (q + a) / (2 * math.sqrt(a))
        return norm.sf(score) / (norm.sf(score - math.sqrt(a)) if method == "cls" else 1.0)

    return brentq(lambda s: p(s) - (1 - CL), 1e-3, 50 + 20 * math.sqrt(n + b), xtol=1e-12)


@pytest.mark.parametrize(("n", "b"), [(9, 5.0), (5, 5.0), (3, 5.0), (0, 0.5), (1020, 1000.0)])
def test_one_bin_in_closed_form(n, b) -> None:
    likelihood, unit = one_bin(n, b)
    for method in ("one-sided", "cls"):
        found = limit(likelihood, method)
        assert found.valid
        assert found.upper * unit == pytest.approx(closed_form(n, b, method), rel=1e-7)
        for sigma, expected in zip(BANDS, found.expected, strict=True):
            part = norm.cdf(sigma) if method == "cls" else 1.0
            score = sigma + norm.isf((1 - CL) * part)
            root = brentq(lambda s, z=score: math.sqrt(q_tilde(b, b, s)) - z, 0, 1e3) if score > 0 else 0.0
            assert expected * unit == pytest.approx(root, rel=1e-7)
    constrained = limit(likelihood, "pcl")
    one_sided = limit(likelihood, "one-sided")
    assert constrained.upper == pytest.approx(max(one_sided.upper, one_sided.expected[1]), rel=1e-9)
    assert constrained.expected[0] == pytest.approx(one_sided.expected[1], rel=1e-9)
    assert constrained.expected[2:] == pytest.approx(one_sided.expected[2:])
    median = limit(likelihood, "pcl", power=0.5)
    assert median.upper == pytest.approx(max(one_sided.upper, one_sided.expected[2]), rel=1e-9)


@pytest.mark.parametrize("pull", [-2.0, -0.5, 0.0, 1.5])
def test_gaussian_limits(pull) -> None:
    """1e10 events: the best fit plus 1.2816 sigma, where it is not below the bound; CLs from two normal tails."""
    b = 1e10
    sigma = math.sqrt(b)
    likelihood, unit = one_bin(b + pull * sigma, b)
    found = limit(likelihood, "one-sided")
    if pull > -norm.isf(1 - CL):
        assert found.upper * unit / sigma == pytest.approx(pull + 1.2815516, abs=2e-4)
    else:
        assert found.upper == 0.0
        assert "every value of strength is excluded" in found.problems[0]
        assert "method='cls' or 'pcl'" in found.problems[0]
    cls = brentq(lambda x: norm.cdf(pull - x) / norm.cdf(pull) - (1 - CL), 0, 10)
    assert limit(likelihood, "cls").upper * unit / sigma == pytest.approx(cls, abs=2e-4)
    power = norm.isf(1 - CL) - 1.0
    assert limit(likelihood, "pcl").upper * unit / sigma == pytest.approx(max(power, pull + 1.2815516), abs=2e-4)
    two = limit(likelihood, "two-sided", expected=True)
    # A best fit below the bound is held there.
    root = math.sqrt(2.70554)
    held = [math.sqrt(z**2 + root**2) + z if z < 0 else z + root for z in BANDS]
    np.testing.assert_allclose(np.array(two.expected) * unit / sigma, held, atol=2e-4)


def test_a_limit_does_not_depend_on_how_the_signal_is_written() -> None:
    """A coupling whose square is the strength."""

    class Squared(jc.Interaction):
        g: jax.Array = jc.parameter(1.0, lower=0.0, null=0.0)

        def weights(self):
            return self.g[None] ** 2

        def terms(self, recoil, particle, flavour):
            model = jc.StandardModel()
            return jax.numpy.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)[None]

    built = problems.counting("c", [8, 3], [5.0, 3.0], {"flat": [6.0, 4.0]}, FLAT, error=None)
    flux, coupling = jc.Likelihood(built), jc.Likelihood(built, Squared())
    for method in ONE_SIDED:
        one, other = limit(flux, method, name="flux"), limit(coupling, method, name="g")
        assert (other.upper**2) == pytest.approx(one.upper / problems.NOMINAL, rel=1e-6)
        np.testing.assert_allclose(
            np.array(other.expected) ** 2, np.array(one.expected) / problems.NOMINAL, rtol=1e-6
        )


# By toys.


@pytest.mark.parametrize(("n", "b"), [(0, 0.0), (0, 3.0), (2, 3.0), (5, 3.0)])
def test_p_values_of_toys_are_sums_of_poisson_probabilities(n, b) -> None:
    likelihood, unit = one_bin(n, b)
    for method in ("one-sided", "cls"):
        tests = ToyTests(hypothesis(likelihood, "strength"), Rule(method, CL), 4000, 3)
        for events in (1.0, 2.5, 6.0):
            found = tests.test(events / unit)
            exact = poisson.cdf(n, events + b) / (poisson.cdf(n, b) if method == "cls" else 1.0)
            if n >= events + b:  # the best fit is above: q-tilde is zero, in all toys above too
                exact = 1.0
            assert found.p[0] == pytest.approx(exact, abs=4 * found.error[0])


def test_nothing_seen_and_nothing_expected_is_2_303_events() -> None:
    likelihood, unit = one_bin(0, 0.0)
    for method in ONE_SIDED:
        found = limit(likelihood, method, toys=5000)
        assert found.valid
        assert found.upper * unit == pytest.approx(math.log(10), abs=4 * found.error * unit)
        assert found.error * unit == pytest.approx(math.sqrt(0.9 * 0.1 / 5000) / 0.1, rel=0.3)
        np.testing.assert_allclose(found.expected, found.upper)  # without events there is one result
        assert found.threshold == pytest.approx(2 * found.upper * unit, rel=1e-3)


def test_a_nuisance_that_acts_on_nothing_changes_nothing() -> None:
    """A flux that the signal does not come from: its bound stood at its default, where toys are pulled below it."""
    plain, unit = one_bin(2, 3.0)
    built = problems.counting("counts", [2], [6.0], {"flat": [3.0]}, (), error=0.12)
    beside = jc.Likelihood(built, SPECTRUM)
    assert beside.nuisances == ("flux.b8",)
    for method in ONE_SIDED:
        found = limit(beside, method, toys=1000)
        assert found.upper == pytest.approx(limit(plain, method, toys=1000).upper, rel=1e-6)
        assert limit(beside, method).upper == pytest.approx(limit(plain, method).upper, rel=1e-9)
    thrown = jc.throw(beside, "strength", value=2.0 / unit, count=500, seed=2)
    same = jc.throw(plain, "strength", value=2.0 / unit, count=500, seed=2)
    np.testing.assert_allclose(thrown.q, same.q, atol=1e-7)


def test_coverage_of_one_sided_toys_at_low_counts() -> None:
    """Every count up to 12 on a background of 3: coverage is the sum of what holds the truth, 90% or more."""
    b, counts = 3.0, np.arange(13)
    ends, errors = [], []
    for n in counts:
        likelihood, unit = one_bin(int(n), b)
        found = limit(likelihood, "one-sided", toys=1000, seed=int(n) + 1)
        ends.append(found.upper * unit)
        errors.append(0.0 if found.error is None else found.error * unit)
        if n:  # none seen excludes everything: 3 events make no count more than 5% likely
            exact = brentq(lambda s, n=n: poisson.cdf(n, s + b) - (1 - CL), -b, 50)
            assert ends[-1] == pytest.approx(max(exact, 0.0), abs=4 * errors[-1] + 1e-9), n
        else:
            assert found.upper == 0.0
            assert not found.valid
    for truth in (0.2, 1.0, 2.5, 4.0, 5.5):
        held = np.array(ends) + 3 * np.array(errors) >= truth
        outside = np.sum(poisson.pmf(counts, truth + b)[~held])
        assert 1 - outside >= CL, truth


@pytest.mark.parametrize("method", ONE_SIDED)
def test_toys_and_formulae_agree_at_large_counts(method) -> None:
    likelihood = strength([420, 310], [60.0, 30.0], [400.0, 300.0], (jc.Nuisance("flat", 0.05, ("flat",)),))
    formula, toys = limit(likelihood, method), limit(likelihood, method, toys=5000)
    assert toys.valid
    assert (toys.toys, toys.invalid) == (5000, 0)
    assert toys.upper == pytest.approx(formula.upper, abs=4 * toys.error)
    assert toys.error < 0.03 * toys.upper
    np.testing.assert_allclose(toys.expected, formula.expected, atol=0.1 * formula.expected[2])
    assert toys == limit(likelihood, method, toys=5000)  # the same seed


def test_toys_of_the_whole_likelihood() -> None:
    """The flux with all nuisances of XENONnT."""
    for method in ONE_SIDED:
        found = limit(problems.joint((problems.XENONNT,)), method, name="flux", toys=1000)
        formula = limit(problems.joint((problems.XENONNT,)), method, name="flux")
        assert found.valid, found.problems
        assert found.upper == pytest.approx(formula.upper, rel=0.1)
        assert found.best_fit == pytest.approx(formula.best_fit, rel=1e-4)
        assert found.expected == tuple(sorted(found.expected))


def test_toys_that_are_lost_are_counted(monkeypatch) -> None:
    run = upper_toys.run_toys

    def lossy(count):
        def found(*arguments):
            toys = run(*arguments)
            toys.valid[:count] = False
            return toys

        return found

    likelihood, _ = one_bin(5, 3.0)
    monkeypatch.setattr(upper_toys, "run_toys", lossy(1))
    assert limit(likelihood, "cls", toys=1000).invalid > 3
    monkeypatch.setattr(upper_toys, "run_toys", lossy(3))
    with pytest.raises(RuntimeError, match=r"3 of 1000 toys at strength = .* have no valid fit"):
        limit(likelihood, "cls", toys=1000)


def test_a_stopped_limit_goes_on_from_its_store(monkeypatch, tmp_path) -> None:
    likelihood, _ = one_bin(5, 3.0)
    whole = limit(likelihood, "cls", toys=1000)
    tests, fit = [], toy_runs.fit_toys

    def stopped(*arguments):
        tests.append(arguments[1])
        if len(tests) == 4:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(toy_runs, "fit_toys", stopped)
    with pytest.raises(KeyboardInterrupt):
        limit(likelihood, "cls", toys=1000, store=tmp_path / "toys")
    first = tests[:3]
    assert limit(likelihood, "cls", toys=1000, store=tmp_path / "toys") == whole
    assert not set(first) & set(tests[4:])  # what was finished is not done again


# What is refused, and what is said.


class Signed(jc.Interaction):
    """The Standard Model and a shift of either sign."""

    eps: jax.Array = jc.parameter(0.0, lower=-1.0, upper=1.0, null=0.0)

    def weights(self):
        return (1 + self.eps[None]) ** 2

    def terms(self, recoil, particle, flavour):
        model = jc.StandardModel()
        return jax.numpy.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)[None]


@pytest.mark.parametrize("method", ONE_SIDED)
def test_parameters_without_a_natural_null_are_refused(method) -> None:
    with pytest.raises(ValueError, match=r"'sin2w' has none: quote method='two-sided'"):
        limit(problems.joint((problems.XENONNT,)), method, name="sin2w")
    signed = jc.Likelihood(problems.built(problems.XENONNT), Signed())
    with pytest.raises(ValueError, match=r"'eps' starts at -1, and has no signal at 0: quote method='two-sided'"):
        limit(signed, method, name="eps")
    with pytest.raises(ValueError, match=r"an expected limit needs a parameter that is bounded below"):
        limit(signed, "two-sided", name="eps", expected=True)


@pytest.mark.parametrize("toys", [None, 200])
def test_an_island_has_no_upper_limit(toys) -> None:
    found = jc.limits(
        jc.Likelihood(problems.built(problems.XENONNT), "vector"),
        "coupling",
        over={"mass": [10.0, 100.0]},
        method="cls",
        toys=toys,
    )
    assert [one.at["mass"] for one in found] == [10.0, 100.0]
    for one in found:
        assert not one.valid
        assert (one.upper, one.excluded, one.expected) == (None, (), ())
        assert "accepted in several ranges" in one.problems[0]
        assert "method='two-sided', which gives all of them" in one.problems[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "clz"}, "choose two-sided, one-sided, cls, pcl, feldman-cousins"),
        ({"method": "cls", "dof": 2}, "leave dof, minimum"),
        ({"method": "cls", "minimum": "all"}, "leave dof, minimum"),
        ({"method": "cls", "expected": True}, "expected ones anyway"),
        ({"method": "cls", "power": 0.5}, "power belongs to method='pcl'"),
        ({"method": "pcl", "power": 1.0}, r"power 1.0 is outside \(0, 1\)"),
        ({"method": "cls", "cl": 0.4}, "needs more than 0.5"),
        ({"method": "cls", "cl": 90.0}, r"outside \(0, 1\)"),
        ({"method": "two-sided", "toys": 100}, "not two-sided"),
        ({"method": "cls", "toys": 99}, "ask for 100 or more"),
        ({"method": "cls", "toys": 200, "seed": -1}, "seed -1"),
        ({"method": "cls", "store": "x"}, "store keeps toys"),
    ],
)
def test_bad_options(options, message) -> None:
    likelihood, _ = one_bin(3, 3.0)
    with pytest.raises(ValueError, match=message):
        limit(likelihood, **options)


@pytest.mark.parametrize("toys", [None, 500])
def test_a_limit_beyond_the_range_is_said(toys) -> None:
    likelihood, unit = one_bin(9, 3.0)
    tight = problems.bounded(likelihood, "strength", upper=6.0 / unit, default=0.1)
    for method in ONE_SIDED:
        found = limit(tight, method, toys=toys)
        assert (found.upper, found.excluded, found.segments) == (None, (), ((None, None),))
        assert any("limit on strength is beyond" in problem for problem in found.problems)
        assert math.isinf(found.expected[-1])
        assert math.isfinite(found.expected[2])


def test_expected_two_sided_limits_are_those_of_toys() -> None:
    likelihood = strength([420, 310], [60.0, 30.0], [400.0, 300.0], (jc.Nuisance("flat", 0.05, ("flat",)),))
    nominal = strength([400, 300], [60.0, 30.0], [400.0, 300.0], (jc.Nuisance("flat", 0.05, ("flat",)),))
    found = limit(nominal, "two-sided", expected=True)
    toys = jc.expected_limit(likelihood, "strength", toys=4000)
    assert found.expected[2] == pytest.approx(toys.asimov, rel=1e-6)
    np.testing.assert_allclose(found.expected, toys.bands, atol=0.1 * toys.asimov)


def test_several_places_are_single_limits() -> None:
    likelihood = jc.Likelihood(problems.built(problems.XENONNT), "scalar")
    found = jc.limits(likelihood, "coupling", over={"mass": [1.0, 100.0], "sin2w": [0.23]}, method="cls")
    for one in found:
        (alone,) = jc.limits(likelihood, "coupling", at=one.at, method="cls")
        assert one.upper == pytest.approx(alone.upper, rel=1e-6)
        assert one.expected == pytest.approx(alone.expected, rel=1e-6)
    (free,) = jc.limits(likelihood, "coupling", at={"mass": 1.0}, method="cls", profiled="sin2w")
    assert free.valid
    assert free.upper > found[0].upper


# On the command line.


def call(capsys, *words: str) -> tuple[int, str, str]:
    code = guarded(lambda: cli(list(words), standalone_mode=False))
    return (code, *capsys.readouterr())


def test_command(capsys, tmp_path) -> None:
    start = ("limit", "scalar", "--mass", "10", "--experiments", "xenonnt-2024-s2")
    (alone,) = json.loads(call(capsys, *start, "--json")[1])
    assert alone["method"] == "two-sided"
    assert "expected" not in alone
    (both,) = json.loads(call(capsys, *start, "--expected", "--json")[1])
    assert both["excluded"] == alone["excluded"]
    assert len(both["expected"]) == 5
    likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
    for method in ONE_SIDED:
        (row,) = json.loads(call(capsys, *start, "--method", method, "--json")[1])
        (found,) = jc.limits(likelihood, "coupling", at={"mass": 10.0}, method=method)
        assert row["method"] == method
        assert row["excluded"][0] == [pytest.approx(found.upper, rel=1e-9), None]
        assert row["expected"] == pytest.approx(found.expected, rel=1e-9)
        code, text, _ = call(capsys, *start, "--method", method)
        assert code == 0
        assert "upper limit, asymptotic" in text
        assert f"expected {found.expected[0]:.4g} " in text
    toys = ("--method", "cls", "--toys", "200", "--seed", "2", "--store", str(tmp_path / "toys"))
    (row,) = json.loads(call(capsys, *start, *toys, "--json")[1])
    assert (row["toys"], row["invalid_toys"]) == (200, 0)
    assert row["error"] > 0
    text = call(capsys, *start, *toys)[1]  # the same toys, read
    assert "CLs upper limit, 200 toys per value, with signal and without" in text
    assert "from the number of toys" in text


def test_command_with_a_spectrum(capsys, tmp_path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("recoil_keV,events_per_tonne_year_keV\n0.5,40\n3.0,0\n", encoding="utf-8")
    start = ("limit", "strength", "--spectrum", str(file), "--experiments", "xenonnt-2024-s2", "--method", "cls")
    code, out, err = call(capsys, *start, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["method"], len(found["expected"])) == ("cls", 5)
    assert "(CLs upper limit, asymptotic)" in call(capsys, *start)[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "clz"), "unknown method 'clz'"),
        (("--toys", "100"), "--toys is not used here: thresholds by toys are --method feldman-cousins"),
        (("--method", "cls", "--seed", "2"), "--seed is not used here: it belongs to --toys"),
        (("--method", "cls", "--store", "x"), "--store is not used here: it belongs to --toys"),
        (("--method", "cls", "--power", "0.5"), "--power is not used here"),
        (("--method", "cls", "--expected"), "--expected is not used here"),
        (("--method", "pcl", "--dof", "2"), "--dof is not used here"),
        (("--method", "pcl", "--minimum", "all"), "--minimum is not used here"),
    ],
)
def test_command_refuses_what_it_does_not_use(capsys, words, message) -> None:
    start = ("limit", "scalar", "--mass", "10", "--experiments", "xenonnt-2024-s2")
    code, out, err = call(capsys, *start, *words)
    assert (code, out) == (2, "")
    assert message in err


def test_command_says_what_is_not_valid(capsys) -> None:
    start = ("limit", "vector", "--mass", "10", "--experiments", "xenonnt-2024-s2", "--method", "cls")
    code, text, _ = call(capsys, *start)
    assert code == 1
    assert "NOT VALID: coupling is accepted in several ranges" in text
