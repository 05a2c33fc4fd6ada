"""Germanium: reactor fluxes, quenching, Dresden-II, CONUS+ and COHERENT's rates, against NumPy, SciPy and iminuit."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr

import jcevns as jc
from jcevns.datasets import read_table
from jcevns.experiments.dresden import dresden_flux
from jcevns.experiments.gaussian import gaussian_counts, skewed_counts
from jcevns.physics.sources import fission_spectrum
from tests import reference_germanium as ref

CURVES = {"fef": "iron_filter", "ybe": "photoneutron"}


@cache
def dresden(**options: str) -> jc.Likelihood:
    return jc.Likelihood(jc.experiment("dresden-ii", **options))


def measured_curve(name: str):
    table = read_table("germanium_quenching")
    return lambda T: np.interp(T, table["recoil_keV"], table[CURVES[name]])


@cache
def reference(name: str | None, gaussian: bool = True, state: str = "on") -> ref.Fit:
    return ref.Fit(None if name is None else measured_curve(name), gaussian, state)


# Reactor, germanium, quenching ------------------------------------------------------------------------------------


def test_germanium_is_natural() -> None:
    target = jc.physics.germanium()
    assert float(target.atoms_per_tonne.sum()) == pytest.approx(1e6 * ref.MOLE / ref.MEAN, rel=1e-6)
    shares = np.asarray(target.atoms_per_tonne / target.atoms_per_tonne.sum())
    np.testing.assert_allclose(shares, list(ref.ABUNDANCE.values()), rtol=1e-6)
    electrons = jc.physics.germanium_electrons()
    assert float(electrons.per_atom(jnp.asarray(20.0))) == 32
    assert float(electrons.atoms_per_tonne) == pytest.approx(float(target.atoms_per_tonne.sum()), rel=1e-6)


def test_tabulated_spectra_are_those_of_the_polynomials_above_2_MeV() -> None:
    energy, tabulated = fission_spectrum(ref.FRACTIONS, "tables")
    grid, published = fission_spectrum(ref.FRACTIONS)
    above = np.interp(grid, energy, tabulated)
    np.testing.assert_allclose(above, published, rtol=0.13)
    assert np.trapezoid(above, grid) == pytest.approx(np.trapezoid(published, grid), rel=0.01)


def test_flux_is_that_of_the_power() -> None:
    """2.96 GW at 10.39 m with the energies per fission of arXiv:1212.6625 and 7.2 antineutrinos: the 4.8e13."""
    released = {"U235": 202.4, "U238": 206.0, "Pu239": 211.1, "Pu241": 214.3}  # MeV
    energy = sum(ref.FRACTIONS[i] * released[i] for i in released) * 1.602176634e-13
    per_area = 2.96e9 / energy / (4 * np.pi * 1039.0**2)
    assert 7.2 * per_area == pytest.approx(4.8e13, rel=0.02)
    flux = dresden_flux()
    fine, spectrum = ref.fission()
    inside = (fine > 1.5) & (fine < 7.9)
    ours = float(flux.total) * np.interp(fine[inside], np.asarray(flux.energy), np.asarray(flux.shape))
    np.testing.assert_allclose(ours, 4.8e13 / 7.2 * spectrum[inside], rtol=1e-3)


def test_normalisations_differ_in_captures_and_size() -> None:
    fluxes = {name: dresden_flux(name) for name in ("total", "fission", "others")}
    energy, spectrum = ref.fission()
    area = np.trapezoid(spectrum, energy)
    whole = {n: float(f.total * jnp.trapezoid(f.shape, f.energy)) for n, f in fluxes.items()}
    assert whole["total"] == pytest.approx(4.8e13 * (area + 1.2) / 7.2, rel=2e-3)
    assert whole["fission"] == pytest.approx(4.8e13 * (1 + 1.2 / area), rel=2e-3)
    assert whole["others"] == pytest.approx(1.6 * 4.8e13, rel=2e-3)
    built = {n: jc.experiment("dresden-ii", normalisation=n, electrons="no") for n in fluxes}
    nuclei = {n: float(jc.signal_counts(e, jc.StandardModel())[0, :].sum()) for n, e in built.items()}
    assert nuclei["fission"] / nuclei["total"] == pytest.approx(7.2 / area, rel=2e-3)
    assert nuclei["others"] == pytest.approx(nuclei["fission"], rel=1e-3)  # captures hardly reach the bins


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fractions": {"U235": 1.0}}, "must be those of U235, Pu239, Pu241, U238"),
        ({"fractions": {**ref.FRACTIONS, "U235": 0.9}}, "add up to 1.32"),
        ({"spectra": "table"}, "reactor spectra 'table'"),
        ({"per_fission": 0.0}, "must be positive, as 7.2"),
        ({"captures": -1.0}, "not negative, as 1.2"),
    ],
)
def test_bad_reactors(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        jc.physics.reactor(**settings)


def test_lindhard_by_hand() -> None:
    T = np.array([0.3, 1.0, 5.0])
    e = 11.5 * 32 ** (-7 / 3) * T
    g = 3 * e**0.15 + 0.7 * e**0.6 + e
    np.testing.assert_allclose(jc.detectors.lindhard(32, 0.157)(T), 0.157 * g / (1 + 0.157 * g), rtol=1e-12)
    for name in CURVES:
        np.testing.assert_allclose(jc.detectors.germanium_quenching(name)(T), measured_curve(name)(T), rtol=1e-12)
    with pytest.raises(ValueError, match=r"from 0\.05 to 0\.5"):
        jc.detectors.lindhard(32, 3.0)
    with pytest.raises(ValueError, match="quenching of germanium 'fe'"):
        jc.detectors.germanium_quenching("fe")


# Counts that stand for errors -------------------------------------------------------------------------------------


def deviance(n: float, d: float) -> float:
    return 2 * (n - d + d * np.log(d / n))


def test_skewed_counts_have_the_published_interval() -> None:
    found = skewed_counts(20.6, 7.1, 6.3)
    for value in (20.6 + 7.1, 20.6 - 6.3):
        assert deviance(found.plinth + found.scale * value, found.observed) == pytest.approx(1, rel=1e-9)
    assert deviance(found.plinth + found.scale * 20.6, found.observed) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="more skewed than those of counts"):
        skewed_counts(124.0, 14.0, 12.0)
    with pytest.raises(ValueError, match="upper one larger"):
        skewed_counts(10.0, 1.0, 2.0)


def test_gaussian_counts_are_gaussian() -> None:
    value, error = np.array([10.0, 3.0]), np.array([2.0, 1.0])
    found = gaussian_counts(value, error)
    for d in (-3.0, 1.0, 3.0):
        chi2 = [
            deviance(n, s)
            for n, s in zip(found.plinth + found.scale * (value + d * error), found.observed, strict=True)
        ]
        np.testing.assert_allclose(chi2, d**2, rtol=abs(d) / 1000)
    with pytest.raises(ValueError, match="root of the counts"):
        gaussian_counts(1.0, 0.0)
    with pytest.raises(ValueError, match="errors above zero"):
        gaussian_counts(2000.0, 1.0)


# Shapes of any width ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "smooth"), [(1.0, False), (2.0, True)])
def test_width_of_a_shape(sigma, smooth) -> None:
    """One template between three anchors, in closed form: Poisson counts and (t/sigma)^2."""
    rows = np.array([[40.0, 90.0], [50.0, 80.0], [65.0, 60.0]])
    response = jc.detectors.Response([1.0], np.zeros((3, 2, 1)) + 1e-9)
    one = jc.Experiment(
        name="one",
        channels=jc.Channel(jc.physics.b8(), jc.physics.xenon(), response),
        observed=[62, 70],
        backgrounds={"background": rows},
        nuisances=(),
        shapes=(jc.ShapeNuisance("tilt", (-1.0, 0.0, 2.0), sigma=sigma, unit="keV", smooth=smooth),),
    )

    def chi2(t: float) -> float:
        expected = [np.interp(t, [-1.0, 0.0, 2.0], rows[:, k]) for k in range(2)]
        return sum(deviance(n, d) for n, d in zip(expected, (62.0, 70.0), strict=True)) + (t / sigma) ** 2

    grid = np.linspace(-1, 2, 300001)
    best = grid[np.argmin([chi2(t) for t in grid[::100]]) * 100]
    found = jc.profile(jc.Likelihood(one))
    assert float(found.chi2) == pytest.approx(
        min(chi2(t) for t in np.linspace(best - 0.01, best + 0.01, 2001)), abs=1e-6
    )
    record = jc.Likelihood(one).parameters["one.tilt"]
    assert (record.sigma, record.unit, record.lower, record.upper) == (sigma, "keV", -1.0, 2.0)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), 1e300])
def test_bad_width_of_a_shape(sigma) -> None:
    with pytest.raises(ValueError, match="sigma"):
        jc.ShapeNuisance("tilt", (-1.0, 0.0, 1.0), sigma=sigma)


# Dresden-II -------------------------------------------------------------------------------------------------------


def test_dresden_counts_are_the_published_rates() -> None:
    numbers = read_table("dresden_ii_numbers")
    number = dict(zip(map(str, numbers["quantity"]), numbers["value"], strict=True))
    assert (number["mass"], number["days_on"], number["days_off"], number["flux"]) == (2.924, 96.4, 25.0, 4.8e13)
    (on, on_error), (off, off_error) = ref.measured("on"), ref.measured("off")
    assert (on.sum(), off.sum()) == pytest.approx((5106.25, 4055.28), abs=0.01)  # per day and 10 eV
    both = jc.experiment("dresden-ii", off="own")
    rate, error = np.append(on, off), np.append(on_error, off_error)
    counts = np.asarray(both.observed)
    np.testing.assert_allclose(1 / np.sqrt(counts), error / rate, rtol=1e-12)
    assert both.exposure == pytest.approx(2.924e-3 * 96.4 / 365.25)
    assert any("contested" in note for note in both.notes)
    signal = np.asarray(jc.signal_counts(both, jc.StandardModel())).reshape(-1, 260)
    assert np.all(signal[:, 130:] == 0)  # no antineutrinos with the reactor off


@pytest.mark.parametrize("name", CURVES)
def test_dresden_signal_by_hand(name) -> None:
    one = jc.experiment("dresden-ii", quenching=name, electrons="no")
    rate, error = ref.measured()
    rows = np.asarray(jc.signal_counts(one, jc.StandardModel())) * error**2 / rate
    curve = measured_curve(name)
    wanted = [ref.dresden_signal(curve, 1 + 0.05 * t) for t in (-3, 0, 3)]
    wanted += [ref.dresden_signal(curve, 1.0, 1 + 0.05 * t) for t in (-3, 3)]
    for row, by_hand in zip(rows[[0, 2, 4, 5, 9]], wanted, strict=True):
        np.testing.assert_allclose(row[:40], by_hand[:40], rtol=5e-3, atol=2e-3 * by_hand[0])
        assert row.sum() == pytest.approx(by_hand.sum(), rel=3e-3)


ORIGIN = {"on": (1450.0, 1.2922, 0.0692, 13.5, 140.0, 4.1), "off": (3150.0, 1.3007, 0.0676, 3.0, 42.0, 5.3)}
"""Where parameters of the background are counted from."""


def parameters(state: str, p: np.ndarray) -> dict[str, float]:
    """Those of iminuit by their names here."""
    events, centre, width, constant, height, decay = ORIGIN[state]
    found = {
        "constant": p[3] / constant,
        "exponential": p[4] / height,
        "l_shell": p[0] / events,
        "m_ratio": p[6],
        "decay": p[5] - decay,
        "l_centre": 1e3 * (p[1] - centre),
        "l_width": 1e3 * (p[2] - width),
    }
    return {f"dresden-ii.{name}_{state}": float(value) for name, value in found.items()}


@pytest.mark.parametrize("errors", ["gaussian", "poisson"])
def test_chi2_of_the_background(errors) -> None:
    """At the minimum of iminuit: 111.3 in least squares, 130 bins and 7 parameters."""
    expected, p = reference(None, errors == "gaussian").best(0.0)
    found = float(jc.chi2(dresden(errors=errors), {"flux": 1e-9, **parameters("on", p)}))
    flux = ((1e-9 - 1.0) / 0.05) ** 2  # its constraint counts where nothing is fitted
    assert found - flux == pytest.approx(expected, abs=0.05)
    if errors == "gaussian":
        assert expected == pytest.approx(111.30, abs=0.01)
    else:
        minimum = jc.profile(dresden(), {"flux": 0.0})
        assert bool(minimum.valid)
        assert float(minimum.chi2) == pytest.approx(expected, abs=0.05)


def test_reactor_off_says_nothing_about_the_signal() -> None:
    """Its shapes are its own: chi2 is a constant more, that of its background."""
    expected, p = reference(None, False, "off").best(0.0)
    for strength in (0.2, 1.3):
        values = {"flux": strength, "decay_on": -0.2}
        alone = float(jc.chi2(dresden(), values))
        both = float(jc.chi2(dresden(off="own"), {**values, **parameters("off", p)}))
        assert both - alone == pytest.approx(expected, abs=0.05)


def test_one_m_ratio_for_both_spectra() -> None:
    """chi2 of both spectra by hand, the constraint of their common ratio counted once."""
    ratio, by_hand = 1.02, 0.0
    for state, start in ORIGIN.items():
        events, centre, width, constant, height, decay = start
        p = np.array([events, centre, width, constant, height, decay, ratio, 0.0, 0.0])
        by_hand += reference(None, False, state).chi2(0.0, p)
    by_hand -= ((ratio - 1) / 0.03) ** 2
    joint = dresden(off="joint")
    assert [name for name in joint.nuisances if "m_ratio" in name] == ["dresden-ii.m_ratio"]
    found = float(jc.chi2(joint, {"flux": 1e-9, "m_ratio": ratio})) - ((1e-9 - 1.0) / 0.05) ** 2
    assert found == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize("name", CURVES)
def test_excess(name) -> None:
    """Size of the excess, in units of the Standard Model's, by scans of iminuit's minima.

    It is positive with both curves: 1.27 with the iron filter's, 2.1 with the photoneutrons', 2.9 and 2.6 standard
    deviations from none.
    """
    hand = reference(name, gaussian=False)
    found = jc.interval(dresden(quenching=name), "flux", cl=0.6827)
    grid = found.best_fit * np.linspace(0.4, 1.8, 9)
    curve = np.polynomial.Polynomial.fit(grid, [hand.minimum(s) for s in grid], 5)
    inside = [r.real for r in curve.deriv().roots() if abs(r.imag) < 1e-9 and grid[0] < r.real < grid[-1]]
    best = min(inside, key=curve)
    ends = [brentq(lambda s: curve(s) - curve(best) - 1, *ends) for ends in ((grid[0], best), (best, grid[-1]))]
    assert found.best_fit == pytest.approx(best, rel=0.02)
    np.testing.assert_allclose((found.lower, found.upper), ends, rtol=0.02)
    excess = float(jc.profile(dresden(quenching=name), {"flux": 0.0}).chi2) - hand.minimum(best)
    assert excess == pytest.approx(hand.minimum(0.0) - hand.minimum(best), abs=0.15)
    assert excess == pytest.approx({"fef": 8.25, "ybe": 6.8}[name], abs=0.15)


def test_mixing_angle() -> None:
    """The nuclear charge alone depends on it: a strength Q^2(s)/Q^2(s0), with 5% of the flux, by iminuit.

    With the photoneutrons' curve the interval is [0.276, 0.468].
    """
    hand = reference("fef", gaussian=False)
    found = jc.interval(dresden(), "sin2w", cl=0.6827)

    def strength(s: float) -> float:
        charge = [sum(f * ref.weak_charge(A, x) ** 2 for A, f in ref.ABUNDANCE.items()) for x in (s, ref.SIN2W)]
        return charge[0] / charge[1]

    at_ends = [hand.minimum(strength(s), 0.05) for s in (found.best_fit, found.lower, found.upper)]
    np.testing.assert_allclose(at_ends[1:], at_ends[0] + 1, atol=0.06)
    np.testing.assert_allclose((found.lower, found.upper), (0.210, 0.337), atol=0.002)
    other = jc.interval(dresden(quenching="ybe"), "sin2w", cl=0.6827)
    by_hand = reference("ybe", gaussian=False)
    ends = [by_hand.minimum(strength(s), 0.05) for s in (other.best_fit, other.lower, other.upper)]
    np.testing.assert_allclose(ends[1:], ends[0] + 1, atol=0.06)


def test_unknown_options() -> None:
    for option in ("quenching", "normalisation", "off", "errors", "electrons"):
        with pytest.raises(ValueError, match=f"dresden-ii: unknown {option} 'x'"):
            jc.experiment("dresden-ii", **{option: "x"})


# Rates alone ------------------------------------------------------------------------------------------------------


def test_conus_by_hand() -> None:
    """395 +- 106 counts, 347 (1 +- 17%) times the ratio predicted; the interval of the ratio by minimisation."""

    def chi2(ratio: float) -> float:
        f = np.linspace(0.01, 3, 30001)
        return float(np.min(((347 * ratio * f - 395) / 106) ** 2 + ((f - 1) / (59 / 347)) ** 2))

    found = jc.interval("conus-plus-2025", "flux", cl=0.6827)
    assert found.best_fit == pytest.approx(395 / 347, rel=1e-3)
    ends = [brentq(lambda r: chi2(r) - 1, *ends) for ends in ((0.3, 395 / 347), (395 / 347, 4.0))]
    np.testing.assert_allclose((found.lower, found.upper), ends, rtol=5e-3)


def test_conus_window_by_hand() -> None:
    """Its dependence on the mixing angle by quadrature; the window hardly matters to it."""
    one = jc.experiment("conus-plus-2025")
    low, high = (float(jc.signal_counts(one, jc.StandardModel(s)).sum()) for s in (0.2, 0.3))
    energy, spectrum = ref.fission()
    T = np.linspace(0.02, 2.0, 1500)
    e = 11.5 * 32 ** (-7 / 3) * T
    g = 3 * e**0.15 + 0.7 * e**0.6 + e
    seen = T * 0.162 * g / (1 + 0.162 * g)
    kept = ndtr((0.8 - seen) / 0.02) - ndtr((0.16 - seen) / 0.02)
    rates = [ref.recoils(T, lambda E: np.interp(E, energy, spectrum), 8.0, s) for s in (0.2, 0.3)]
    by_hand = np.trapezoid(rates[1] * kept, T) / np.trapezoid(rates[0] * kept, T)
    assert high / low == pytest.approx(by_hand, rel=1e-3)
    for threshold in (0.14, 0.20):
        other = jc.experiment("conus-plus-2025", threshold=threshold)
        assert float(jc.signal_counts(other, jc.StandardModel(0.3)).sum()) / high == pytest.approx(1, rel=1e-3)


def sns_spectra(E: np.ndarray) -> np.ndarray:
    """Delayed neutrinos of one pion: mu and e, per MeV."""
    x = np.where(E < 105.6583755 / 2, E / 105.6583755, 0.0)
    return (64 * x**2 * (0.75 - x) + 192 * x**2 * (0.5 - x)) / 105.6583755


def test_cross_section_at_the_sns() -> None:
    """Published 5.9e-39 cm^2; ours, at tree level with Klein-Nystrand form factors, is 4% less."""
    flux, target = jc.physics.spallation(1e23, 0.0848, 19.2), jc.physics.germanium()
    T = np.geomspace(1e-4, 90, 6000)
    rate = np.asarray(jc.physics.recoil_spectrum(jc.StandardModel(), flux, target, jnp.asarray(T)))
    seconds = 365.25 * 86400
    ours = np.trapezoid(rate, T) / float(flux.total * target.atoms_per_tonne.sum()) / seconds
    assert ours == pytest.approx(5.9e-39, rel=0.05)
    x, w = np.polynomial.legendre.leggauss(64)
    total = 0.0
    for A, share in ref.ABUNDANCE.items():
        M = ref.ATOMIC[A] * 931.49410242 - 32 * 0.51099895

        def cross(E: float, M: float = M, A: int = A) -> float:
            top = 2 * E**2 / (M + 2 * E)
            t = top / 2 * (1 + x)
            F = ref.form_factor(np.sqrt(2 * M * t) / ref.HBARC, A)
            shape = 1 - t / E - M * t / (2 * E**2)
            return ref.FERMI**2 * M / np.pi * ref.weak_charge(A) ** 2 * float(np.sum(w * F**2 * shape)) * top / 2

        E = np.linspace(0.01, 105.6583755 / 2, 1201)
        mean = (cross(29.792) + np.trapezoid(sns_spectra(E) * np.array([cross(e) for e in E]), E)) / 3
        total += share * mean * ref.HBARC**2 * 1e-26
    assert ours == pytest.approx(total, rel=2e-3)


def test_coherent_2024() -> None:
    found = jc.interval("coherent-ge-2024", "flux", cl=0.6827)
    np.testing.assert_allclose(
        (found.lower, found.best_fit, found.upper), np.array([14.3, 20.6, 27.7]) / 35.1, rtol=2e-3
    )
    mean = jc.interval(jc.experiment("coherent-ge-2024", errors="mean"), "flux", cl=0.6827)
    np.testing.assert_allclose((mean.lower, mean.upper), np.array([13.9, 27.3]) / 35.1, rtol=2e-3)


def test_coherent_2026() -> None:
    found = jc.interval("coherent-ge-2026", "flux", cl=0.6827)
    np.testing.assert_allclose((found.lower, found.best_fit, found.upper), (0.9, 1.0, 1.1), rtol=1e-3)
    counts = jc.interval(jc.experiment("coherent-ge-2026", errors="counts"), "flux", cl=0.6827)
    assert counts.upper - 1 == pytest.approx(13 / 124, rel=2e-3)


@pytest.mark.parametrize("name", ["conus-plus-2025", "coherent-ge-2024", "coherent-ge-2026"])
def test_rate_only_is_told(name) -> None:
    one = jc.experiment(name)
    assert one.notes[0].startswith("rate only")
    assert any("assumed" in note for note in one.notes)
    assert one.observed.size == 1


def test_the_same_detector_is_not_combined() -> None:
    with pytest.raises(ValueError, match="hold the same events"):
        jc.Likelihood(["coherent-ge-2024", "coherent-ge-2026"])
    both = jc.Likelihood(["coherent-ge-2026", "coherent-csi-2021:shapes=none"])
    assert "flux.sns" in both.parameters


# COHERENT CsI -----------------------------------------------------------------------------------------------------


def test_released_widths_of_csi() -> None:
    """Half the change of the counts between -1 and 1 standard deviation of the released curves."""
    shaped = jc.experiment("coherent-csi-2021", electrons="no")
    total = np.asarray(jc.signal_counts(shaped, jc.StandardModel())).sum(axis=-1).reshape(3, 5)
    half = (total[:, 3] - total[:, 1]) / 2 / total[:, 2]
    (quenching, efficiency) = (
        n.sigma for n in jc.experiment("coherent-csi-2021", shapes="none", widths="released").nuisances[:2]
    )
    assert quenching == pytest.approx(np.hypot(*half[:2]), abs=5e-4)
    assert efficiency == pytest.approx(half[2], abs=5e-4)
    with pytest.raises(ValueError, match="widths 'x'"):
        jc.experiment("coherent-csi-2021", widths="x")
