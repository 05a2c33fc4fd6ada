"""Solar neutrino oscillations against NumPy's eigenvectors, published numbers, identities and finite differences."""

from __future__ import annotations

import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns import datasets
from jcevns.physics import (
    Earth,
    Exposure,
    MatterNSI,
    OscillationParameters,
    ProductionRegion,
    earth_shells,
    earth_states,
    hermitian,
    mass_fractions,
    mixing_matrix,
    night_exposure,
    nufit60,
    nufit60_errors,
    production_region,
    solar_density_matrix,
    year_average,
)
from jcevns.physics.earth import evolution
from jcevns.physics.oscillations import mass_matrix
from jcevns.physics.sun import mass_projectors

ENERGY = np.array([5.0, 7.0, 10.0, 12.0, 15.0])
# PEANUTS (arXiv:2303.15527), same model of the Sun, parameters and Earth; the nights carry 2e-4 of sampling.
DAY = np.array([0.39252, 0.35536, 0.32662, 0.31675, 0.30823])
NIGHT = np.array([0.39563, 0.36182, 0.33811, 0.33127, 0.3273])
ASYMMETRY = np.array([-0.79, -1.80, -3.46, -4.48, -6.0])  # per cent
FIELDS = ("theta12", "theta13", "theta23", "delta_CP", "dm2_21", "dm2_31")
SOURCES = ("pp", "pep", "hep", "be7", "b8", "n13", "o15", "f17")
ANGLES = {
    "theta12": np.arcsin(np.sqrt(0.308)),
    "theta13": np.arcsin(np.sqrt(0.02215)),
    "theta23": np.arcsin(0.47**0.5),
}

UP = np.array([[0.3, 0.1 + 0.2j, -0.2], [0.1 - 0.2j, -0.1, 0.15j], [-0.2, -0.15j, 0.2]])
DOWN = np.array([[-0.2, 0.1, 0.05j], [0.1, 0.3, 0.1], [-0.05j, 0.1, 0.1]])
ELECTRON = np.array([[0.1, 0.05j, 0.1], [-0.05j, 0.2, 0.02], [0.1, 0.02, -0.3]])
STRONG = MatterNSI(ELECTRON, UP, DOWN)


# An independent calculation: NumPy's eigenvectors, every shell of the Sun, thin steps in the Earth.


def pmns(theta12: float, theta13: float, theta23: float, delta: float) -> np.ndarray:
    """Product of three rotations."""
    s, c = np.sin, np.cos
    first = np.array([[1, 0, 0], [0, c(theta23), s(theta23)], [0, -s(theta23), c(theta23)]])
    phase = np.diag([np.exp(-0.5j * delta), 1, np.exp(0.5j * delta)])
    middle = np.array([[c(theta13), 0, s(theta13)], [0, 1, 0], [-s(theta13), 0, c(theta13)]])
    last = np.array([[c(theta12), s(theta12), 0], [-s(theta12), c(theta12), 0], [0, 0, 1]])
    return first @ phase @ middle @ phase.conj() @ last


PMNS = pmns(**ANGLES, delta=np.radians(212.0))
MASSES = np.array([0.0, 7.49e-5, 2.513e-3])
# sqrt2 G_F n_e in eV for a mole per cm^3, from G_F/(hbar c)^3 = 1.1663787e-5 GeV^-2 and hbar c = 1.973269804e-5 eV cm
POTENTIAL = np.sqrt(2) * 1.1663787e-23 * 6.02214076e23 * 1.973269804e-5**3


def sun_by_numpy(energy: float, source: str, nsi: bool, squares: np.ndarray = MASSES) -> np.ndarray:
    table, composition = (datasets.read_table(f"solar_{name}") for name in ("production_b16", "composition_b23"))
    rho = np.zeros((3, 3), complex)
    ratio = np.interp(table["radius"], composition["radius"], composition["neutrons_per_electron"])
    order = np.argsort(squares)
    for density, n, share in zip(10 ** table["log10_electron_density"], ratio, table[source], strict=True):
        potential = np.diag([1.0, 0, 0]).astype(complex)
        if nsi:
            potential += ELECTRON + (2 + n) * UP + (1 + 2 * n) * DOWN
        hamiltonian = (PMNS * squares) @ PMNS.conj().T / (2e6 * energy) + POTENTIAL * density * potential
        _, states = np.linalg.eigh(hamiltonian)
        for k in range(3):
            nu = PMNS[:, order[k]]
            rho += share * abs(states[0, k]) ** 2 * np.outer(nu, nu.conj())
    return rho / table[source].sum()


