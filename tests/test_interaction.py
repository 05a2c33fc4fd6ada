"""What interactions are made of: sums, interference, charges, a moved minimal energy, and what terms depend on."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import jcevns as jc
from jcevns.datasets import read_table
from jcevns.likelihood.folding import folded_parameters
from jcevns.physics.interaction import depends, flavour_blind, theory_parameters, with_values
from jcevns.physics.new_physics import Sum
from tests import problems, reference
from tests import reference_complementary as ref
from tests.test_spin_structure import nucleus

XE = nucleus("132Xe")
E, T = (x.ravel() for x in np.meshgrid([6.0, 9.0, 14.0], [2e-4, 1e-3, 1.5e-3], indexing="ij"))  # MeV
XENON = {"nuclei": (jc.physics.b8(), jc.physics.xenon(), jnp.asarray([0.3, 1.0, 2.0]))}
PLACES = XENON | {"electrons": (jc.physics.solar(), jc.physics.xenon_electrons(), jnp.asarray([2.0, 8.0, 60.0]))}
MODEL = jc.StandardModel()
PARTS = {
    "scalar": jc.ScalarMediator(3.0, 6e-6),
    "vector": jc.VectorMediator(20.0, 2e-5),
    "b-l": jc.VectorMediator(1.0, 3e-6, kappa=-1 / 3),
    "axial": jc.AxialVectorMediator(5.0, 1e-3),
    "tensor": jc.TensorMediator(5.0, 1e-4),
    "magnetic-moment": jc.MagneticMoment(40.0),
}


class Doubled(jc.Interaction):
    """One method, the Standard Model inside."""

    size: jax.Array = jc.parameter(1.0, lower=0.0)

    def dsigma_dT(self, energy, recoil, particle, flavour="e"):
        return (1 + self.size) * MODEL.dsigma_dT(energy, recoil, particle, flavour)


class Steep(jc.Interaction):
    """Weights and terms, the Standard Model inside, and flavours told apart."""

    size: jax.Array = jc.parameter(0.5)

    def weights(self):
        return jnp.stack([jnp.ones_like(self.size), self.size])

    def terms(self, recoil, particle, flavour):
        whole = jnp.tensordot(MODEL.weights(), MODEL.terms(recoil, particle, flavour), 1)
        factor = 2.0 if flavour == "e" else 1.0
        return jnp.stack([whole, factor * whole])


EVERY = PARTS | {"method": Doubled(), "terms": Steep()}


def spectrum(theory, place: str = "nuclei") -> np.ndarray:
    flux, target, recoil = PLACES[place]
    return np.asarray(jc.physics.recoil_spectrum(theory, flux, target, recoil))


# Sums -----------------------------------------------------------------------------------------------------------


def cross_section(theory, place: str) -> np.ndarray:
    if place == "nuclei":
        return np.asarray(theory.dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE, "mu"))
    return np.asarray(theory.dsigma_dT(jnp.asarray(E / 10), jnp.asarray(50 * T), jc.physics.Electron(), "mu"))


def check_sum(pair, place, call) -> None:
    a, b = (EVERY[name] for name in pair)
    both = call(a + b, place)
    np.testing.assert_allclose(call(b + a, place), both, rtol=1e-12)
    np.testing.assert_allclose(call(a + b + MODEL, place), both, rtol=1e-12)
    np.testing.assert_allclose(call(MODEL + a + b, place), both, rtol=1e-12)
    vectors = {"vector", "b-l"} | ({"axial"} if place == "electrons" else set())
    if not set(pair) <= vectors:  # nothing to interfere with each other
        separate = call(a, place) + call(b, place) - call(MODEL, place)
        np.testing.assert_allclose(both, separate, rtol=1e-11, atol=1e-12 * np.max(both))


@pytest.mark.parametrize("place", PLACES)
def test_order_does_not_matter_and_the_standard_model_counts_once(place) -> None:
    for pair in itertools.combinations(EVERY, 2):
        check_sum(pair, place, cross_section)


@pytest.mark.parametrize("pair", [("scalar", "vector"), ("vector", "b-l"), ("method", "axial"), ("terms", "method")])
def test_the_same_for_spectra(pair) -> None:
    check_sum(pair, "nuclei", spectrum)


def test_the_same_for_spectra_of_electrons() -> None:
    check_sum(("vector", "terms"), "electrons", spectrum)


@pytest.mark.parametrize("name", ["scalar", "vector", "method"])
def test_with_the_standard_model_it_is_itself(name) -> None:
    here = problems.joint(problems.BOTH)
    alone = jc.signal(here.under(EVERY[name]))
    for theory in (EVERY[name] + MODEL, MODEL + EVERY[name]):
        np.testing.assert_allclose(jc.signal(here.under(theory)), alone, rtol=1e-12)


def test_three_in_any_order_and_nesting() -> None:
    a, b, c = PARTS["scalar"], PARTS["vector"], PARTS["magnetic-moment"]
    first = spectrum((a + b) + c)
    for theory in (a + (b + c), c + (a + b), (c + b) + a, b + a + c + MODEL):
        np.testing.assert_array_equal(spectrum(theory), first)
    separate = spectrum(a) + spectrum(b) + spectrum(c) - 2 * spectrum(MODEL)
    np.testing.assert_allclose(first, separate, rtol=1e-11)
    assert (a + b + c).label == "magnetic-moment+scalar+vector"
    assert (MODEL + MODEL).label == "standard-model"


def test_standard_model_plus_scalar_and_moment_is_all_of_them() -> None:
    """Against the formulas: eq. 1, eq. 5 and the photon's exchange, added up."""
    m, g, mu = 3.0, 6e-6, 40.0
    found = (PARTS["scalar"] + PARTS["magnetic-moment"]).dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE)
    mass, Z, A = (float(x) for x in (XE.mass, XE.Z, XE.A))
    form = reference.klein_nystrand(np.sqrt(2 * mass * T) / reference.HBARC, A)
    proton = 938.27208943 * (0.0208 / 2.2 + 0.0411 / 4.7)
    neutron = 939.56542194 * (0.0189 / 2.2 + 0.0451 / 4.7)
    charge = g**2 * (Z * proton + (A - Z) * neutron)
    scalar = mass**2 * charge**2 * T / (4 * np.pi * E**2 * (m**2 + 2 * mass * T) ** 2) * form**2
    moment = np.pi * ref.ALPHA**2 / ref.ME**2 * (mu * 1e-12) ** 2 * (1 / T - 1 / E) * Z**2 * form**2
    standard = reference.dsigma_dT(E, T, Z, A, mass)
    inside = 2 * E**2 / (mass + 2 * E) >= T
    np.testing.assert_allclose(found, standard + np.where(inside, scalar + moment, 0), rtol=1e-10)


