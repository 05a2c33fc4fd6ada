"""XENONnT's own likelihood: published numbers, templates, and an independent fit from the raw arrays."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.datasets import read_arrays
from jcevns.fit.result import Fit
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import arranged
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
def likelihood(name: str, with_pandax: bool = False) -> jc.Likelihood:
    return jc.Likelihood([built(name), *([problems.built("pandax")] if with_pandax else [])])


@cache
def measured(name: str, option: str) -> Fit:
    return jc.fit(built(name, option), "flux")


def numbers(result: Fit) -> tuple[float, float, float, float]:
    best, (down, up) = result.values[problems.FLUX], result.errors[problems.FLUX]
    assert result.valid
    return best / 1e6, up / 1e6, down / 1e6, result.significance


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
    folded = np.asarray(jc.signal_counts(built("xenonnt-2024"), jc.StandardModel()))

    def compare(anchors: tuple, total: float, shape: float) -> None:
        ours, theirs = (x[anchors].reshape(-1, 2, 81) for x in (folded, released))
        np.testing.assert_allclose(ours.sum((1, 2)), theirs.sum((1, 2)), rtol=total)
        a, b = (x / x.sum(-1, keepdims=True) for x in (ours, theirs))
        assert np.max(np.abs(a - b).sum(-1)) / 2 < shape

    compare((3, 3), 0.01, 0.01)
    np.testing.assert_allclose(*(x[3, 3].reshape(2, 81).sum(1) for x in (folded, released)), rtol=0.025)
    compare((slice(None), slice(None)), 0.04, 0.013)


def test_released_option_is_the_released_template() -> None:
    here = jc.Likelihood(built("xenonnt-2024", "released"))
    signal = jc.signal(here, {"flux": ref.TEMPLATE_FLUX}).reshape(7, 7, -1)
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
    exact = ref.fold(name, rate(jc.StandardModel()), order=8)
    np.testing.assert_allclose(jc.signal_counts(built(name), jc.StandardModel()), exact, rtol=1e-5)


# The independent fit -------------------------------------------------------------------------------------------


def rate(theory: jc.Interaction, factor: float = 1.0):
    return lambda T: (
        factor * np.asarray(jc.physics.recoil_spectrum(theory, jc.physics.b8(), jc.physics.xenon(), jnp.asarray(T)))
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A fit, and where its minimum is known to sit: pulls by the end of their name."""

    name: str
    flux: float = FLUX  # of the signal; the constraint is around the same
    sin2w: float = 0.23857
    free: bool = True  # whether the flux is a nuisance
    with_pandax: bool = False
    toy: int | None = None  # data drawn at the nominal point, so that the minimum sits on a kink
    at: tuple[tuple[str, float], ...] = ()


CASES = {
    "sm": Case("xenonnt-2024"),
    "flux-zero": Case("xenonnt-2024", 0.0),
    "flux-1e7": Case("xenonnt-2024", 1e7),
    "sin2w-0.1": Case("xenonnt-2024", sin2w=0.1),
    "sin2w-0.6": Case("xenonnt-2024", sin2w=0.6),
    "efficiency-at-half": Case("xenonnt-2024", 3e7, at=(("efficiency", -0.5),)),
    "t-at-both-ends": Case("xenonnt-2024", 2e8, at=(("efficiency", -0.5), ("t_ly", -3.0), ("t_qy", -3.0))),
    "end-and-kink": Case("xenonnt-2024", 1e8, at=(("efficiency", -0.5), ("t_ly", -3.0), ("t_qy", -2.0))),
    "flux-fixed": Case("xenonnt-2024", free=False),
    "kink-t_qy": Case("xenonnt-2024", 23713737.0, free=False, at=(("efficiency", -0.5), ("t_qy", -1.0))),
    "kink-t_ly-toy": Case("xenonnt-2024", toy=55, at=(("t_ly", 0.0),)),
    "kink-t_qy-toy": Case("xenonnt-2024", toy=12, at=(("t_qy", 0.0),)),
    "two-kinks-toy": Case("xenonnt-2024", toy=495, at=(("t_ly", 0.0), ("t_qy", 0.0))),
    "2026": Case("xenonnt-2026"),
    "2026-kink": Case("xenonnt-2026", 4216965.0, at=(("t_qy", 0.0),)),
    "2026-kink-and-end": Case("xenonnt-2026", 31622776.6, at=(("efficiency", -0.5), ("t_qy", -1.0))),
    "with-pandax": Case("xenonnt-2024", with_pandax=True),
    "with-pandax-flux-3e7": Case("xenonnt-2024", 3e7, with_pandax=True),
}