def earth_by_numpy(energy: float, cos_nadir: float, nsi: bool, steps: int) -> np.ndarray:
    """Amplitudes from mass states to flavours along one chord, in steps of constant density."""
    layers = datasets.read_table("earth_electron_density")
    length = 2 * 6371.0 * cos_nadir
    along = (np.arange(steps) + 0.5) / steps * length - length / 2
    x = np.sqrt(along**2 + 6371.0**2 * (1 - cos_nadir**2)) / 6371.0
    layer = np.searchsorted(layers["radius_outer"], x)
    density = layers["alpha"][layer] + layers["beta"][layer] * x**2 + layers["gamma"][layer] * x**4
    fraction = np.where(layer < 2, 0.467, 0.495)
    n = ((1 - fraction) / fraction)[:, None, None]
    potential = np.zeros((steps, 3, 3), complex) + np.diag([1.0, 0, 0])
    if nsi:
        potential = potential + ELECTRON + (2 + n) * UP + (1 + 2 * n) * DOWN
    vacuum = (PMNS * MASSES) @ PMNS.conj().T / (2e6 * energy)
    values, states = np.linalg.eigh(vacuum + POTENTIAL * density[:, None, None] * potential)
    km = 1e5 / 1.973269804e-5  # eV^-1
    phases = np.exp(-1j * values * km * length / steps)
    step = (states * phases[:, None, :]) @ states.conj().swapaxes(1, 2)
    total = np.eye(3, dtype=complex)
    for one in step:
        total = one @ total
    return total @ PMNS


def heights(latitude: float) -> np.ndarray:
    """Cosines of the nadir angle by night, at even times of a year."""
    day, hour = np.meshgrid(2 * np.pi * (np.arange(730) + 0.25) / 730, 2 * np.pi * (np.arange(1000) + 0.25) / 1000)
    axis = np.radians(23.44)
    sun = np.array([np.cos(day), np.sin(day) * np.cos(axis), np.sin(day) * np.sin(axis)])
    zenith = np.cos(np.radians(latitude)) * np.array([np.cos(hour), np.sin(hour), 0 * hour])
    zenith[2] += np.sin(np.radians(latitude))
    height = -(sun * zenith).sum(axis=0)
    return height[height > 0]


def probability(rho: jax.Array) -> np.ndarray:
    return np.asarray(jnp.diagonal(rho, axis1=-2, axis2=-1).real)


# Parameters.


def test_parameters_are_those_of_nufit() -> None:
    p = nufit60()
    assert np.allclose([p.theta12, p.theta13, p.theta23], list(ANGLES.values()), rtol=1e-14)
    assert float(p.delta_CP) == pytest.approx(np.radians(212))
    assert (float(p.dm2_21), float(p.dm2_31)) == (7.49e-5, 2.513e-3)
    assert eqx.tree_equal(p, OscillationParameters())
    inverted = nufit60("inverted")
    assert float(inverted.dm2_31) == pytest.approx(-2.484e-3 + 7.49e-5)
    errors = nufit60_errors()
    assert tuple(errors) == FIELDS
    assert errors["dm2_31"][1:] == (2.1e-5, 1.9e-5)
    value, up, down = errors["theta13"]
    assert np.sin(value + up) ** 2 == pytest.approx(0.02215 + 0.00056)
    assert np.sin(value - down) ** 2 == pytest.approx(0.02215 - 0.00058)
    assert np.degrees(errors["delta_CP"][1:]) == pytest.approx([26, 41])


def test_mixing_matrix() -> None:
    assert np.abs(np.asarray(mixing_matrix(nufit60())) - PMNS).max() < 1e-14