@pytest.mark.parametrize("place", PLACES)
def test_two_vectors_interfere(place) -> None:
    """Charges of both add to the weak charge before it is squared, for different masses."""
    first, second = ((20.0, 2e-5, 1.0), (1.0, 3e-6, -1 / 3))
    theory = jc.VectorMediator(*first[:2], kappa=first[2]) + jc.VectorMediator(*second[:2], kappa=second[2])
    if place == "nuclei":
        mass, Z, A = (float(x) for x in (XE.mass, XE.Z, XE.A))
        charge = Z * (1 - 4 * reference.SIN2W) / 2 - (A - Z) / 2
        shift = sum(
            k * 3 * A * g**2 / (np.sqrt(2) * reference.FERMI * (m**2 + 2 * mass * T)) for m, g, k in (first, second)
        )
        expected = reference.dsigma_dT(E, T, Z, A, mass) * (1 + shift / charge) ** 2
        found = theory.dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE)
    else:
        energy, recoil = E / 10, T * 50
        shift = sum(
            g**2 / (np.sqrt(2) * reference.FERMI * (m**2 + 2 * ref.ME * recoil)) for m, g, _ in (first, second)
        )
        expected = ref.electron(energy, recoil, "mu", vector=shift)
        expected = np.where(2 * energy**2 / (ref.ME + 2 * energy) >= recoil, expected, 0)
        found = theory.dsigma_dT(jnp.asarray(energy), jnp.asarray(recoil), jc.physics.Electron(), "mu")
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    alone = spectrum(PARTS["vector"], place) + spectrum(PARTS["b-l"], place) - spectrum(MODEL, place)
    assert np.all(np.abs(spectrum(theory, place) / alone - 1) > 1e-3)  # else nothing would be tested


