"""XENONnT's own likelihood: published numbers, templates, and an independent fit from the raw arrays."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.datasets import read_arrays
from tests import problems
from tests import reference_official as ref

FLUX = 5.46e6
SM_FLUX = {
    # (experiment, options): flux, errors up and down in 1e6 cm^-2 s^-1, significance
    ("xenonnt-2024", "released"): (4.65, 3.70, 2.26, 2.67),
    ("xenonnt-2024", "bahcall1996"): (4.61, 3.65, 2.24, 2.65),
    ("xenonnt-2024", "winter2006"): (4.41, None, None, 2.64),
    ("xenonnt-2026", "bahcall1996"): (5.22, 3.67, 2.22, 3.31),
    ("xenonnt-2026", "winter2006"): (5.00, 3.51, 2.12, 3.31),
}


@cache
def built(name: str, option: str = "bahcall1996") -> jc.Experiment:
    return jc.experiment(name, **({"template": option} if option == "released" else {"shape": option}))


@cache
def likelihood(name: str, flux_pull: bool = True, with_pandax: bool = False) -> jc.Likelihood:
    return jc.Likelihood([built(name), *([problems.built("pandax")] if with_pandax else [])], flux_pull)


@cache
def measured(name: str, option: str) -> jc.Estimate:
    return jc.measure("flux", built(name, option))


def numbers(result: jc.Estimate) -> tuple[float, float, float, float]:
    best, interval = result.best_fit, result.interval_68
    assert result.valid
    return best / 1e6, (interval.upper - best) / 1e6, (best - interval.lower) / 1e6, result.significance


@pytest.mark.parametrize("name", ref.CARD)
def test_flux(name) -> None:
    for (experiment, option), wanted in SM_FLUX.items():
        if experiment != name:
            continue
        for found, expected in zip(numbers(measured(name, option)), wanted, strict=True):
            if expected is not None:
                assert found == pytest.approx(expected, rel=0.02), option
    if name == "xenonnt-2024":  # XENONnT's framework alea on the released templates
        assert numbers(measured(name, "released")) == pytest.approx((4.69, 3.67, 2.28, 2.67), rel=0.03)


# Templates -----------------------------------------------------------------------------------------------------


def test_folding_reproduces_the_released_signal() -> None:
    released = ref.released_signal(FLUX)
    folded = np.asarray(jc.signal_counts(built("xenonnt-2024"), jc.Theory()))

    def compare(anchors: tuple, total: float, shape: float) -> None:
        ours, theirs = (x[anchors].reshape(-1, 2, 81) for x in (folded, released))
        np.testing.assert_allclose(ours.sum((1, 2)), theirs.sum((1, 2)), rtol=total)
        a, b = (x / x.sum(-1, keepdims=True) for x in (ours, theirs))
        assert np.max(np.abs(a - b).sum(-1)) / 2 < shape

    compare((3, 3), 0.01, 0.01)
    np.testing.assert_allclose(*(x[3, 3].reshape(2, 81).sum(1) for x in (folded, released)), rtol=0.025)
    compare((slice(None), slice(None)), 0.04, 0.013)


def test_released_option_is_the_released_template() -> None:
    signal = jc.signal_counts(built("xenonnt-2024", "released"), jc.Theory(b8_flux=jnp.asarray(ref.TEMPLATE_FLUX)))
    np.testing.assert_allclose(signal, ref.released_signal(ref.TEMPLATE_FLUX), rtol=1e-12)


@pytest.mark.parametrize("name", ref.CARD)
def test_backgrounds_and_data_are_the_raw_arrays(name) -> None:
    pack, found = read_arrays(ref.CARD[name]), built(name)
    np.testing.assert_array_equal(found.observed, pack["observed"].ravel())
    np.testing.assert_allclose(found.backgrounds["neutron"], ref.side_by_side(pack["neutron"], pack), rtol=1e-12)
    np.testing.assert_allclose(
        found.backgrounds["electronic"], ref.side_by_side(pack["electronic"], pack), rtol=1e-12
    )
    accidental = sum(np.asarray(v) for k, v in found.backgrounds.items() if k.startswith("accidental"))
    np.testing.assert_allclose(accidental, ref.side_by_side(pack["accidental"], pack), rtol=1e-12)


@pytest.mark.parametrize("name", ref.CARD)
def test_quadrature_of_the_folding(name) -> None:
    exact = ref.fold(name, rate(jc.Theory()), order=8)
    np.testing.assert_allclose(jc.signal_counts(built(name), jc.Theory()), exact, rtol=1e-5)


# The independent fit -------------------------------------------------------------------------------------------


def rate(theory: jc.Theory):
    return lambda T: np.asarray(jc.recoil_spectrum(theory, jc.b8(), jc.xenon(), jnp.asarray(T)))


def flux(value: float) -> jc.Theory:
    return jc.Theory(b8_flux=jnp.asarray(value))


def sin2w(value: float) -> jc.Theory:
    return jc.Theory(jc.StandardModel(jnp.asarray(value)))


@dataclasses.dataclass(frozen=True)
class Case:
    """A fit, and where its minimum is known to sit: pulls by the end of their name."""

    name: str
    theory: jc.Theory
    flux_pull: bool = True
    with_pandax: bool = False
    toy: int | None = None  # data drawn at the nominal point, so that the minimum sits on a kink
    at: tuple[tuple[str, float], ...] = ()


CASES = {
    "sm": Case("xenonnt-2024", flux(FLUX)),
    "flux-zero": Case("xenonnt-2024", flux(0.0)),
    "flux-1e7": Case("xenonnt-2024", flux(1e7)),
    "sin2w-0.1": Case("xenonnt-2024", sin2w(0.1)),
    "sin2w-0.6": Case("xenonnt-2024", sin2w(0.6)),
    "efficiency-at-half": Case("xenonnt-2024", flux(3e7), at=(("efficiency", -0.5),)),
    "t-at-both-ends": Case("xenonnt-2024", flux(2e8), at=(("efficiency", -0.5), ("t_ly", -3.0), ("t_qy", -3.0))),
    "end-and-kink": Case("xenonnt-2024", flux(1e8), at=(("efficiency", -0.5), ("t_ly", -3.0), ("t_qy", -2.0))),
    "pull-off": Case("xenonnt-2024", flux(FLUX), flux_pull=False),
    "kink-t_qy": Case("xenonnt-2024", flux(23713737.0), flux_pull=False, at=(("efficiency", -0.5), ("t_qy", -1.0))),
    "kink-t_ly-toy": Case("xenonnt-2024", flux(FLUX), toy=55, at=(("t_ly", 0.0),)),
    "kink-t_qy-toy": Case("xenonnt-2024", flux(FLUX), toy=12, at=(("t_qy", 0.0),)),
    "two-kinks-toy": Case("xenonnt-2024", flux(FLUX), toy=495, at=(("t_ly", 0.0), ("t_qy", 0.0))),
    "2026": Case("xenonnt-2026", flux(FLUX)),
    "2026-kink": Case("xenonnt-2026", flux(4216965.0), at=(("t_qy", 0.0),)),
    "2026-kink-and-end": Case("xenonnt-2026", flux(31622776.6), at=(("efficiency", -0.5), ("t_qy", -1.0))),
    "with-pandax": Case("xenonnt-2024", flux(FLUX), with_pandax=True),
    "with-pandax-flux-3e7": Case("xenonnt-2024", flux(3e7), with_pandax=True),
}


def agrees(fit: jc.Fit, names: tuple[str, ...], minimum: ref.Minimum) -> None:
    assert bool(fit.valid)
    assert float(fit.chi2) == pytest.approx(minimum.chi2, abs=1e-6)
    assert set(names) == set(minimum.pulls)
    np.testing.assert_allclose(fit.pulls, [minimum.pulls[n] for n in names], rtol=0, atol=1e-3)


GROUPS = {
    "2024": ("xenonnt-2024", True, False),
    "2024 pull off": ("xenonnt-2024", False, False),
    "2026": ("xenonnt-2026", True, False),
    "2024 with pandax": ("xenonnt-2024", True, True),
}


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_same_minimum_as_the_independent_fit(group) -> None:
    """All cases of one likelihood together: compiling it takes longer than the fits."""
    cases = [c for c in CASES.values() if (c.name, c.flux_pull, c.with_pandax) == group]
    assert len(cases) > 1
    for case in cases:
        compare(case)


def compare(case: Case) -> None:
    here, observed = likelihood(case.name, case.flux_pull, case.with_pandax), None
    signal = ref.fold(case.name, rate(case.theory))
    others = []
    if case.with_pandax:
        others = [(problems.built("pandax"), np.asarray(jc.signal_counts(problems.built("pandax"), case.theory)))]
    if case.toy is not None:
        nominal = ref.Official(case.name, signal)
        observed = np.random.default_rng(case.toy).poisson(nominal.expected(nominal.nominal)).astype(float)
        here = jc.Likelihood(dataclasses.replace(built(case.name), observed=observed), case.flux_pull)
    minimum = ref.Official(case.name, signal, case.flux_pull, others, observed).minimum()
    fit = jc.profile(here, case.theory)
    agrees(fit, here.nuisances, minimum)
    pulls = dict(zip(here.nuisances, np.asarray(fit.pulls), strict=True))
    for label, value in case.at:  # exactly there: the case tests what it says
        assert pulls[f"{case.name}.{label}"] == pytest.approx(value, abs=1e-12), label


def test_factor_at_zero() -> None:
    """No count anywhere and a wide background: its factor stops at 0."""
    name, label, empty = "xenonnt-2024", "xenonnt-2024.electronic", np.zeros(162)
    nuisances = tuple(
        dataclasses.replace(n, sigma=2.0) if n.name == "electronic" else n for n in built(name).nuisances
    )
    here = jc.Likelihood(dataclasses.replace(built(name), observed=empty, nuisances=nuisances))
    fit = jc.profile(here, jc.Theory())
    signal = ref.fold(name, rate(jc.Theory()))
    agrees(fit, here.nuisances, ref.Official(name, signal, observed=empty, widths={label: 2.0}).minimum())
    pulls = dict(zip(here.nuisances, np.asarray(fit.pulls), strict=True))
    assert pulls[label] == -1.0
    assert pulls[f"{name}.efficiency"] == pytest.approx(-0.5, abs=1e-12)


LOCAL = {
    "flux factor at zero or nuisances at their ends": (flux(3.1622776601683795e8), None),
    "beyond a concave kink": (flux(5.623413251903491e8), None),
    "no data, all on the flux pull": (flux(5e7), np.zeros(162)),
}


@pytest.mark.parametrize("case", LOCAL.values(), ids=LOCAL)
def test_lowest_of_several_minima(case) -> None:
    theory, observed = case
    here, signal = likelihood("xenonnt-2024"), ref.fold("xenonnt-2024", rate(theory))
    if observed is not None:
        here = jc.Likelihood(dataclasses.replace(built("xenonnt-2024"), observed=observed))
    minimum = ref.Official("xenonnt-2024", signal, observed=observed).minimum()
    assert float(jc.profile(here, theory).chi2) == pytest.approx(minimum.chi2, abs=1e-6)


# Limits and scans ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scalar", "vector"])
def test_limits_end_on_the_threshold(name) -> None:
    here = likelihood("xenonnt-2024")
    (limit,) = jc.limits(here, name, [10.0])

    def chi2(coupling: float) -> float:
        fit = jc.profile(here, jc.interaction(name, 10.0, coupling))
        assert bool(fit.valid)
        return float(fit.chi2)

    assert limit.valid
    assert chi2(limit.best_fit) == pytest.approx(limit.chi2_min, abs=1e-8)
    assert limit.excluded
    level = limit.chi2_min + limit.threshold
    for interval in limit.excluded:
        for end, inwards in zip(interval, (1, -1), strict=True):
            if end is not None:
                assert chi2(end) == pytest.approx(level, abs=1e-6)
                assert chi2(end * (1 + 1e-4 * inwards)) > level > chi2(end * (1 - 1e-4 * inwards))


def test_scan_agrees_with_single_fits() -> None:
    here = likelihood("xenonnt-2024")
    masses, couplings = [1.0, 30.0], [0.0, 3e-6, 1e-5, 2.1e-5]
    found = jc.scan(here, jc.grid("scalar", mass=masses, coupling=couplings), progress=False)
    assert bool(found.valid.all())
    for i, mass in enumerate(masses):
        for j, coupling in enumerate(couplings):
            fit = jc.profile(here, jc.interaction("scalar", mass, coupling))
            assert float(found.chi2[i, j]) == pytest.approx(float(fit.chi2), abs=1e-8)
            np.testing.assert_allclose(found.pulls[:, i, j], fit.pulls, rtol=0, atol=1e-6)  # stored in float32


def test_scan_of_a_parameter_that_does_not_factor_out() -> None:
    here = likelihood("xenonnt-2024")
    values = [0.1, 0.23857, 0.4]
    found = jc.scan(here, jc.grid(jc.StandardModel, sin2w=values), progress=False)
    single = [float(jc.profile(here, sin2w(v)).chi2) for v in values]
    np.testing.assert_allclose(found.chi2, single, rtol=0, atol=1e-8)


# Options and labels --------------------------------------------------------------------------------------------


def test_assumptions_of_2026_are_labelled_and_can_be_changed() -> None:
    def widths(experiment: jc.Experiment) -> dict[str, float]:
        return {n.name: n.sigma for n in experiment.nuisances}

    usual, other = built("xenonnt-2026"), jc.experiment("xenonnt-2026", accidental_sr2=0.11, efficiency=0.3)
    assert (widths(usual)["accidental_sr2"], widths(usual)["efficiency"]) == (0.05, 0.25)
    assert (widths(other)["accidental_sr2"], widths(other)["efficiency"]) == (0.11, 0.3)
    assert widths(usual)["accidental_sr1"] == widths(other)["accidental_sr1"] == 0.0576
    for experiment, shown in ((usual, ("5.0%", "25%")), (other, ("11.0%", "30%"))):
        (assumed,) = [note for note in experiment.notes if "ASSUMED" in note]
        assert all(text in assumed for text in shown)
    assert not any("ASSUMED" in note for note in built("xenonnt-2024").notes)


def test_nuisances() -> None:
    widths = {n.name: (n.sigma, n.bounds) for n in built("xenonnt-2024").nuisances}
    free = (0.0, np.inf)
    assert widths == {
        "b8_flux": (0.12, free),
        "efficiency": (0.25, (0.5, 1.5)),
        "accidental_sr0": (0.0904, free),
        "accidental_sr1": (0.0576, free),
        "neutron": (0.58, free),
        "electronic": (1.0, free),
    }
    assert [(s.name, s.anchors) for s in built("xenonnt-2024").shapes] == [
        (name, (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)) for name in ("t_ly", "t_qy")
    ]


def test_unknown_template() -> None:
    with pytest.raises(ValueError, match=r"unknown template 'folde'.*folded, released"):
        jc.experiment("xenonnt-2024", template="folde")


def test_both_releases_together_are_refused() -> None:
    with pytest.raises(ValueError, match="xenonnt-2024 and xenonnt-2026 hold the same events"):
        jc.Likelihood([built("xenonnt-2024"), built("xenonnt-2026")])


def test_two_experiments_with_shape_nuisances_together() -> None:
    """With nothing in common, chi2 of both is the sum, and the pulls are those of each."""
    apart = [
        dataclasses.replace(
            e, runs=(e.name,), nuisances=tuple(dataclasses.replace(n, shared=False) for n in e.nuisances)
        )
        for e in (built("xenonnt-2024"), built("xenonnt-2026"))
    ]
    theory = jc.Theory(jc.StandardModel(0.3))
    both = jc.profile(jc.Likelihood(apart), theory)
    single = [jc.profile(jc.Likelihood(e), theory) for e in apart]
    assert both.valid
    assert float(both.chi2) == pytest.approx(sum(float(f.chi2) for f in single), rel=1e-9)
    names = [n for e in apart for n in jc.Likelihood(e).nuisances]
    pulls = dict(zip(names, np.concatenate([f.pulls for f in single]), strict=True))
    found = dict(zip(jc.Likelihood(apart).nuisances, both.pulls, strict=True))
    for name, pull in pulls.items():
        assert float(found[name]) == pytest.approx(pull, abs=1e-5), name