def test_messages() -> None:
    with pytest.raises(ValueError, match="normal, inverted"):
        nufit60("up")
    with pytest.raises(ValueError, match="did you mean b8"):
        production_region("B8")
    with pytest.raises(ValueError, match="from 1 to 20"):
        production_region("b8", 0)
    with pytest.raises(ValueError, match="eps of up must be a hermitian matrix"):
        MatterNSI(up=1j * np.eye(3))
    with pytest.raises(ValueError, match="dm2_21"):
        OscillationParameters(dm2_21=-7.49e-5)
    with pytest.raises(ValueError, match="lngs"):
        night_exposure("gran sasso")
    with pytest.raises(ValueError, match="from -90 to 90"):
        night_exposure(100.0)
    with pytest.raises(ValueError, match="at least 2"):
        night_exposure(45.0, angles=1)
    with pytest.raises(ValueError, match="profile of the Earth"):
        earth_shells("flat")
    with pytest.raises(ValueError, match="at least 1 per layer"):
        earth_shells(shells=0)


# The Sun.


@pytest.mark.parametrize("nsi", [False, True])
@pytest.mark.parametrize("source", ["b8", "pp"])
def test_density_matrix_against_numpy(source: str, nsi: bool) -> None:
    energies = np.array([0.3, 3.0, 10.0]) if source == "b8" else np.array([0.1, 0.42])
    found = solar_density_matrix(jnp.asarray(energies), source, nsi=STRONG if nsi else None)
    expected = np.stack([sun_by_numpy(e, source, nsi) for e in energies])
    assert np.abs(np.asarray(found) - expected).max() < (2e-5 if nsi else 1e-6)


def test_inverted_ordering_against_numpy() -> None:
    parameters = eqx.tree_at(lambda p: p.dm2_31, nufit60(), jnp.asarray(-2.4e-3))
    found = solar_density_matrix(jnp.array([10.0]), parameters=parameters)[0]
    expected = sun_by_numpy(10.0, "b8", False, np.array([0.0, 7.49e-5, -2.4e-3]))
    assert np.abs(np.asarray(found) - expected).max() < 1e-6


def test_day_reference() -> None:
    rho = solar_density_matrix(jnp.asarray(ENERGY))
    assert np.abs(probability(rho)[:, 0] - DAY).max() < 1e-4
    assert np.abs(probability(rho)[2] - [0.3266, 0.4017, 0.2717]).max() < 1e-4


def test_agrees_with_the_two_flavour_formula() -> None:
    """The card `solar_survival` leaves out that matter changes theta13 too, to first order by 2 A/dm2_31."""
    table = datasets.read_table("solar_survival")
    s13 = 0.02215
    for source, highest in (("pp", 0.42), ("be7", 0.87), ("b8", 16.0), ("hep", 18.7)):
        energy = table["energy_MeV"][table["energy_MeV"] < highest]
        region = production_region(source)
        matter = 2e6 * energy * POTENTIAL * float(region.weight @ region.density)
        card = table[source][: energy.size]
        expected = card - 2 * s13 * matter / 2.513e-3 * (card - s13**2) / (1 - s13)
        found = probability(solar_density_matrix(jnp.asarray(energy), region))[:, 0]
        assert np.abs(found - expected).max() < 2e-4, source


@pytest.mark.parametrize("source", SOURCES)
def test_few_nodes_stand_for_the_region_of_production(source: str) -> None:
    energy = jnp.array([0.2, 1.0, 4.0, 10.0, 18.0])
    few, every = production_region(source), production_region(source, None)
    for nsi, tolerance in ((None, 1e-6), (STRONG, 2e-5)):
        a, b = (solar_density_matrix(energy, region, nsi=nsi) for region in (few, every))
        assert float(jnp.abs(a - b).max()) < tolerance
    assert float(few.weight.sum()) == pytest.approx(1, abs=1e-14)
    assert float(few.weight @ few.density) == pytest.approx(float(every.weight @ every.density), rel=1e-12)


@pytest.mark.parametrize("nsi", [None, STRONG, MatterNSI(up=-3 * UP), MatterNSI(down=10 * DOWN)])
@pytest.mark.parametrize("ordering", ["normal", "inverted"])
def test_density_matrix_is_one(nsi: MatterNSI | None, ordering: str) -> None:
    energy = jnp.linspace(0.05, 19.0, 100)
    for states in (None, year_average(energy, Exposure([0.2, 0.9], [0.5, 0.5]), nufit60(ordering), nsi)):
        rho = np.asarray(solar_density_matrix(energy, "b8", nufit60(ordering), nsi, states))
        assert np.abs(np.trace(rho, axis1=1, axis2=2) - 1).max() < 1e-10
        assert np.abs(rho - rho.conj().swapaxes(1, 2)).max() < 1e-10
        assert np.linalg.eigvalsh(rho).min() > -1e-10