def test_vector_and_axial_interfere_on_electrons_only_as_the_formula_says() -> None:
    energy, recoil = E / 10, T * 50
    m, g = (20.0, 5.0), (2e-5, 3e-5)
    theory = jc.VectorMediator(m[0], g[0]) + jc.AxialVectorMediator(m[1], g[1])
    vector, axial = (g[i] ** 2 / (np.sqrt(2) * reference.FERMI * (m[i] ** 2 + 2 * ref.ME * recoil)) for i in (0, 1))
    inside = 2 * energy**2 / (ref.ME + 2 * energy) >= recoil
    for flavour in ("e", "anti-mu"):
        found = theory.dsigma_dT(jnp.asarray(energy), jnp.asarray(recoil), jc.physics.Electron(), flavour)
        expected = np.where(inside, ref.electron(energy, recoil, flavour, vector=vector, axial=axial), 0)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_different_standard_models_are_refused() -> None:
    other = jc.StandardModel(0.25)
    for a, b in (
        (jc.ScalarMediator(standard_model=other), PARTS["vector"]),
        (other, PARTS["scalar"]),
        (MODEL, other),
    ):
        with pytest.raises(ValueError, match="added to different Standard Models: give them the same one"):
            a + b
    both = jc.ScalarMediator(3.0, 6e-6, standard_model=other) + jc.MagneticMoment(40.0, standard_model=other)
    expected = sum(spectrum(p) for p in both_parts(other)) - spectrum(other)
    np.testing.assert_allclose(spectrum(both), expected, rtol=1e-11)
    with pytest.raises(TypeError, match=r"(?i)interaction"):
        MODEL + 1.0


def both_parts(model):
    return jc.ScalarMediator(3.0, 6e-6, standard_model=model), jc.MagneticMoment(40.0, standard_model=model)


def test_parameters_of_a_sum_are_named_after_their_part_where_they_collide() -> None:
    theory = PARTS["scalar"] + PARTS["magnetic-moment"]
    assert list(theory_parameters(theory)) == ["moment", "mass", "coupling", "sin2w", "a_k", "r0"]
    two = PARTS["scalar"] + PARTS["tensor"]
    names = ["scalar.mass", "scalar.coupling", "tensor.mass", "tensor.coupling"]
    assert list(theory_parameters(two))[:4] == names
    changed = with_values(two, {"scalar.coupling": 0.0, "tensor.mass": 7.0, "sin2w": 0.3})
    expected = jc.TensorMediator(7.0, 1e-4, standard_model=jc.StandardModel(0.3))
    np.testing.assert_allclose(spectrum(changed), spectrum(expected), rtol=1e-12)
    alike = jc.VectorMediator(1.0, 1e-6) + jc.VectorMediator(2.0, 1e-6)
    with pytest.raises(ValueError, match=r"two parameters of the theory are called 'vector\.mass'"):
        theory_parameters(alike)


def test_tables_add_to_neutrinos() -> None:
    table = jc.TabulatedSpectrum([0.2, 1.0, 3.0], [40.0, 10.0, 0.0], strength=0.5)
    both = MODEL + table
    expected = spectrum(MODEL) + 0.5 * np.interp(PLACES["nuclei"][2], [0.2, 1.0, 3.0], [40.0, 10.0, 0.0])
    np.testing.assert_allclose(spectrum(both), expected, rtol=1e-12)
    np.testing.assert_array_equal(spectrum(table + MODEL), spectrum(both))
    np.testing.assert_allclose(spectrum(table + table), 2 * spectrum(table), rtol=1e-14)
    mixed = table + PARTS["scalar"]
    np.testing.assert_allclose(spectrum(mixed), spectrum(PARTS["scalar"]) + spectrum(table), rtol=1e-12)


# Interactions of one's own --------------------------------------------------------------------------------------