def profiled(here: jc.Likelihood, factor: float = 1.0, sin2w: float = 0.23857, free: bool = True) -> problems.Fitted:
    """Fit of a multiple of the signal, the constraint of the flux moving along."""
    counts = factor * jc.signal(here, {"sin2w": sin2w})
    return problems.compiled(arranged(here, () if free else (problems.FLUX,)).model, counts)


def agrees(fit: problems.Fitted, names: tuple[str, ...], minimum: ref.Minimum) -> None:
    assert bool(fit.valid)
    assert float(fit.chi2) == pytest.approx(minimum.chi2, abs=1e-6)
    assert set(names) == set(minimum.pulls)
    np.testing.assert_allclose(fit.pulls, [minimum.pulls[n] for n in names], rtol=0, atol=1e-3)


GROUPS = {
    "2024": ("xenonnt-2024", True, False),
    "2024 flux fixed": ("xenonnt-2024", False, False),
    "2026": ("xenonnt-2026", True, False),
    "2024 with pandax": ("xenonnt-2024", True, True),
}


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_same_minimum_as_the_independent_fit(group) -> None:
    """All cases of one likelihood together: compiling it takes longer than the fits."""
    cases = [c for c in CASES.values() if (c.name, c.free, c.with_pandax) == group]
    assert len(cases) > 1
    for case in cases:
        compare(case)


def compare(case: Case) -> None:
    here, observed = likelihood(case.name, case.with_pandax), None
    theory, factor = jc.StandardModel(jnp.asarray(case.sin2w)), case.flux / FLUX
    signal = ref.fold(case.name, rate(theory, factor))
    others = []
    if case.with_pandax:
        pandax = problems.built("pandax")
        others = [(pandax, factor * np.asarray(jc.signal_counts(pandax, theory)))]
    if case.toy is not None:
        nominal = ref.Official(case.name, signal)
        observed = np.random.default_rng(case.toy).poisson(nominal.expected(nominal.nominal)).astype(float)
        here = jc.Likelihood(dataclasses.replace(built(case.name), observed=observed))
    minimum = ref.Official(case.name, signal, case.free, others, observed).minimum()
    fit = profiled(here, factor, case.sin2w, case.free)
    names = arranged(here, () if case.free else (problems.FLUX,)).nuisances
    agrees(fit, names, minimum)
    pulls = dict(zip(names, np.asarray(fit.pulls), strict=True))
    for label, value in case.at:  # exactly there: the case tests what it says
        assert pulls[f"{case.name}.{label}"] == pytest.approx(value, abs=1e-12), label


def test_factor_at_zero() -> None:
    """No count anywhere and a wide background: its factor stops at 0."""
    name, label, empty = "xenonnt-2024", "xenonnt-2024.electronic", np.zeros(162)
    nuisances = tuple(
        dataclasses.replace(n, sigma=2.0) if n.name == "electronic" else n for n in built(name).nuisances
    )
    here = jc.Likelihood(dataclasses.replace(built(name), observed=empty, nuisances=nuisances))
    fit = profiled(here)
    signal = ref.fold(name, rate(jc.StandardModel()))
    agrees(fit, here.nuisances, ref.Official(name, signal, observed=empty, widths={label: 2.0}).minimum())
    pulls = dict(zip(here.nuisances, np.asarray(fit.pulls), strict=True))
    assert pulls[label] == -1.0
    assert pulls[f"{name}.efficiency"] == pytest.approx(-0.5, abs=1e-12)