def test_couplings_universal_in_flavour_change_nothing() -> None:
    energy, unit = jnp.linspace(0.1, 16.0, 30), np.eye(3)
    universal = MatterNSI(0.3 * unit, -0.2 * unit, 0.7 * unit)
    plain, shifted = (solar_density_matrix(energy, nsi=nsi) for nsi in (None, universal))
    assert float(jnp.abs(plain - shifted).max()) < 1e-10
    more = MatterNSI(*(x + 0.4 * unit for x in (ELECTRON, UP, DOWN)))
    assert (
        float(jnp.abs(solar_density_matrix(energy, nsi=STRONG) - solar_density_matrix(energy, nsi=more)).max())
        < 1e-10
    )
    night = [earth_states(energy, jnp.array([0.8]), nufit60(), nsi) for nsi in (STRONG, more)]
    assert float(jnp.abs(night[0] - night[1]).max()) < 1e-9  # phases of 1e5 at the lowest energy


def test_degeneracy_of_vacuum_and_matter() -> None:
    """H -> -H* of the vacuum part, with eps_ee -> -2 - eps_ee, leaves the probabilities (arXiv:1604.05772)."""
    p = nufit60()
    energy, region = jnp.linspace(1.0, 15.0, 8), ProductionRegion([90.0], [0.0], [1.0])
    dark = OscillationParameters(
        np.pi / 2 - p.theta12, p.theta13, p.theta23, np.pi - p.delta_CP, p.dm2_21, p.dm2_21 - p.dm2_31
    )
    plain = solar_density_matrix(energy, region, p)
    twin = solar_density_matrix(energy, region, dark, MatterNSI(electron=hermitian(ee=-2.0)))
    assert np.abs(probability(plain) - probability(twin)).max() < 1e-10


@pytest.mark.parametrize("limit", ["zero density", "low energy"])
def test_vacuum_average(limit: str) -> None:
    region = ProductionRegion([0.0], [0.3], [1.0]) if limit == "zero density" else production_region("b8")
    energy = jnp.array([5.0, 10.0]) if limit == "zero density" else jnp.array([1e-9])
    found = probability(solar_density_matrix(energy, region))
    average = (abs(PMNS) ** 2 * abs(PMNS[0]) ** 2).sum(axis=1)
    assert np.abs(found - average).max() < 1e-10
    assert average[0] == pytest.approx(np.cos(ANGLES["theta13"]) ** 4 * (1 - 2 * 0.308 * 0.692) + 0.02215**2)


# The Earth.


@pytest.mark.parametrize("nsi", [False, True])
@pytest.mark.parametrize("cos_nadir", [0.1, 0.5, 0.9, 1.0])
def test_one_chord_against_numpy(cos_nadir: float, nsi: bool) -> None:
    amplitudes = earth_by_numpy(10.0, cos_nadir, nsi, 12_000)
    expected = np.einsum("ai,bi->iab", amplitudes, amplitudes.conj())
    model = earth_shells(shells=60)
    found = earth_states(jnp.array([10.0]), jnp.array([cos_nadir]), nufit60(), STRONG if nsi else None, model)[0, 0]
    assert np.abs(np.asarray(found) - expected).max() < (1e-3 if nsi else 3e-4)


@pytest.mark.parametrize(("latitude", "site"), [(42.45, "lngs"), (28.15, "jinping"), (44.35, "surf"), (-30.0, "")])
def test_exposure_against_an_orbit(latitude: float, site: str) -> None:
    exposure = night_exposure(site or latitude)
    cosine = heights(latitude)
    assert float(exposure.weight.sum()) == pytest.approx(1)
    for power in (1, 2, 5):
        assert float(exposure.weight @ exposure.cos_nadir**power) == pytest.approx((cosine**power).mean(), abs=3e-4)
    assert float(exposure.cos_nadir.max()) <= np.cos(np.radians(max(abs(latitude) - 23.44, 0)))