class Heavy(jc.Interaction):
    """A heavy neutral lepton is made: E_min is moved; of a size that does not depend on E, and the Standard Model."""

    lepton: jax.Array = jc.parameter(2.0, unit="MeV", lower=0.0, upper=8.0)
    size: jax.Array = jc.parameter(1.0, lower=0.0)

    def minimum_energy(self, recoil, particle):
        momentum = jnp.sqrt(recoil * (recoil + 2 * particle.mass))
        return (recoil + momentum) / 2 * (1 + self.lepton**2 / (2 * particle.mass * recoil))

    def dsigma_dT(self, energy, recoil, particle, flavour):
        return jnp.full_like(energy * recoil, 1e-18) * self.size * (1 + 3 / energy)


class HeavyTerms(Heavy):
    """The same as weights and terms."""

    def weights(self):
        return self.size[None]

    def terms(self, recoil, particle, flavour):
        one = jnp.full_like(recoil, 1e-18)
        return jnp.stack([one, 3 * one, 0 * one])[None]


@pytest.mark.parametrize("kind", [Heavy, HeavyTerms])
def test_minimal_energy_of_ones_own(kind) -> None:
    """Against adaptive quadrature over the neutrino energy, by isotope; zero where E_min is above the flux."""
    table, xe = read_table("b8_spectrum_bahcall1996"), read_table("xenon_isotopes")
    nodes, density = table["energy_MeV"], table["density_per_MeV"]
    molar = np.sum(xe["abundance"] * xe["atomic_mass_u"])

    def shape(energy):
        return np.interp(energy, nodes, density, right=0.0) * (1 + 3 / energy)

    recoils = np.array([0.01, 0.3, 1.0, 2.5])  # keV
    for lepton in (0.0, 2.0, 7.5):
        expected = np.zeros(recoils.size)
        for mass, share in zip(xe["nuclear_mass_MeV"], xe["abundance"], strict=True):
            for i, t in enumerate(recoils * 1e-3):
                least = (t + np.sqrt(t * (t + 2 * mass))) / 2 * (1 + lepton**2 / (2 * mass * t))
                cuts = [least, *nodes[nodes > least]]
                value = sum(quad(shape, a, b, epsrel=1e-10)[0] for a, b in itertools.pairwise(cuts))
                expected[i] += share * 1e6 * reference.MOLE / molar * 1e-18 * value
        expected *= reference.FLUX * (reference.HBARC * 1e-13) ** 2 * reference.YEAR * 1e-3
        found = jc.physics.recoil_spectrum(
            kind(lepton, 1.0), jc.physics.b8(), jc.physics.xenon(), jnp.asarray(recoils)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12 * expected.max())
        assert lepton < 7 or expected[0] == 0.0 < expected[-1]


def test_minimal_energy_in_a_sum() -> None:
    both = Heavy(2.0, 1.0) + PARTS["scalar"]
    expected = spectrum(Heavy(2.0, 1.0)) + spectrum(PARTS["scalar"]) - spectrum(MODEL)
    np.testing.assert_allclose(spectrum(both), expected, rtol=1e-10)


class Empty(jc.Interaction):
    pass


class Wrong(jc.Interaction):
    def weights(self):
        return jnp.ones(2)

    def terms(self, recoil, particle, flavour):
        return jnp.stack([recoil, recoil, recoil])[None]


class Flat(jc.Interaction):
    def terms(self, recoil, particle, flavour):
        return jnp.stack([recoil, recoil])


def test_what_is_no_interaction() -> None:
    with pytest.raises(TypeError, match="Empty gives no cross section: write `terms`"):
        Empty()
    with pytest.raises(ValueError, match=r"Wrong: \(2,\) weights for 1 terms"):
        spectrum(Wrong())
    with pytest.raises(ValueError, match=r"Flat: terms have shape \(2, 3\), expected \(term, 3, 3\)"):
        spectrum(Flat())
    with pytest.raises(ValueError, match=r"size -1\.0 is outside \[0, inf\]"):
        Doubled(-1.0)


