"""Electron recoils of solar neutrinos: counts, backgrounds, magnetic moments, light mediators.

What is called the reference calculation is one of our own, made before and apart from this package.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import jcevns as jc
from jcevns.datasets import read_table

XENONNT, LZ = "xenonnt-er-2022", "lz-er-ws2022"


@cache
def experiment(name: str, **options) -> jc.Experiment:
    return jc.experiment(name, **options)


def counts(name: str, theory=None, **options) -> np.ndarray:
    return np.asarray(jc.signal_counts(experiment(name, **options), theory or jc.StandardModel()))


def bins(one: jc.Experiment, chosen: slice) -> jc.Experiment:
    """Some bins of an experiment."""
    edges = one.bin_edges[chosen.start : chosen.stop + 1]
    (channel,) = one.channels
    response = jc.detectors.Response(channel.response.recoil_keV, channel.response.matrix[chosen])
    return dataclasses.replace(
        one,
        channels=jc.Channel(channel.flux, channel.target, response),
        observed=one.observed[chosen],
        backgrounds={k: v[chosen] for k, v in one.backgrounds.items()},
        bin_edges=edges,
    )


# Counts ---------------------------------------------------------------------------------------------------------


def test_standard_model_events() -> None:
    """Reference calculation: 78 in 1-30 keV (literature 76), and 33 in 1-15 keV (about 30)."""
    assert counts(XENONNT).sum() == pytest.approx(78, rel=0.03)
    assert counts(LZ)[1:15].sum() == pytest.approx(33, rel=0.03)
    assert experiment(XENONNT).exposure == 1.16
    assert experiment(LZ).exposure == 0.904


@pytest.mark.parametrize("name", [XENONNT, LZ])
def test_standard_model_events_by_an_own_fold(name) -> None:
    """A sum over true energies in steps of 0.02 keV, smeared as a density."""
    one = experiment(name)
    true = np.arange(0.11, 45.0, 0.02)
    rate = np.asarray(
        jc.physics.recoil_spectrum(
            jc.StandardModel(), jc.physics.solar(), jc.physics.xenon_electrons(), jnp.asarray(true)
        )
    )
    edges = np.array(one.bin_edges)
    table = read_table(f"{name.replace('-', '_')}_efficiency")
    width = 0.31 * np.sqrt(true) + 0.0037 * true if name == XENONNT else 0.323 * np.sqrt(true)
    seen = np.arange(edges[0] + 0.01, edges[-1], 0.02)
    density = norm.pdf(seen[:, None], true, width)
    if name == XENONNT:  # the efficiency is one of the reconstructed energy there, of the true energy in LZ
        density *= np.interp(seen, table["energy_keV"], table["efficiency"])[:, None]
    else:
        density *= np.interp(true, table["energy_keV"], table["efficiency"], left=0)
    spectrum = density @ rate * 0.02 * one.exposure
    expected = spectrum.reshape(edges.size - 1, -1).sum(axis=1) * 0.02
    np.testing.assert_allclose(counts(name), expected, rtol=5e-3, atol=5e-3)


def test_xenonnt_histogram_is_the_other_table() -> None:
    """Events and background by bins of 1 keV are also tabulated, from 0 keV."""
    table, one = read_table("xenonnt_er_2022_bins"), experiment(XENONNT)
    np.testing.assert_array_equal(one.observed, table["observed"][1:])
    np.testing.assert_array_equal(one.bin_edges, np.append(table["energy_lo_keV"][1:], 30.0))
    total = np.asarray(one.backgrounds["other"]) + counts(XENONNT)
    np.testing.assert_allclose(total, table["background"][1:], rtol=5e-3)
    assert float(one.observed.sum()) == 433


@pytest.mark.parametrize("binding", ["steps", "free"])
def test_background_does_not_depend_on_the_binding(binding) -> None:
    """The published total has bound electrons in it, whatever the signal is taken to be."""
    np.testing.assert_allclose(
        experiment(XENONNT, binding=binding).backgrounds["other"], experiment(XENONNT).backgrounds["other"]
    )


def test_background_of_lz() -> None:
    one, table = experiment(LZ), read_table("lz_er_ws2022_bins")
    argon = np.asarray(one.backgrounds["argon37"])
    assert argon.sum() == pytest.approx(52.5, rel=1e-3)
    edges = np.arange(21.0)
    line = np.diff(norm.cdf(edges, 2.82, 0.323 * np.sqrt(2.82)))
    np.testing.assert_allclose(argon, 52.5 * line, rtol=1e-6, atol=1e-9)
    total = argon + np.asarray(one.backgrounds["other"]) + counts(LZ)
    above = np.asarray(one.backgrounds["other"]) > 0
    assert above.sum() >= 17  # where neutrinos and 37Ar alone exceed the total, nothing is left for the rest
    np.testing.assert_allclose(total[above], table["background"][above], rtol=1e-9)
    assert {n.name: n.sigma for n in one.nuisances} == {"argon37": 1.0, "other": 0.13}
    assert one.fluxes["solar"].parameter.sigma == 0.10


def test_width_of_the_bins() -> None:
    fine = experiment(XENONNT, bin_keV=0.1)
    assert fine.observed.size == 290
    np.testing.assert_array_equal(np.asarray(fine.observed).reshape(29, 10).sum(axis=1), experiment(XENONNT).observed)
    np.testing.assert_allclose(counts(XENONNT, bin_keV=0.1).reshape(29, 10).sum(axis=1), counts(XENONNT), rtol=2e-3)
    with pytest.raises(ValueError, match=r"bin_keV 0\.3 must divide the 29 keV"):
        jc.experiment(XENONNT, bin_keV=0.3)
    for width in (0.0, -1.0, 40.0):
        with pytest.raises(ValueError, match=r"bin_keV .* must be from 0\.1 to 29 \(keV\)"):
            jc.experiment(XENONNT, bin_keV=width)


# Magnetic moment ------------------------------------------------------------------------------------------------


def moment(one: jc.Experiment) -> float:
    found = jc.interval(jc.Likelihood(one, "magnetic-moment"), "moment", cl=0.90)
    assert found.valid
    return found.upper


@pytest.mark.parametrize(("binding", "limit"), [("free", 6.4), ("steps", 7.2)])
def test_magnetic_moment_of_xenonnt(binding, limit) -> None:
    """Reference calculation, unbinned with a free background."""
    one = experiment(XENONNT, binding=binding, bin_keV=0.1, background_error=1.0)
    assert moment(one) == pytest.approx(limit, rel=0.10)


@pytest.mark.parametrize(("binding", "reference", "cut"), [("free", 13.0, 14.1), ("steps", 14.1, 15.6)])
def test_magnetic_moment_of_lz(binding, reference, cut) -> None:
    """11 in arXiv:2207.05036, within 10%.

    The reference calculation, 13.0 with free and 14.1 with bound electrons, is weaker by a fifth; its region of
    interest and treatment of 37Ar are not stated. Without the bin below 1 keV and those above 15 keV we are weaker
    than it: the choice of bins alone makes more than the difference.
    """
    one = experiment(LZ, binding=binding)
    value = moment(one)
    assert value == pytest.approx(11, rel=0.10)
    assert 0.78 < value / reference < 0.86
    assert moment(bins(one, slice(1, 15))) == pytest.approx(cut, rel=0.02)


def test_moment_is_the_same_by_hand() -> None:
    """chi2 at the limit, with the flux and the background profiled by brute force."""
    one = experiment(XENONNT)
    limit = moment(one)
    observed, other = np.asarray(one.observed), np.asarray(one.backgrounds["other"])

    def profiled(mu):
        signal = counts(XENONNT, jc.MagneticMoment(mu))
        a, b = np.meshgrid(np.linspace(0.7, 1.3, 241), np.linspace(0.85, 1.15, 241), indexing="ij")
        expected = a[..., None] * signal + b[..., None] * other
        chi2 = 2 * np.sum(expected - observed + observed * np.log(np.maximum(observed, 1e-9) / expected), axis=-1)
        return np.min(chi2 + ((a - 1) / 0.1) ** 2 + ((b - 1) / 0.05) ** 2)

    lowest = min(profiled(mu) for mu in np.linspace(0.0, limit, 15))
    assert profiled(limit) - lowest == pytest.approx(2.7055, abs=0.05)


# Light mediators ------------------------------------------------------------------------------------------------

# 90% CL of XENONnT and LZ together in the reference calculation, mass to zero and 1 MeV.
MEDIATORS = {"vector": (1.30e-7, 2.45e-6), "axial": (1.66e-7, 3.21e-6), "scalar": (5.06e-7, 6.76e-6)}


@cache
def both(theory: str = "standard-model") -> jc.Likelihood:
    return jc.Likelihood([experiment(XENONNT), experiment(LZ)], theory)


@pytest.mark.parametrize("name", MEDIATORS)
def test_light_mediators(name) -> None:
    """Very light ones are bounded by the lowest bins of LZ, 1 to 3 keV under the 37Ar line: ours by 3 to 6% more.

    There its efficiency, digitised, and the smearing of 37Ar matter most; at 1 MeV all bins count alike.
    """
    light, heavy = jc.limits(both(name), "coupling", over={"mass": [1e-3, 1.0]})
    assert light.valid
    assert heavy.valid
    assert light.excluded[0][0] == pytest.approx(MEDIATORS[name][0], rel=0.10)
    assert heavy.excluded[0][0] == pytest.approx(MEDIATORS[name][1], rel=0.03)


def test_lightest_mediators_are_all_alike() -> None:
    """m^2 far below 2 m_e T: the mass is nothing."""
    light, lighter = jc.limits(both("vector"), "coupling", over={"mass": [1e-3, 1e-5]})
    assert light.excluded[0][0] == pytest.approx(lighter.excluded[0][0], rel=2e-3)


def test_solar_flux_is_shared() -> None:
    names = both().nuisances
    assert names == ("flux.solar", f"{XENONNT}.other", f"{LZ}.argon37", f"{LZ}.other")
    one, other = (jc.Likelihood(experiment(n)).nuisances[0] for n in (XENONNT, LZ))
    assert one == other == "flux.solar"


# PandaX-4T ------------------------------------------------------------------------------------------------------


def test_pandax_is_incomplete() -> None:
    for exposure in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"exposure .* must be from 0\.0001 to 10000 \(tonne-year\)"):
            jc.experiment("pandax4t-er-run1", exposure=exposure)
    one = jc.experiment("pandax4t-er-run1")  # with an exposure inferred from another search
    assert one.exposure == 1.0
    assert any("incomplete" in note and "exposure" in note for note in one.notes)
    assert one.status == "digitised"
    twice = jc.experiment("pandax4t-er-run1", exposure=2.0)
    np.testing.assert_allclose(
        jc.signal_counts(twice, jc.StandardModel()), 2 * jc.signal_counts(one, jc.StandardModel()), rtol=1e-12
    )


def test_digitised_data_say_so() -> None:
    for name in (LZ, "lz-er-ws2024"):
        one = experiment(name)
        assert one.status == "digitised"
        assert any("digitised" in note for note in one.notes)
    assert experiment(XENONNT).status == "published"
    assert experiment("lz-er-ws2024").exposure == 3.3