def test_night_reference() -> None:
    energy = jnp.asarray(ENERGY)
    day, night = (
        probability(solar_density_matrix(energy, states=states))[:, 0]
        for states in (None, year_average(energy, night_exposure("lngs"), nufit60(), day=0.0))
    )
    assert np.abs(night - NIGHT).max() < 4e-4
    asymmetry = 200 * (day - night) / (day + night)
    assert np.abs(asymmetry - ASYMMETRY).max() < 0.12
    year = solar_density_matrix(energy, states=year_average(energy, night_exposure("lngs"), nufit60()))
    assert np.allclose(probability(year)[:, 0], (day + night) / 2, rtol=0, atol=1e-12)


def test_night_of_a_year_against_numpy() -> None:
    """Other steps, other directions: both sample what oscillates along the path."""
    edges = np.linspace(0, np.pi / 2, 161)
    weight, _ = np.histogram(np.arccos(heights(42.45)), edges)
    middle = np.cos((edges[1:] + edges[:-1]) / 2)
    shares = np.asarray(mass_fractions(jnp.array([10.0]), production_region("b8"), nufit60()))[0]
    chords = [np.abs(earth_by_numpy(10.0, c, False, 250)[0]) ** 2 @ shares for c in middle[weight > 0]]
    expected = np.average(chords, weights=weight[weight > 0])
    states = year_average(jnp.array([10.0]), night_exposure("lngs"), nufit60(), day=0.0)
    assert probability(solar_density_matrix(jnp.array([10.0]), states=states))[0, 0] == pytest.approx(
        expected, abs=3e-4
    )


def test_crust_and_ocean_of_prem_regenerate_less() -> None:
    """Only the last oscillation length counts: PREM's crust and ocean are thin, and light."""
    energy, exposure = jnp.array([10.0]), night_exposure("lngs")
    day = probability(solar_density_matrix(energy))[0, 0]
    gain = {}
    prem = earth_shells("prem")
    full = Earth(prem.radius, prem.density.at[-3:].set(prem.density[-4]), prem.neutrons_per_electron)
    for name, model in (("smooth", earth_shells()), ("prem", prem), ("full", full)):
        states = year_average(energy, exposure, nufit60(), model=model, day=0.0)
        gain[name] = probability(solar_density_matrix(energy, states=states))[0, 0] - day
    assert gain["full"] == pytest.approx(gain["smooth"], rel=0.02)
    assert gain["prem"] / gain["smooth"] == pytest.approx(0.84, abs=0.02)


@pytest.mark.parametrize("how", ["no matter", "no path"])
def test_without_matter_night_is_day(how: str) -> None:
    model = Earth([3000.0, 6371.0], [0.0, 0.0], [1.0, 1.0]) if how == "no matter" else earth_shells()
    cosine = jnp.array([0.0, 0.3, 1.0]) if how == "no matter" else jnp.array([0.0])
    energy = jnp.array([1.0, 10.0])
    fractions = mass_fractions(energy, production_region("b8"), nufit60())
    night = jnp.einsum(
        "ei,neiaa->nea", fractions.astype(complex), earth_states(energy, cosine, nufit60(), None, model)
    )
    day = probability(solar_density_matrix(energy))
    assert np.abs(np.asarray(night) - day).max() < 1e-10
    states = earth_states(energy, cosine, nufit60(), None, model)
    assert float(jnp.abs(states - mass_projectors(nufit60())).max()) < 1e-10


def test_evolution_is_unitary_also_for_equal_eigenvalues() -> None:
    matrices = [
        mass_matrix(nufit60()),
        hermitian(ee=1e-5),
        hermitian(1e-3, 2e-3, 2e-3),
        hermitian(1.0, 1.0, 1.0 + 1e-13),
    ]
    for matrix in matrices:
        for phase in (0.0, 1.0, 1e5):
            found = np.asarray(evolution(matrix, jnp.asarray(phase)))
            assert np.abs(found @ found.conj().T - np.eye(3)).max() < 1e-10
            free = np.asarray(matrix) - np.trace(matrix) / 3 * np.eye(3)
            values, vectors = np.linalg.eigh(free)
            expected = (vectors * np.exp(-1j * phase * values)) @ vectors.conj().T
            assert np.abs(found - expected).max() < 1e-8


# Derivatives, and speed.