# Charges --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("up", "down"), [(1.0, 0.0), (0.0, 1.0), (0.7, -1.3), (None, 0.4), (1 / 3, None)])
def test_charges_of_quarks(up, down) -> None:
    """2Z + N up quarks and Z + 2N down quarks; what is absent has the common charge."""
    m, g, kappa = 10.0, 2e-5, 0.5
    theory = jc.VectorMediator(m, g, kappa=kappa, up=up, down=down)
    mass, Z, A = (float(x) for x in (XE.mass, XE.Z, XE.A))
    q_up, q_down = (kappa if q is None else q for q in (up, down))
    charge = q_up * (A + Z) + q_down * (2 * A - Z)
    weak = Z * (1 - 4 * reference.SIN2W) / 2 - (A - Z) / 2
    shift = charge * g**2 / (np.sqrt(2) * reference.FERMI * (m**2 + 2 * mass * T))
    expected = reference.dsigma_dT(E, T, Z, A, mass) * (1 + shift / weak) ** 2
    np.testing.assert_allclose(theory.dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE), expected, rtol=1e-9)
    # The charge of the electron is another one.
    np.testing.assert_array_equal(spectrum(theory, "electrons"), spectrum(jc.VectorMediator(m, g), "electrons"))


@pytest.mark.parametrize("electron", [-1.0, 0.0, 0.3])
def test_charge_of_the_electron(electron) -> None:
    energy, recoil = E / 10, T * 50
    theory = jc.VectorMediator(0.5, 3e-7, electron=electron)
    shift = electron * 9e-14 / (np.sqrt(2) * reference.FERMI * (0.25 + 2 * ref.ME * recoil))
    inside = 2 * energy**2 / (ref.ME + 2 * energy) >= recoil
    expected = np.where(inside, ref.electron(energy, recoil, "e", vector=shift), 0)
    found = theory.dsigma_dT(jnp.asarray(energy), jnp.asarray(recoil), jc.physics.Electron(), "e")
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_array_equal(spectrum(theory), spectrum(jc.VectorMediator(0.5, 3e-7)))


def test_charges_of_flavours() -> None:
    theory = jc.VectorMediator(10.0, 2e-5, flavours=(0.0, 1.0, -2.0))
    for flavour, factor in (("e", 0.0), ("mu", 1.0), ("anti-mu", 1.0), ("tau", -2.0)):
        found = theory.dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE, flavour)
        alone = jc.VectorMediator(10.0, 2e-5, kappa=factor).dsigma_dT(jnp.asarray(E), jnp.asarray(T), XE, flavour)
        np.testing.assert_allclose(found, alone, rtol=1e-12)


def test_negative_squares_of_moments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"flavours \[-1\.0, 0\.0, 0\.0\] multiply squared moments, none may"):
        jc.MagneticMoment(flavours=(-1, 0, 0))
    with pytest.raises(ValueError, match="none may be negative"):
        jc.theory("magnetic-moment", flavours=(1, float("nan"), 1))
    assert np.all(spectrum(jc.MagneticMoment(40.0, flavours=(0, 1, 0))) > spectrum(MODEL))


# What terms depend on -------------------------------------------------------------------------------------------


NUCLEUS, ELECTRON = jax.tree.map(lambda x: x[0], jc.physics.xenon().nuclei), jc.physics.Electron()


def used(theory, particles=(NUCLEUS,), flavours=("e", "mu")) -> set[str]:
    return {n for n, (path, _) in theory_parameters(theory).items() if depends(theory, path, particles, flavours)}


class Range(jc.physics.AbstractFormFactor):
    """A form factor with a parameter that only heavy nuclei use."""

    reach: jax.Array = jc.parameter(1.0, lower=0.0)

    def __call__(self, q2, nucleus):
        return 1 / (1 + q2 * self.reach**2 / 1e4)


class Weighted(jc.Interaction):
    """One parameter of each kind, and one that nothing uses."""

    inside: jax.Array = jc.parameter(1.0)
    outside: jax.Array = jc.parameter(1.0)
    threshold: jax.Array = jc.parameter(0.0)
    nowhere: jax.Array = jc.parameter(1.0)

    def weights(self):
        return jnp.stack([self.outside, self.outside * self.inside])

    def minimum_energy(self, recoil, particle):
        return 5.0 + self.threshold + 0 * recoil

    def terms(self, recoil, particle, flavour):
        one = jnp.exp(-self.inside * recoil)
        return jnp.stack([jnp.stack([one, one, one])] * 2)


