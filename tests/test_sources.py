"""Fluxes besides solar 8B: normalisations and means in closed form, sums of fluxes, rates by double integrals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad, quad

import jcevns as jc
from jcevns.datasets import read_table
from jcevns.physics.flux import density
from jcevns.physics.sources import delayed_neutrinos, prompt_neutrinos
from tests import reference
from tests import reference_complementary as ref

BEAM = {"protons": 3.198e23, "per_proton": 0.0848, "distance_m": 19.3}
PER_FLAVOUR = 3.198e23 * 0.0848 / (4 * np.pi * 1930.0**2) / (365.25 * 86400)  # cm^-2 s^-1


def integral(flux: jc.physics.NeutrinoFlux, row: np.ndarray, power: int = 0) -> float:
    """Exact integral of a row of nodes, linear between, times E^power."""
    E, a = np.asarray(flux.energy), np.asarray(row)
    x, w = np.polynomial.legendre.leggauss(2)
    half = np.diff(E)[:, None] / 2
    nodes = E[:-1, None] + half * (1 + x)
    return float(np.sum(half * w * np.interp(nodes, E, a) * nodes**power))


# Pion decay at rest ---------------------------------------------------------------------------------------------


def test_pion_decay_at_rest() -> None:
    """Mean energies: two-body decay, and 7/20 and 3/10 of the muon mass for the Michel spectra."""
    prompt, delayed = prompt_neutrinos(**BEAM), delayed_neutrinos(**BEAM)
    assert pytest.approx(29.79, abs=0.005) == ref.PROMPT
    assert integral(prompt, prompt.shape) == pytest.approx(1, abs=1e-11)
    assert integral(prompt, prompt.shape, 1) == pytest.approx(ref.PROMPT, rel=1e-10)
    assert integral(delayed, delayed.shape) == pytest.approx(1, abs=1e-5)
    means = {"anti-mu": 7 / 20 * ref.MUON, "e": 3 / 10 * ref.MUON}  # 36.98 and 31.70 MeV
    assert delayed.flavours == tuple(means)
    for row, mean in zip(delayed.flavour_shapes, means.values(), strict=True):
        assert integral(delayed, row) == pytest.approx(0.5, abs=1e-5)
        assert integral(delayed, row, 1) == pytest.approx(mean / 2, rel=1e-5)
    E = np.array([5.0, 20.0, 33.3, 52.0])
    found = np.stack([np.interp(E, delayed.energy, row) for row in delayed.flavour_shapes])
    np.testing.assert_allclose(2 * found, ref.michel(E), rtol=1e-4, atol=1e-7)
    assert float(delayed.energy[-1]) == pytest.approx(ref.MUON / 2)


def test_fluxes_of_the_beam() -> None:
    assert float(prompt_neutrinos(**BEAM).total) == pytest.approx(PER_FLAVOUR, rel=1e-12)
    assert float(delayed_neutrinos(**BEAM).total) == pytest.approx(2 * PER_FLAVOUR, rel=1e-12)
    both = jc.physics.spallation(**BEAM)
    assert float(both.total) == pytest.approx(3 * PER_FLAVOUR, rel=1e-12)
    for flavour, row in zip(both.flavours, both.flavour_shapes, strict=True):
        assert integral(both, row) == pytest.approx(1 / 3, abs=1e-5), flavour
    far = jc.physics.spallation(**{**BEAM, "distance_m": 38.6})
    assert float(both.total / far.total) == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize("table", ["cesium_iodide", "argon"])
def test_beam_on_nuclei_by_a_double_sum(table) -> None:
    target = jc.physics.cesium_iodide() if table == "cesium_iodide" else jc.physics.argon()
    recoil = np.array([0.7, 4.0, 9.0, 13.3, 15.5, 24.0, 40.0])  # prompt neutrinos end near 14 keV on CsI
    prompt, delayed = ref.stopped_pion_rate(recoil, f"{table}_isotopes", PER_FLAVOUR)
    for flux, expected in (
        (prompt_neutrinos(**BEAM), prompt),
        (delayed_neutrinos(**BEAM), delayed),
        (jc.physics.spallation(**BEAM), prompt + delayed),
    ):
        found = jc.physics.recoil_spectrum(jc.StandardModel(), flux, target, jnp.asarray(recoil))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6 * expected.max())


def test_one_isotope_by_adaptive_double_integral() -> None:
    """Events of 10 to 20 keV from the delayed neutrinos on argon-40 alone."""
    iso = read_table("argon_isotopes")
    mass = float(iso["nuclear_mass_MeV"][2])
    value, _ = dblquad(
        lambda E, T: float(sum(ref.michel(E))) * float(reference.dsigma_dT(E, T, 18, 40, mass)),
        0.010,
        0.020,
        lambda T: ref.lowest_energy(T, mass),
        ref.MUON / 2,
        epsrel=1e-6,
    )
    atoms = iso["abundance"][2] * 1e6 * reference.MOLE / np.sum(iso["abundance"] * iso["atomic_mass_u"])
    expected = value * 1e3 * atoms * ref.per_tonne_year(PER_FLAVOUR)  # the integral over T in keV
    whole = jc.physics.argon()
    only = jc.physics.Target(jax.tree.map(lambda x: x[2:], whole.nuclei), whole.atoms_per_tonne[2:], ("40Ar",))
    x, w = np.polynomial.legendre.leggauss(16)
    rate = jc.physics.recoil_spectrum(jc.StandardModel(), delayed_neutrinos(**BEAM), only, jnp.asarray(15 + 5 * x))
    assert float(5 * w @ np.asarray(rate)) == pytest.approx(expected, rel=1e-5)


# Sums -----------------------------------------------------------------------------------------------------------


def parts_of(name: str) -> tuple[list[jc.physics.NeutrinoFlux], object, jnp.ndarray]:
    if name == "beam":
        parts = [prompt_neutrinos(**BEAM), delayed_neutrinos(**BEAM)]
        return parts, jc.physics.cesium_iodide(), jnp.asarray([0.5, 5.0, 13.8, 20.0, 44.0])
    if name == "high":
        return [jc.physics.b8(), jc.physics.hep()], jc.physics.xenon(), jnp.asarray([0.1, 1.0, 3.0, 4.5])
    parts = [jc.physics.solar(sources=(s,)) for s in ("pp", "be7", "o15")]
    return parts, jc.physics.xenon_electrons(), jnp.asarray([1.0, 5.3, 100.0, 261.0, 600.0, 1200.0])


@pytest.mark.parametrize("name", ["beam", "high", "sun"])
def test_rate_of_a_sum_is_the_sum_of_rates(name) -> None:
    parts, target, recoil = parts_of(name)
    whole = jc.physics.combine(name, parts)
    assert float(whole.total) == pytest.approx(sum(float(p.total) for p in parts), rel=1e-12)
    theory = jc.VectorMediator(10.0, 1e-5, flavours=(1.0, 0.3, -0.5))
    expected = sum(np.asarray(jc.physics.recoil_spectrum(theory, p, target, recoil)) for p in parts)
    found = jc.physics.recoil_spectrum(theory, whole, target, recoil)
    # A jump at the end of a spectrum is a ramp as narrow as 1e-9 in the sum, whose moments round.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=5e-9 * np.max(expected))


def test_jumps_at_the_ends_stay_in_place() -> None:
    """A box and a spectrum of other nodes: nothing leaks across the edges of the box."""
    box = jc.physics.NeutrinoFlux([2.0, 3.0], [1.0, 1.0], 4.0, "box", ("e",))
    ramp = jc.physics.NeutrinoFlux([0.0, 10.0], [0.0, 0.2], 12.0, "ramp", ("anti-e",))
    both = jc.physics.combine("both", [box, ramp])
    assert both.flavours == ("e", "anti-e")
    rows = np.asarray(both.flavour_shapes) * float(both.total)
    assert integral(both, rows[0]) == pytest.approx(4.0, rel=1e-8)
    assert integral(both, rows[1]) == pytest.approx(12.0, rel=1e-8)
    E = np.array([1.9, 2.1, 2.9, 3.1, 9.0])
    np.testing.assert_allclose(np.interp(E, both.energy, rows[0]), [0, 4, 4, 0, 0], atol=1e-6)
    np.testing.assert_allclose(np.interp(E, both.energy, rows[1]), 12 * E / 50, rtol=1e-9)


def test_only_known_flavours_combine() -> None:
    flat = jc.physics.NeutrinoFlux([0.0, 1.0], [1.0, 1.0], 1.0, "flat")
    for fluxes in ([flat], [jc.physics.b8(), flat], []):
        with pytest.raises(ValueError, match="flux 'sum': only fluxes with known flavours can be combined"):
            jc.physics.combine("sum", fluxes)


# The sun --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "total"),
    [
        # pp, pep, 7Be, 13N, 15O, 17F of arXiv:1611.09867, cm^-2 s^-1.
        ("gs98", 5.98e10 + 1.44e8 + 4.93e9 + 2.78e8 + 2.05e8 + 5.29e6),
        ("agss09met", 6.03e10 + 1.46e8 + 4.50e9 + 2.04e8 + 1.44e8 + 3.26e6),
    ],
)
def test_solar_total(model, total) -> None:
    flux = jc.physics.solar(model)
    assert float(flux.total) == pytest.approx(total, rel=1e-9)
    assert integral(flux, flux.shape) == pytest.approx(1, abs=1e-4)


def test_lines_of_beryllium() -> None:
    flux = jc.physics.solar(sources=("be7",))
    E, shape = np.asarray(flux.energy), np.asarray(flux.shape)
    low = E < 0.6
    share = [np.trapezoid(np.where(side, shape, 0), E) for side in (low, ~low)]
    np.testing.assert_allclose(share, [0.1052, 0.8948], rtol=1e-9)
    survival = read_table("solar_survival")
    electron = np.asarray(flux.fractions)[0][shape > 0]
    np.testing.assert_allclose(electron, np.interp([0.3843, 0.8613], survival["energy_MeV"], survival["be7"]))


def test_solar_flavours_follow_the_survival_probability() -> None:
    flux, table = jc.physics.solar(sources=("pp",)), read_table("solar_survival")
    inside = (np.asarray(flux.shape) > 0) & (np.asarray(flux.energy) >= 0.05)
    E, (e, mu, tau) = np.asarray(flux.energy)[inside], np.asarray(flux.fractions)[:, inside]
    np.testing.assert_allclose(e, np.interp(E, table["energy_MeV"], table["pp"]), rtol=1e-9)
    np.testing.assert_allclose(mu + tau, 1 - e, rtol=1e-12)
    assert 0.53 < e.min() <= e.max() < 0.56


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.physics.solar("gs97"), r"'gs97' \(did you mean gs98\?\): choose from gs98, agss09met"),
        (lambda: jc.physics.solar(sources=("pp", "be8")), r"'be8' \(did you mean be7\?\)"),
    ],
)
def test_unknown_sources(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# Reactors -------------------------------------------------------------------------------------------------------


def huber_mueller(E: float, fractions: dict[str, float]) -> float:
    """Antineutrinos per fission and MeV, exp of a polynomial, from the tabulated coefficients."""
    rows = read_table("reactor_spectra")
    total = 0.0
    for i, isotope in enumerate(rows["isotope"]):
        total += fractions[isotope] * np.exp(sum(float(rows[f"c{k}"][i]) * E**k for k in range(6)))
    return total


def test_reactor_share_above_two_mev() -> None:
    fractions = {"U235": 0.55, "U238": 0.07, "Pu239": 0.32, "Pu241": 0.06}
    share = quad(huber_mueller, 2.0, 8.0, args=(fractions,))[0] / 7.2
    assert 0.2 < share < 0.25
    flux = jc.physics.reactor()
    assert float(jnp.trapezoid(flux.shape, flux.energy)) == pytest.approx(share, rel=1e-4)
    assert (flux.flavours, float(flux.total)) == (("anti-e",), 6.4e12)
    pure = jc.physics.reactor(1e12, 6.0, {"U235": 1.0, "U238": 0.0, "Pu239": 0.0, "Pu241": 0.0})
    E = np.array([2.0, 3.5, 8.0])  # the published coefficients of 235U
    expected = np.exp(4.367 - 4.577 * E + 2.1 * E**2 - 0.5294 * E**3 + 0.06186 * E**4 - 0.002777 * E**5) / 6
    np.testing.assert_allclose(density(pure, jnp.asarray(E)), expected, rtol=1e-9)