EPS = ("ee", "mumu", "tautau", "emu", "etau", "mutau")
POINTS = {
    "standard": {},
    "no theta13": {"theta13": 0.0},
    "no theta23": {"theta23": 0.0, "theta13": 0.0},
    "no theta12": {"theta12": 0.0},
    "no splitting": {"dm2_21": 0.0},
    "nothing mixes": {"theta12": 0.0, "theta13": 0.0, "theta23": 0.0},
    "inverted": {"dm2_31": -2.4e-3},
}


def packed(change: dict[str, float], eps: float) -> jax.Array:
    """Six oscillation parameters, masses in 1e-5 eV^2; then per fermion the couplings, complex where they may be."""
    values = np.array([change.get(name, nufit60_errors()[name][0]) for name in FIELDS])
    return jnp.asarray(np.concatenate([values[:4], values[4:] * 1e5, eps * np.sin(np.arange(27.0) + 1)]))


def night_and_day(energy: jax.Array) -> Callable[[jax.Array], jax.Array]:
    region, exposure = production_region("b8", 4), Exposure([0.3, 0.8], [0.4, 0.6])
    model = Earth([3480.0, 6371.0], [5.0, 2.2], [1.1, 1.0])

    def rho(x: jax.Array) -> jax.Array:
        parameters = OscillationParameters(*x[:4], *(1e-5 * x[4:6]))
        eps = []
        for k in range(3):
            y = x[6 + 9 * k : 15 + 9 * k]
            eps.append(hermitian(*y[:3], *(jax.lax.complex(y[3 + j], y[6 + j]) for j in range(3))))
        nsi = MatterNSI(*eps)
        day = solar_density_matrix(energy, region, parameters, nsi)
        night = solar_density_matrix(
            energy, region, parameters, nsi, year_average(energy, exposure, parameters, nsi, model)
        )
        both = jnp.stack([day, night])
        return jnp.stack([both.real, both.imag])

    return rho


@pytest.fixture(scope="module")
def functions() -> tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]:
    rho = night_and_day(jnp.array([3.0, 10.0]))
    return jax.jit(rho), jax.jit(jax.jacfwd(rho))


@pytest.mark.parametrize("eps", [0.0, 0.2])
@pytest.mark.parametrize("point", POINTS)
def test_derivatives(functions, point: str, eps: float) -> None:
    rho, jacobian = functions
    x = packed(POINTS[point], eps)
    found = np.asarray(jacobian(x))
    assert np.isfinite(found).all()
    steps = np.concatenate([np.full(4, 1e-4), [1e-3, 1e-3], np.full(27, 1e-4)])
    for k, step in enumerate(steps):
        move = jnp.zeros_like(x).at[k].set(step)
        # Fourth order: phases in the Earth make third derivatives large.
        near, far = rho(x + move) - rho(x - move), rho(x + 2 * move) - rho(x - 2 * move)
        expected = np.asarray(8 * near - far) / (12 * step)
        size = max(1.0, np.abs(expected).max())
        assert np.abs(found[..., k] - expected).max() < 2e-5 * size, (k, step)


def test_reverse_mode_and_many_points_at_once() -> None:
    energy, region = jnp.linspace(2.0, 16.0, 25), production_region("b8")

    def survival(x: jax.Array) -> jax.Array:
        nsi = MatterNSI(up=hermitian(ee=x[0], emu=x[1]), down=hermitian(etau=x[2]))
        return solar_density_matrix(energy, region, nufit60(), nsi)[:, 0, 0].real

    x = jnp.asarray(np.random.default_rng(3).uniform(-0.5, 0.5, (10_000, 3)))
    many = jax.jit(jax.vmap(survival))
    compiled = many(x).block_until_ready()
    start = time.perf_counter()
    many(x).block_until_ready()
    assert time.perf_counter() - start < 10
    assert np.allclose(compiled[7], survival(x[7]), rtol=0, atol=1e-12)
    assert ((compiled > 0) & (compiled < 1)).all()
    zero = jnp.zeros(3)
    forward, backward = (mode(survival)(zero) for mode in (jax.jacfwd, jax.jacrev))
    assert np.allclose(forward, backward, rtol=0, atol=1e-12)
    assert np.abs(forward).max() > 0.01