@pytest.mark.parametrize(
    ("theory", "nuclei", "electrons"),
    [
        (MODEL, {"a_k", "r0"}, set()),
        (jc.StandardModel(form_factor=Range()), {"reach"}, set()),
        (PARTS["scalar"], {"mass", "a_k", "r0"}, {"mass"}),
        (PARTS["vector"], {"mass", "kappa", "a_k", "r0"}, {"mass", "electron"}),
        (PARTS["magnetic-moment"], {"a_k", "r0"}, set()),
        (Doubled(), {"size"}, {"size"}),
        (Steep(), set(), set()),
        (Weighted(), {"inside", "threshold"}, {"inside", "threshold"}),
        (jc.TabulatedSpectrum([0.2, 1.0], [1.0, 0.0]), set(), set()),
        (PARTS["scalar"] + PARTS["magnetic-moment"], {"mass", "a_k", "r0"}, {"mass"}),
        (PARTS["tensor"] + Doubled(), {"mass", "size", "a_k", "r0"}, {"mass", "size"}),
        (MODEL + jc.TabulatedSpectrum([0.2, 1.0], [1.0, 0.0]), {"a_k", "r0"}, set()),
        (Weighted() + Steep(), {"inside", "threshold", "a_k", "r0"}, {"inside", "threshold"}),
    ],
    ids=lambda x: getattr(x, "label", type(x).__name__) if isinstance(x, jc.Interaction) else "",
)
def test_parameters_that_terms_use(theory, nuclei, electrons) -> None:
    assert used(theory) == nuclei
    assert used(theory, (ELECTRON,)) == electrons
    assert used(theory, (NUCLEUS, ELECTRON)) == nuclei | electrons


def test_parameters_that_are_folded_follow_the_targets_of_the_likelihood() -> None:
    theory = PARTS["vector"] + PARTS["magnetic-moment"]
    names = tuple(theory_parameters(theory))
    on_xenon = jc.Likelihood("xenonnt-2024-s2", theory)
    assert folded_parameters(on_xenon, names) == ("mass", "kappa", "a_k", "r0")
    assert folded_parameters(jc.Likelihood("xenonnt-er-2022", theory), names) == ("mass", "electron")
    assert isinstance(theory, Sum)


def test_what_terms_do_not_use_does_not_change_them() -> None:
    """By values: where `depends` says no, terms are the same at any value; where yes, they differ."""
    for theory in (PARTS["vector"], PARTS["scalar"] + PARTS["magnetic-moment"], Weighted()):
        (path_of,) = (theory_parameters(theory),)
        recoil = jnp.asarray([1e-4, 1e-3])
        before = np.asarray(theory.terms(recoil, NUCLEUS, "e"))
        for name, (path, record) in path_of.items():
            changed = with_values(theory, {name: 0.9 * record.default + 0.01})
            same = np.array_equal(before, np.asarray(changed.terms(recoil, NUCLEUS, "e")))
            if name != "threshold":
                assert same is not depends(theory, path, (NUCLEUS,), ("e",)), name


def test_flavours_that_do_not_matter() -> None:
    assert flavour_blind(MODEL, NUCLEUS)
    assert not flavour_blind(MODEL, ELECTRON)
    assert flavour_blind(PARTS["vector"], NUCLEUS)
    assert not flavour_blind(jc.VectorMediator(flavours=(1.0, 0.0, 0.0)), NUCLEUS)
    assert not flavour_blind(Steep(), NUCLEUS)
    assert flavour_blind(Doubled(), NUCLEUS)


def test_gradient_through_a_sum() -> None:
    theory = PARTS["scalar"] + PARTS["vector"]

    def total(values):
        return jnp.sum(jc.physics.recoil_spectrum(with_values(theory, values), *PLACES["nuclei"]))

    values = {"scalar.coupling": 6e-6, "vector.mass": 20.0, "sin2w": 0.23857}
    slopes = jax.grad(total)({n: jnp.asarray(v) for n, v in values.items()})
    for name, value in values.items():
        numeric = reference.slope(lambda x, n=name: float(total(values | {n: x})), value, 1e-3 * value)
        assert float(slopes[name]) == pytest.approx(float(numeric), rel=1e-7)
    assert eqx.is_array(slopes["sin2w"])