LOCAL = {
    "flux factor at zero or nuisances at their ends": (3.1622776601683795e8, None),
    "beyond a concave kink": (5.623413251903491e8, None),
    "no data, all on the constraint of the flux": (5e7, np.zeros(162)),
}


@pytest.mark.parametrize("case", LOCAL.values(), ids=LOCAL)
def test_lowest_of_several_minima(case) -> None:
    flux, observed = case
    here, signal = likelihood("xenonnt-2024"), ref.fold("xenonnt-2024", rate(jc.StandardModel(), flux / FLUX))
    if observed is not None:
        here = jc.Likelihood(dataclasses.replace(built("xenonnt-2024"), observed=observed))
    minimum = ref.Official("xenonnt-2024", signal, observed=observed).minimum()
    assert float(profiled(here, flux / FLUX).chi2) == pytest.approx(minimum.chi2, abs=1e-6)


# Limits and many points ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scalar", "vector"])
def test_limits_end_on_the_threshold(name) -> None:
    here = likelihood("xenonnt-2024").under(name)
    (limit,) = jc.limits(here, "coupling", over={"mass": [10.0]})

    def chi2(coupling: float) -> float:
        fit = jc.profile(here, {"mass": 10.0, "coupling": coupling})
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


def test_many_points_agree_with_single_fits() -> None:
    here = likelihood("xenonnt-2024").under("scalar")
    points = np.array([(m, g) for m in (1.0, 30.0) for g in (0.0, 3e-6, 1e-5, 2.1e-5)])
    found = jc.Surface(here, ("mass", "coupling")).evaluate(points)
    assert found.valid.all()
    for k, (mass, coupling) in enumerate(points):
        fit = jc.profile(here, {"mass": mass, "coupling": coupling})
        assert float(found.chi2[k]) == pytest.approx(float(fit.chi2), abs=1e-8)
        model = here.model
        pulls = np.asarray(models.sigmas(model, models.pulls(model, jnp.asarray(found.x[:, k]))))
        np.testing.assert_allclose(pulls, fit.pulls, rtol=0, atol=1e-6)


def test_points_of_a_parameter_of_the_weights_alone() -> None:
    here = likelihood("xenonnt-2024")
    values = [0.1, 0.23857, 0.4]
    found = jc.profile_curve(here, "sin2w", values)
    single = [float(jc.profile(here, {"sin2w": v}).chi2) for v in values]
    np.testing.assert_allclose(found, single, rtol=0, atol=1e-8)


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
        "efficiency": (0.25, (0.5, 1.5)),
        "accidental_sr0": (0.0904, free),
        "accidental_sr1": (0.0576, free),
        "neutron": (0.58, free),
        "electronic": (1.0, free),
    }
    record = likelihood("xenonnt-2024").parameters[problems.FLUX]
    assert (record.sigma / record.default, record.lower, record.upper) == (pytest.approx(0.12), *free)
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
            e,
            runs=(e.name,),
            channels=dataclasses.replace(e.channels[0], flux=dataclasses.replace(e.channels[0].flux, name=label)),
        )
        for e, label in ((built("xenonnt-2024"), "one"), (built("xenonnt-2026"), "other"))
    ]
    at = {"sin2w": 0.3}
    both = jc.profile(jc.Likelihood(apart), at)
    single = [jc.profile(jc.Likelihood(e), at) for e in apart]
    assert both.valid
    assert float(both.chi2) == pytest.approx(sum(float(f.chi2) for f in single), rel=1e-9)
    names = [n for f in single for n in f.names]
    pulls = dict(zip(names, np.concatenate([f.pulls for f in single]), strict=True))
    found = dict(zip(both.names, both.pulls, strict=True))
    assert set(found) == set(pulls)
    for name, pull in pulls.items():
        assert float(found[name]) == pytest.approx(pull, abs=1e-5), name
