"""Form factors of protons and neutrons apart, radiative couplings to nuclei, gauge bosons by name: against NumPy."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import jcevns as jc
from jcevns.datasets import read_table
from jcevns.physics.electrons import Electron
from jcevns.physics.interaction import theory_parameters
from jcevns.physics.kinetic_mixing import loop_charge
from jcevns.physics.nuclei import Nucleus
from jcevns.physics.theories import GAUGE_MODELS
from tests import reference
from tests import reference_complementary as ref
from tests.test_cli import call

CS = Nucleus(Z=55, A=133, mass=123800.7, spin=3.5)
XE = Nucleus(Z=54, A=132, mass=122840.3, spin=0)
ELECTRON = Electron()
ALPHA, TAU = 7.2973525643e-3, 1776.93
E, T = (x.ravel() for x in np.meshgrid([12.0, 30.0, 50.0], [1e-4, 1e-3, 2e-3], indexing="ij"))
RECOIL = jnp.asarray([0.3, 1.0, 2.5])


def helm(T, mass, radius, s=0.9):
    q = np.sqrt(2 * mass * T) / reference.HBARC
    return reference.hard_sphere(q * np.sqrt(5 / 3 * radius**2 - 5 * s**2)) * np.exp(-((q * s) ** 2) / 2)


def klein_nystrand(T, mass, radius, a_k=0.7):
    q = np.sqrt(2 * mass * T) / reference.HBARC
    return reference.hard_sphere(q * np.sqrt(5 / 3 * radius**2 - 10 * a_k**2)) / (1 + (q * a_k) ** 2)


SHAPES = {"helm": helm, "klein-nystrand": klein_nystrand}
PROTON_COUPLING = {"e": 0.0382, "mu": 0.0300, "tau": 0.0256}


def cross_section(E, T, mass, amplitude):
    kinematic = 1 - mass * T / (2 * E**2) - T / E
    return np.where(2 * E**2 / (mass + 2 * E) >= T, reference.FERMI**2 * mass / np.pi * amplitude**2 * kinematic, 0)


def found(theory, nucleus, flavour="e"):
    return np.asarray(theory.dsigma_dT(jnp.asarray(E), jnp.asarray(T), nucleus, flavour))


def alike(experiment: jc.Experiment) -> jc.Experiment:
    """As many nu_mu as nu_tau."""
    flux = jc.physics.b8(theta_23=np.pi / 4, delta=np.pi / 2)
    channels = tuple(dataclasses.replace(channel, flux=flux) for channel in experiment.channels)
    return dataclasses.replace(experiment, channels=channels)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flavour", ["e", "anti-mu", "tau"])
def test_protons_and_neutrons_apart(shape, flavour) -> None:
    """Caesium has a measured radius of its protons."""
    mass = float(CS.mass)
    F_p, F_n = SHAPES[shape](T, mass, 4.821), SHAPES[shape](T, mass, 5.4)
    tree = jc.theory(f"standard-model:couplings=tree:form_factor={shape}:R_n=5.4")
    amplitude = 55 * (0.5 - 2 * reference.SIN2W) * F_p - 0.5 * 78 * F_n
    np.testing.assert_allclose(found(tree, CS, flavour), cross_section(E, T, mass, amplitude), rtol=1e-10)
    corrected = jc.theory(f"standard-model:couplings=radiative:form_factor={shape}:R_n=5.4")
    amplitude = 55 * PROTON_COUPLING[flavour.removeprefix("anti-")] * F_p - 0.5117 * 78 * F_n
    np.testing.assert_allclose(found(corrected, CS, flavour), cross_section(E, T, mass, amplitude), rtol=1e-10)


def test_new_physics_takes_the_form_factors_of_what_it_couples_to() -> None:
    mass, tree = float(CS.mass), ":form_factor=helm:R_n=5.4:R_p=4.7"
    F_p, F_n = helm(T, mass, 4.7), helm(T, mass, 5.4)
    standard = 55 * (0.5 - 2 * reference.SIN2W) * F_p - 0.5 * 78 * F_n
    P = 10.0**2 + 2 * mass * T
    per_charge = (3e-5) ** 2 / (np.sqrt(2) * reference.FERMI * P)
    vector = jc.theory("vector:up=0.4:down=-1.1" + tree, mass=10.0, coupling=3e-5)
    amplitude = standard + per_charge * (55 * (0.8 - 1.1) * F_p + 78 * (0.4 - 2.2) * F_n)
    np.testing.assert_allclose(found(vector, CS), cross_section(E, T, mass, amplitude), rtol=1e-10)
    radius = jc.theory("charge-radius:r2_ee=20" + tree)
    shift = np.sqrt(2) * np.pi * ALPHA / (3 * reference.FERMI) * 20e-32 / (reference.HBARC * 1e-13) ** 2
    np.testing.assert_allclose(found(radius, CS), cross_section(E, T, mass, standard - shift * 55 * F_p), rtol=1e-10)
    moment = jc.theory("magnetic-moment:moment=500" + tree)
    new = np.pi * ALPHA**2 / ref.ME**2 * (500e-12) ** 2 * (1 / T - 1 / E) * (55 * F_p) ** 2
    new = np.where(2 * E**2 / (mass + 2 * E) >= T, new, 0)
    np.testing.assert_allclose(found(moment, CS), cross_section(E, T, mass, standard) + new, rtol=1e-10)
    scalar = jc.theory("scalar" + tree, mass=10.0, coupling=1e-5)
    proton = 938.27208943 * (0.0208 / 2.2 + 0.0411 / 4.7)
    neutron = 939.56542194 * (0.0189 / 2.2 + 0.0451 / 4.7)
    new = mass**2 * T / (4 * np.pi * E**2 * P**2) * 1e-20 * (55 * proton * F_p + 78 * neutron * F_n) ** 2
    new = np.where(2 * E**2 / (mass + 2 * E) >= T, new, 0)
    np.testing.assert_allclose(found(scalar, CS), cross_section(E, T, mass, standard) + new, rtol=1e-10)


@pytest.mark.parametrize(
    ("shape", "form"), [("helm", jc.physics.Helm()), ("klein-nystrand", jc.physics.KleinNystrand())]
)
def test_equal_radii_give_the_common_form_factor(shape, form) -> None:
    usual = float(form.usual(XE))
    radius = np.sqrt(3 / 5 * usual + (3 * 0.81 if shape == "helm" else 6 * 0.49))
    for text in ("standard-model", "vector:coupling=1e-5", "scalar:coupling=1e-5", "magnetic-moment:moment=300"):
        text = f"{text}:form_factor={shape}"
        apart, common = jc.theory(text, R_n=radius, R_p=radius), jc.theory(text)
        np.testing.assert_allclose(found(apart, XE), found(common, XE), rtol=1e-10)
        assert theory_parameters(apart).keys() - theory_parameters(common).keys() == {"R_n", "R_p"}
    only = jc.theory(f"standard-model:form_factor={shape}", R_n=radius)  # xenon: no radius in the table
    np.testing.assert_allclose(
        found(only, XE), found(jc.theory(f"standard-model:form_factor={shape}"), XE), rtol=1e-10
    )


def test_a_charge_that_does_not_tell_nucleons_is_spread_over_all() -> None:
    form = jc.physics.Helm(R_n=5.4, R_p=4.7)
    q2 = jnp.asarray([100.0, 2500.0])
    mean = (55 * form.proton(q2, CS) + 78 * form.neutron(q2, CS)) / 133
    np.testing.assert_allclose(form(q2, CS), mean, rtol=1e-14)


def test_radiative_couplings_on_average() -> None:
    """+2.45% of 8B on xenon in the window of XENONnT if nu_mu and nu_tau are alike, +1.97% in CsI."""
    xe = read_table("xenon_isotopes")
    neutrons = np.sum(xe["abundance"] * (xe["A"] - 54)) / xe["abundance"].sum()

    def by_hand(*shares):
        squares = [(54 * g - 0.5117 * neutrons) ** 2 for g in PROTON_COUPLING.values()]
        return np.dot(shares, squares) / (54 * (0.5 - 2 * reference.SIN2W) - 0.5 * neutrons) ** 2 - 1

    every = {name: jc.experiment(name) for name in ("xenonnt-2024-s2", "coherent-csi-2021")}
    xenon = every["xenonnt-2024-s2"]
    cases = (
        (alike(xenon), 0.0245, by_hand(0.345, 0.3275, 0.3275)),  # w_e near 9 MeV
        (xenon, 0.0238, by_hand(0.345, 0.388, 0.267)),
        (every["coherent-csi-2021"], 0.0197, None),
    )
    for experiment, expected, calculated in cases:
        tree, radiative = (
            float(jc.signal_counts(experiment, jc.theory(f"standard-model:couplings={k}")).sum())
            for k in ("tree", "radiative")
        )
        assert radiative / tree - 1 == pytest.approx(expected, rel=0.01)
        if calculated is not None:
            assert radiative / tree - 1 == pytest.approx(calculated, abs=1e-3)  # one w_e for all energies


def test_default_is_the_tree_level_of_the_paper() -> None:
    assert jc.StandardModel().nuclear_couplings == "tree"
    np.testing.assert_allclose(
        found(jc.StandardModel(), XE), reference.dsigma_dT(E, T, 54, 132, 122840.3), rtol=1e-10
    )
    for flavour in ("e", "mu", "tau"):
        np.testing.assert_array_equal(found(jc.StandardModel(), XE, flavour), found(jc.StandardModel(), XE))


@pytest.mark.slow
def test_neutron_radius_of_csi() -> None:
    """R_n = 5.373 +.404 -.422 fm; with sin2w the minimum is at (.336, 6.9 fm), correlation +.95."""
    csi = jc.Likelihood("coherent-csi-2021", jc.theory("standard-model:form_factor=helm:R_n=5"))
    one = jc.interval(csi, "R_n", cl=0.6826895)
    assert one.valid
    assert one.best_fit == pytest.approx(5.373, rel=0.01)
    assert (one.upper - one.best_fit, one.best_fit - one.lower) == pytest.approx((0.404, 0.422), rel=0.03)
    both = jc.fit(csi, ("sin2w", "R_n"), errors=False)
    assert both.valid
    assert both.values["sin2w"] == pytest.approx(0.336, rel=0.03)
    assert both.values["R_n"] == pytest.approx(6.9, rel=0.02)
    assert both.correlation[0, 1] == pytest.approx(0.95, abs=0.02)


# Couplings of the nucleons as parameters.


@pytest.mark.parametrize("form", ["klein-nystrand", "helm:R_n=5.4"])
@pytest.mark.parametrize("flavour", ["e", "anti-mu", "tau"])
def test_couplings_of_the_nucleons(form, flavour) -> None:
    """Each by itself and both at once; what is given replaces what follows from sin2w and from `couplings`."""
    mass = float(CS.mass)
    text, usual = f"standard-model:couplings=radiative:form_factor={form}", jc.theory("standard-model")
    if form.startswith("helm"):
        F_p, F_n = helm(T, mass, 4.821), helm(T, mass, 5.4)
    else:
        F_p = F_n = np.asarray(usual.form_factor(jnp.asarray(2 * mass * T), CS))
    for given, proton, neutron in (
        ("g_V_p=0.05", 0.05, -0.5117),
        ("g_V_n=-0.4", PROTON_COUPLING[flavour.removeprefix("anti-")], -0.4),
        ("g_V_p=0.05:g_V_n=-0.4", 0.05, -0.4),
    ):
        theory = jc.theory(f"{text}:{given}")
        amplitude = 55 * proton * F_p + 78 * neutron * F_n
        np.testing.assert_allclose(found(theory, CS, flavour), cross_section(E, T, mass, amplitude), rtol=1e-9)
        electron = jc.theory(text)
        np.testing.assert_array_equal(found(theory, ELECTRON, flavour), found(electron, ELECTRON, flavour))
        assert theory_parameters(theory).keys() - theory_parameters(electron).keys() == {
            one.partition("=")[0] for one in given.split(":")
        }


@pytest.mark.parametrize("rest", ["", "vector", "nsi", "oscillations"])
def test_couplings_at_tree_level_are_the_default(rest) -> None:
    """Alone, beside a mediator, with charges that are matrices in flavour."""
    same, plain = (
        jc.StandardModel(**options) for options in ({"g_V_p": 0.5 - 2 * reference.SIN2W, "g_V_n": -0.5}, {})
    )

    def counts(model):
        other = jc.StandardModel()
        if rest == "vector":
            other = jc.VectorMediator(10.0, 1e-5, standard_model=model)
        elif rest == "nsi":
            other = jc.NSI(eps_u_ee=0.1, earth="day", standard_model=model)
        elif rest == "oscillations":
            other = jc.physics.Oscillations(earth="day", standard_model=model)
        return np.asarray(jc.signal_counts(jc.experiment("xenonnt-2024-s2"), model if not rest else other))

    np.testing.assert_allclose(counts(same), counts(plain), rtol=1e-12)
    shifted = jc.StandardModel(g_V_p=0.05, g_V_n=-0.5)
    assert np.abs(counts(shifted) / counts(plain) - 1).min() > 0.01


@pytest.mark.slow
def test_limits_on_the_coupling_of_protons_are_those_on_the_weak_angle() -> None:
    """On nuclei at tree level g_V^p is 1/2 - 2 sin2w, and nothing else depends on either."""
    protons = jc.Likelihood("xenonnt-2024-s2", jc.theory("standard-model:g_V_p=0.0229"))
    angle = jc.interval("xenonnt-2024-s2", "sin2w", cl=0.683).segments[-1]
    one = jc.interval(protons, "g_V_p", cl=0.683)
    low, high = next(s for s in one.segments if s[0] < 0.0229 < s[1])
    np.testing.assert_allclose((low, high), (0.5 - 2 * angle[1], 0.5 - 2 * angle[0]), atol=1e-6)
    both = jc.fit(protons, ("g_V_p", "flux"), constrained="flux")
    assert both.valid
    # The rate is even in the weak charge: a proton's of the opposite size fits as well.
    table = read_table("xenon_isotopes")
    N = np.average(table["A"], weights=table["abundance"]) - 54
    mirror = 2 * 0.5 * N / 54 - both.values["g_V_p"]
    there = jc.profile(protons, {"g_V_p": mirror}).chi2
    assert float(there) == pytest.approx(both.chi2_min, abs=0.05)  # xenon has several isotopes


def test_slope_in_the_radius() -> None:
    likelihood = jc.Likelihood("xenonnt-2024-s2", jc.theory("standard-model:form_factor=helm:R_n=5"))

    def chi2(radius):
        return jc.profile(likelihood, {"R_n": radius}).chi2

    slope = float(jax.grad(chi2)(jnp.asarray(5.0)))
    assert slope == pytest.approx(float(chi2(5.001) - chi2(4.999)) / 0.002, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("standard-model:R_n=1", r"R_n 1.0 is outside \[2, 12\] fm"),
        ("standard-model:R_n=big", "option 'R_n' must be a number"),
        ("standard-model:form_factor=fermi:R_n=5", "has no radii of protons and neutrons"),
        ("standard-model:couplings=loop", "must be 'radiative' or 'tree'"),
        ("lmu-ltau:flavours=1,1,1", "needs flavours that add up to zero"),
        ("vector:mixing=loop", "needs flavours that add up to zero"),
        ("vector:mixing=tree", "must be 'none' or 'loop'"),
    ],
)
def test_bad_options(text, message) -> None:
    with pytest.raises(ValueError, match=message):
        jc.theory(text)


# Gauge bosons ---------------------------------------------------------------------------------------------------

LEPTONS = (ref.ME, 105.6583755, TAU)
CHARGES = {  # quark, electron, mu, tau
    "b-3le": (1 / 3, (-3.0, 0.0, 0.0)),
    "b-3lmu": (1 / 3, (0.0, -3.0, 0.0)),
    "b-3ltau": (1 / 3, (0.0, 0.0, -3.0)),
    "le-lmu": (0.0, (1.0, -1.0, 0.0)),
    "le-ltau": (0.0, (1.0, 0.0, -1.0)),
    "lmu-ltau": (0.0, (0.0, 1.0, -1.0)),
}


def loop(charges, q2) -> float:
    def integrand(x):
        logarithms = [q * np.log(m**2 + x * (1 - x) * q2) for q, m in zip(charges, LEPTONS, strict=True)]
        return 12 * x * (1 - x) * sum(logarithms)

    return -ALPHA / (3 * np.pi) * quad(integrand, 0, 0.5, epsabs=1e-13, epsrel=1e-12, limit=500)[0]


@pytest.mark.parametrize("name", CHARGES)
def test_gauge_models_are_the_formula(name) -> None:
    quark, leptons = CHARGES[name]
    made = jc.theory(name, mass=5.0, coupling=4e-5)
    mass = float(XE.mass)
    for flavour in ("e", "mu", "tau", "anti-mu"):
        neutrino = leptons[("e", "mu", "tau").index(flavour.removeprefix("anti-"))]
        lent = np.array([0.0 if quark else loop(leptons, 2 * mass * t) for t in T])
        charge = 54 * (0.5 - 2 * reference.SIN2W) - 0.5 * 78
        P = 25.0 + 2 * mass * T
        charge = charge + (4e-5) ** 2 * neutrino * (3 * 132 * quark + 54 * lent) / (np.sqrt(2) * reference.FERMI * P)
        form = reference.klein_nystrand(np.sqrt(2 * mass * T) / reference.HBARC, 132)
        np.testing.assert_allclose(found(made, XE, flavour), cross_section(E, T, mass, charge * form), rtol=1e-10)
        energy, recoil = E / 10, T * 50
        lent = np.array([0.0 if quark else loop(leptons, 2 * ref.ME * t) for t in recoil])
        shift = (4e-5) ** 2 * neutrino * (leptons[0] - lent)
        shift = shift / (np.sqrt(2) * reference.FERMI * (25.0 + 2 * ref.ME * recoil))
        expected = ref.electron(energy, recoil, flavour, vector=shift)
        expected = np.where(recoil <= 2 * energy**2 / (ref.ME + 2 * energy), expected, 0)
        new = made.dsigma_dT(jnp.asarray(energy), jnp.asarray(recoil), ELECTRON, flavour)
        np.testing.assert_allclose(new, expected, rtol=1e-9)


def test_loop_of_muon_and_tau() -> None:
    at_rest = float(loop_charge(jnp.asarray([0.0, 1.0, -1.0]), jnp.zeros(1))[0])
    assert at_rest == pytest.approx(ALPHA / (3 * np.pi) * np.log((TAU / 105.6583755) ** 2), rel=1e-12)
    assert at_rest == pytest.approx(4.372e-3, rel=1e-3)
    for charges in ((0.0, 1.0, -1.0), (1.0, -1.0, 0.0), (1.0, 0.0, -1.0)):
        for q2 in (0.0, 0.1, 30.0, 1e4):
            new = float(loop_charge(jnp.asarray(charges), jnp.asarray([q2]))[0])
            assert new == pytest.approx(loop(charges, q2), rel=1e-10)


def test_muon_minus_tau_limit() -> None:
    """The reference has as many nu_mu as nu_tau."""
    experiment = alike(jc.experiment("xenonnt-2024-s2"))
    likelihood = jc.Likelihood(experiment, "lmu-ltau")
    limit = jc.interval(likelihood, "coupling", at={"mass": 1.0}).segments[-1][1]
    assert limit == pytest.approx(1.055e-3, rel=0.01)
    # Of nu_mu and nu_tau one gains what the other loses, so that the square decides: counts by hand at the limit.
    parts = [
        np.asarray(jc.signal_counts(experiment, jc.theory("lmu-ltau", mass=1.0, coupling=limit, flavours=f)))
        for f in ((0, 1, -1), (0, -1, 1))
    ]
    np.testing.assert_allclose(parts[0], parts[1], rtol=1e-10)


def test_dark_photon_is_a_millicharge_where_it_is_massless() -> None:
    q = 2e4
    photon = jc.theory("dark-photon", mass=0.0, coupling=float(np.sqrt(4 * np.pi * ALPHA * q * 1e-12)))
    charged = jc.Millicharge(q_ee=q, q_mumu=q, q_tautau=q)
    for flavour in ("e", "mu", "anti-tau"):
        np.testing.assert_allclose(found(photon, XE, flavour), found(charged, XE, flavour), rtol=1e-10)


def test_separate_charges_are_inputs() -> None:
    parameters = theory_parameters(jc.theory("dark-photon:flavours=0,0.5,2"))
    assert {"mass", "coupling", "up", "down", "electron"} <= set(parameters)
    assert parameters["up"][1].default == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", GAUGE_MODELS)
def test_gauge_models_without_coupling_and_in_sums(name) -> None:
    flux, target = jc.physics.b8(), jc.physics.xenon()
    standard = jc.physics.recoil_spectrum(jc.StandardModel(), flux, target, RECOIL)
    none = jc.physics.recoil_spectrum(jc.theory(name), flux, target, RECOIL)
    np.testing.assert_allclose(none, standard, rtol=1e-12)
    a, b = jc.theory(name, mass=3.0, coupling=1e-5), jc.ChargeRadius(r2_mumu=4.0)
    one, other = (jc.physics.recoil_spectrum(x, flux, target, RECOIL) for x in (a + b, b + a))
    np.testing.assert_array_equal(one, other)


def test_gauge_models_are_listed(capsys) -> None:
    listed = {entry["name"]: entry for entry in json.loads(call(capsys, "theories", "--json")[1])}
    assert set(GAUGE_MODELS) <= set(listed)
    assert listed["lmu-ltau"]["settings"]["flavours"] == [0.0, 1.0, -1.0]
    assert {"R_n", "R_p", "couplings"} <= set(listed["standard-model"]["options"])
    out = call(capsys, "theories")[1]
    assert "lmu-ltau   (with up=0:down=0:electron=0:flavours=0,1,-1:mixing=loop)" in out
