"""Non-standard interactions in the rates, against NumPy, published limits, identities and finite differences."""

from __future__ import annotations

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import jcevns as jc
from jcevns.likelihood.folding import folded_parameters
from jcevns.physics import NeutrinoFlux, night_exposure, nufit60, recoil_spectrum, solar_density_matrix, year_average
from jcevns.physics.electrons import electrons_of
from jcevns.physics.night import night_density_matrix
from jcevns.physics.nuclei import Target, argon
from jcevns.physics.propagation import SOURCES, basis, energies
from tests import reference
from tests import reference_nsi as ref
from tests.test_cli import call

NAME = "xenonnt-2024-s2"
FEW = {"eps_u_ee": 0.2, "eps_d_emu": 0.1, "eps_d_emu_im": 0.15, "eps_u_mutau": -0.1, "eps_eL_ee": 0.1}
POINTS = ({}, {"eps_u_ee": 0.3}, FEW, {"eps_d_etau_im": -0.3, "eps_u_tautau": 0.2, "eps_eR_emu": 0.3})


@pytest.fixture(scope="module")
def xenon() -> jc.Experiment:
    return jc.experiment(NAME)


# Density matrices.


@pytest.mark.parametrize("eps", POINTS)
@pytest.mark.parametrize("source", ["b8", "pp", "be7"])
def test_density_matrix_between_the_nodes_against_numpy(source: str, eps: dict[str, float]) -> None:
    low, high, _ = SOURCES[source]
    energy = np.linspace(max(low, high / 20), high, 2 if source == "be7" else 7)
    theory = jc.NSI(earth="day", **eps)
    nodes = np.asarray(theory.density_matrix(source))
    found = np.einsum("jab,je->eab", nodes, np.asarray(basis(source, jnp.asarray(energy))))
    assert np.abs(found - ref.day(energy, source, eps)).max() < (5e-4 if source == "b8" else 5e-5)
    assert np.abs(nodes - ref.day(energies(source), source, eps)).max() < 2e-5


@pytest.mark.parametrize("eps", POINTS)
def test_night_of_a_year_against_all_paths(eps: dict[str, float]) -> None:
    """The reference follows 600 directions, and is tested against NumPy elsewhere."""
    energy = jnp.array([3.0, 5.0, 7.0, 10.0, 13.0])
    nsi = jc.NSI(**eps).matter()
    day = solar_density_matrix(energy, nsi=nsi)
    states = year_average(energy, night_exposure("lngs", 600), nufit60(), nsi, day=0.0)
    expected = solar_density_matrix(energy, nsi=nsi, states=states)
    found = night_density_matrix(day, energy, nufit60(), nsi)
    assert float(jnp.abs(found - expected).max()) < 5e-4
    assert float(jnp.abs(found - day).max()) > 3e-3


@pytest.mark.parametrize("seed", range(4))
def test_density_matrices_are_states(seed: int) -> None:
    stream = np.random.default_rng(seed)
    names = [n for n in jc.theory("nsi").__dataclass_fields__ if n.startswith("eps")]
    values = np.clip(stream.normal(0, [0.0, 0.1, 1.0, 5.0][seed], len(names)), -10, 10)
    theory = jc.NSI(**dict(zip(names, values.tolist(), strict=True)))
    for source in SOURCES:
        rho = np.asarray(theory.density_matrix(source))
        assert np.abs(np.trace(rho, axis1=1, axis2=2) - 1).max() < 1e-10
        assert np.abs(rho - rho.conj().swapaxes(1, 2)).max() < 1e-10
        assert np.linalg.eigvalsh(rho).min() > -1e-10


def test_sites_differ_little_and_day_has_no_earth() -> None:
    by_site = {s: np.asarray(jc.NSI(earth=s).density_matrix("b8"))[:, 0, 0].real for s in ("lngs", "jinping", "day")}
    assert 1e-5 < np.abs(by_site["lngs"] - by_site["jinping"]).max() < 1e-3
    assert (by_site["lngs"] - by_site["day"]).max() > 3e-3


# Rates.


@pytest.mark.parametrize("eps", POINTS)
@pytest.mark.parametrize("matter", [True, False])
def test_counts_of_8b_against_numpy(matter: bool, eps: dict[str, float], xenon: jc.Experiment) -> None:
    theory = jc.NSI(earth="day", propagation="matter" if matter else "standard", **eps)
    found = np.asarray(jc.signal_counts(xenon, theory))
    standard = np.asarray(jc.signal_counts(xenon, jc.StandardModel()))
    np.testing.assert_allclose(found / standard, ref.counts(eps, matter) / ref.counts({}), rtol=5e-5)


def chiral(eps: dict[str, float], anti: bool) -> tuple[np.ndarray, np.ndarray]:
    """g_L and g_R as matrices at tree level, exchanged for antineutrinos."""
    own, s = ref.matrices(**eps), reference.SIN2W
    left = np.diag([0.5 + s, s - 0.5, s - 0.5]) + own["eL"]
    right = s * np.eye(3) + own["eR"]
    return (right.conj(), left.conj()) if anti else (left, right)


def on_electrons(E: float, T: float, rho: np.ndarray, eps: dict[str, float], anti: bool) -> float:
    left, right = chiral(eps, anti)
    m = 0.51099895
    both = (left @ right.conj().T + right @ left.conj().T) / 2
    total = left @ left.conj().T + right @ right.conj().T * (1 - T / E) ** 2 - both * m * T / E**2
    return 2 * reference.FERMI**2 * m / np.pi * np.trace(rho @ total).real


def line(energy: float, flavours: tuple[str, ...], sources: tuple[str, ...] = ()) -> NeutrinoFlux:
    shares = None if len(flavours) == 1 else np.full((len(flavours), 3), 1 / len(flavours))
    nodes, shape = [energy - 1e-5, energy, energy + 1e-5], [0.0, 1e5, 0.0]
    return NeutrinoFlux(nodes, shape, 1e10, "line", flavours, shares, sources=sources)


ELECTRONS = {"eps_eL_ee": 0.2, "eps_eR_emu": 0.15, "eps_eR_emu_im": -0.2, "eps_eL_mutau": 0.1, "eps_eR_tautau": -0.3}


@pytest.mark.parametrize("eps", [{}, ELECTRONS, {**ELECTRONS, "eps_u_ee": 0.3}])
@pytest.mark.parametrize(
    ("flavours", "source"), [(("e", "mu", "tau"), "be7"), (("mu",), ""), (("anti-e",), ""), (("anti-mu",), "")]
)
def test_electron_recoils_against_numpy(flavours: tuple[str, ...], source: str, eps: dict[str, float]) -> None:
    energy, target = 0.862, electrons_of(54.0, 131.29)
    flux = line(energy, flavours, (source,) if source else ())
    recoil = np.array([5.0, 100.0, 400.0])
    theory = jc.NSI(earth="day", standard_model=jc.StandardModel(electron_couplings="tree"), **eps)
    found = np.asarray(recoil_spectrum(theory, flux, target, jnp.asarray(recoil)))
    place = ("e", "mu", "tau").index(flavours[0].removeprefix("anti-"))
    rho = ref.day(np.array([energy]), source, eps)[0] if source else np.diag(np.eye(3)[place])
    per = 1e10 * 54 * 1e6 * reference.MOLE / 131.29 * (reference.HBARC * 1e-13) ** 2 * reference.YEAR * 1e-3
    anti = flavours[0].startswith("anti-")
    expected = [per * on_electrons(energy, T * 1e-3, rho, eps, anti) for T in recoil]
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_beam_neutrinos_are_incoherent() -> None:
    """Each flavour by itself has sum_b |Q_ab|^2, off-diagonal couplings with either sign or phase alike."""
    target: Target = jax.tree.map(lambda x: x[np.asarray(argon().nuclei.A) == 40], argon())
    flux = line(30.0, ("e", "mu", "anti-mu"))
    recoil = jnp.array([20.0, 40.0])
    eps = {"eps_u_mumu": 0.1, "eps_d_emu": 0.2, "eps_u_mutau": 0.1, "eps_u_emu_im": 0.05}
    new = np.asarray(recoil_spectrum(jc.NSI(**eps), flux, target, recoil))
    old = np.asarray(recoil_spectrum(jc.StandardModel(), flux, target, recoil))
    own, Z, N = ref.matrices(**eps), 18, 22
    q = ((0.5 - 2 * reference.SIN2W) * Z - 0.5 * N) * np.eye(3) + (2 * Z + N) * own["u"] + (Z + 2 * N) * own["d"]
    square = np.real(np.diag(q @ q.conj().T)) / ((0.5 - 2 * reference.SIN2W) * Z - 0.5 * N) ** 2
    np.testing.assert_allclose(new / old, (square[0] + 2 * square[1]) / 3, rtol=1e-6)
    flipped = {k: -v if k != "eps_u_mumu" else v for k, v in eps.items()}
    np.testing.assert_allclose(recoil_spectrum(jc.NSI(**flipped), flux, target, recoil), new, rtol=1e-12)


def test_cross_section_of_one_flavour() -> None:
    nucleus = jc.physics.Nucleus(Z=54, A=132, mass=122840.3, spin=0)
    eps = {"eps_u_mumu": 0.1, "eps_d_emu": 0.2, "eps_u_mutau_im": 0.1}
    value = [
        float(t.dsigma_dT(jnp.array(10.0), jnp.array(1e-3), nucleus, "mu"))
        for t in (jc.NSI(**eps), jc.StandardModel())
    ]
    own, q = ref.matrices(**eps), 54 * (0.5 - 2 * reference.SIN2W) - 39
    mu = q * np.eye(3)[1] + 186 * own["u"][1] + 210 * own["d"][1]
    assert value[0] / value[1] == pytest.approx((np.abs(mu) ** 2).sum() / q**2, rel=1e-12)
    with pytest.raises(TypeError, match="use dsigma_dT"):
        jc.NSI().terms(jnp.array([1e-3]), nucleus, "e")


# Published numbers.


def interval_in_numpy(name: str, matter: bool, xenon: jc.Experiment) -> tuple[float, float]:
    def chi2(x: float) -> float:
        scale = np.asarray(jc.signal_counts(xenon, jc.StandardModel())) / ref.counts({})
        return reference.minimum(reference.Chi2([xenon], [scale * ref.counts({name: x}, matter)]))[0]

    grid = np.linspace(-0.4, 0.8, 13)
    lowest = min(chi2(x) for x in grid)
    best = min(lowest, min(chi2(x) for x in np.linspace(-0.1, 0.6, 15)))
    low, high = (brentq(lambda x: chi2(x) - best - 2.7055, *ends, xtol=1e-4) for ends in ((-0.6, 0.0), (0.4, 0.9)))
    return low, high


TABLE = [  # couplings, propagation, XENONnT, with PandaX-4T's US2
    ("eps_u_ee", "standard", (-0.226, 0.630), (-0.221, 0.625)),
    ("eps_u_ee", "matter", (-0.201, 0.642), (-0.197, 0.637)),
    ("eps_d_ee", "standard", (-0.201, 0.560), (-0.197, 0.555)),
]


@pytest.mark.parametrize(("name", "propagation", "one", "both"), TABLE)
def test_limits_from_8b(name, propagation, one, both, xenon: jc.Experiment) -> None:
    theory = jc.NSI(earth="day", propagation=propagation)
    ((low, high),) = jc.interval(jc.Likelihood(NAME, theory), name, cl=0.90).segments
    assert (low, high) == pytest.approx(interval_in_numpy(name, propagation == "matter", xenon), rel=2e-3)
    assert (low, high) == pytest.approx(one, rel=0.01)
    ((low, high),) = jc.interval(jc.Likelihood([NAME, "pandax4t-us2"], theory), name, cl=0.90).segments
    assert (low, high) == pytest.approx(both, rel=0.01)


def test_limits_from_coherent() -> None:
    """Against those of the charge radius, which shifts the charges of Cs and I alike: -Qt Z for (2 Z + N) eps."""
    csi = jc.experiment("coherent-csi-2021")
    (a, b), (c, d) = jc.interval(jc.Likelihood(csi, jc.NSI()), "eps_u_mumu", cl=0.90).segments
    # Three digits; the radii beside them, -5.3 to 5.2, say -0.0364.
    assert (a, b) == pytest.approx((-0.037, 0.037), abs=1e-3)
    assert (c, d) == pytest.approx((0.363, 0.436), rel=0.01)
    per = np.mean([-(2 * Z + N) / (0.0238 * Z) for Z, N in ((55, 78), (53, 74))])
    radius = jc.interval(jc.Likelihood(csi, jc.ChargeRadius()), "r2_mumu", cl=0.90).segments
    expected = [x / per for pair in reversed(radius) for x in reversed(pair)]
    assert (a, b, c, d) == pytest.approx(expected, rel=5e-3)


def test_degeneracies_of_xenon(xenon: jc.Experiment) -> None:
    def total(up: jax.Array, down: jax.Array) -> jax.Array:
        return jnp.sum(jc.signal_counts(xenon, jc.NSI(eps_u_ee=up, eps_d_ee=down)))

    up, down = jax.grad(total, argnums=(0, 1))(0.0, 0.0)
    moved = [ref.counts({n: 1e-4}).sum() - ref.counts({n: -1e-4}).sum() for n in ("eps_u_ee", "eps_d_ee")]
    assert -float(up / down) == pytest.approx(-0.888, abs=5e-4)
    assert -float(up / down) == pytest.approx(-moved[0] / moved[1], abs=2e-4)

    def universal(x: float) -> float:
        return float(total_of(x) - total_of(0.0))

    def total_of(x: float) -> float:
        return float(jnp.sum(jc.signal_counts(xenon, jc.NSI(eps_u_ee=x, eps_u_mumu=x, eps_u_tautau=x))))

    twin = brentq(universal, 0.3, 0.5, xtol=1e-8)
    entries = ("ee", "mumu", "tautau")
    by_numpy = brentq(lambda x: (ref.counts({f"eps_u_{k}": x for k in entries}) - ref.counts({})).sum(), 0.3, 0.5)
    assert twin == pytest.approx(0.404, abs=5e-4)
    assert twin == pytest.approx(by_numpy, abs=1e-5)


@pytest.mark.parametrize(("sign", "published"), [(1, 15.237 / 20.175), (-1, 28.095 / 20.175)])
def test_neutrons_alone_as_in_a_public_scan(sign: int, published: float) -> None:
    """Ratios of counts of an LZ-like detector, whose share of nu_e is 0.345 (arXiv:2607.22817).

    Its efficiency is not public: recoils with the same share, near 0.6 keV, have the same ratios.
    """
    size = sign * 0.0977 * np.sqrt(5)
    recoil = jnp.linspace(0.1, 2.5, 200)
    flux, target = jc.physics.b8(), jc.physics.xenon()

    def rate(**eps: float) -> np.ndarray:
        theory = jc.NSI(propagation="standard", standard_model=jc.StandardModel(sin2w=0.2312), **eps)
        return np.asarray(recoil_spectrum(theory, flux, target, recoil))

    standard, neutrons = rate(), {"eps_u": -1 / 3, "eps_d": 2 / 3}
    one = rate(**{f"{q}_ee": 1e-3 * v for q, v in neutrons.items()}) / standard - 1
    every = rate(**{f"{q}_{f}": 1e-3 * v for q, v in neutrons.items() for f in ("ee", "mumu", "tautau")})
    share = one / (every / standard - 1)
    place = np.argmin(np.abs(share - 0.345))
    assert 0.3 < recoil[place] < 1.0
    new = (rate(**{f"{q}_ee": size * v for q, v in neutrons.items()}) / standard)[place]
    assert new == pytest.approx(share[place] * (1 - size * 2.1107) ** 2 + 1 - share[place], rel=2e-3)
    assert new == pytest.approx(published, rel=3e-3)


# Identities.


@pytest.mark.parametrize("name", [NAME, "coherent-lar-2020"])
def test_equal_couplings_of_quarks_are_a_heavy_vector(name: str) -> None:
    mass, eps = 1e8, 0.05
    coupling = float(np.sqrt(eps * np.sqrt(2) * reference.FERMI * mass**2))
    one = jc.experiment(name)
    flavours = ("ee", "mumu", "tautau")
    for which, charges in ((flavours, (1.0, 1.0, 1.0)), (("mumu",), (0.0, 1.0, 0.0))):
        if len(which) == 1 and name == NAME:
            continue  # tabulated flavours beside calculated ones
        nsi = jc.NSI(**{f"eps_{q}_{f}": eps for q in "ud" for f in which})
        vector = jc.VectorMediator(mass, coupling, flavours=charges)
        a, b = (np.asarray(jc.signal_counts(one, t)) for t in (nsi, vector))
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_a_heavy_vector_beside_oscillations_is_the_same(xenon: jc.Experiment) -> None:
    mass, eps = 1e7, 0.05
    coupling = float(np.sqrt(eps * np.sqrt(2) * reference.FERMI * mass**2))
    nsi = jc.NSI(propagation="standard", eps_u_mumu=eps, eps_d_mumu=eps)
    vector = jc.VectorMediator(mass, coupling, flavours=(0.0, 1.0, 0.0)) + jc.physics.Oscillations()
    for one in (xenon, jc.experiment("lz-er-ws2022")):
        model = jc.VectorMediator(mass, coupling, electron=0.0, flavours=(0.0, 1.0, 0.0)) + jc.physics.Oscillations()
        chosen = vector if one is xenon else model
        np.testing.assert_allclose(jc.signal_counts(one, nsi), jc.signal_counts(one, chosen), rtol=1e-10)


def test_universal_couplings_do_not_change_with_oscillations(xenon: jc.Experiment) -> None:
    eps = {f"eps_{q}_{f}": v for q, v in (("u", 0.2), ("d", -0.1)) for f in ("ee", "mumu", "tautau")}
    other = {"theta_12": 0.9, "theta_23": 0.5, "dm2_21": 3e-5, "delta": 1.0}
    a, b = (np.asarray(jc.signal_counts(xenon, jc.NSI(**eps, **x))) for x in ({}, other))
    np.testing.assert_allclose(a, b, rtol=1e-10)
    plain = np.asarray(jc.signal_counts(xenon, jc.NSI(eps_u_ee=0.2, **other)))
    assert np.abs(plain / np.asarray(jc.signal_counts(xenon, jc.NSI(eps_u_ee=0.2))) - 1).min() > 0.01


@pytest.mark.parametrize("name", [NAME, "coherent-lar-2020", "lz-er-ws2022", "texono-2010"])
def test_nothing_new_is_the_standard_model(name: str) -> None:
    """Electron recoils differ by the flavours: calculated, and from a table with maximal theta_23."""
    one = jc.experiment(name)
    a, b = (np.asarray(jc.signal_counts(one, t)) for t in (jc.NSI(), jc.StandardModel()))
    np.testing.assert_allclose(a, b, rtol=3e-4 if name == "lz-er-ws2022" else 1e-11)


def test_sums_and_order(xenon: jc.Experiment) -> None:
    nsi, vector, moment = jc.NSI(eps_u_ee=0.1), jc.VectorMediator(10.0, 1e-5), jc.MagneticMoment(300.0)
    a, b = (np.asarray(jc.signal_counts(xenon, t)) for t in (nsi + vector + moment, moment + (vector + nsi)))
    np.testing.assert_allclose(a, b, rtol=1e-13)
    alone = np.asarray(jc.signal_counts(xenon, vector + moment))
    zero = np.asarray(jc.signal_counts(xenon, jc.NSI() + vector + moment))
    np.testing.assert_allclose(zero, alone, rtol=1e-11)
    assert np.abs(a / alone - 1).min() > 0.01
    same = np.asarray(jc.signal_counts(xenon, nsi + jc.StandardModel()))
    np.testing.assert_allclose(same, jc.signal_counts(xenon, nsi), rtol=0)
    with pytest.raises(ValueError, match="each by itself: take one"):
        jc.NSI() + jc.physics.Oscillations()


def test_other_theories_pay_nothing(xenon: jc.Experiment) -> None:
    sum_ = jc.VectorMediator(10.0, 1e-5) + jc.MagneticMoment(3.0)
    for theory in (jc.StandardModel(), sum_):
        assert jc.Likelihood(xenon, theory).theory is theory
    assert jc.Likelihood(xenon, jc.NSI()).theory.populations == ("b8",)
    likelihood = jc.Likelihood([xenon, jc.experiment("coherent-lar-2020")], jc.NSI())
    assert likelihood.theory.populations == ("b8", "e", "mu")
    assert folded_parameters(likelihood, (*ref.STANDARD, "eps_u_emu", "eps_eL_ee", "sin2w")) == ()


# Derivatives.


@pytest.mark.parametrize("at", [{}, FEW])
def test_derivatives_of_counts(at: dict[str, float], xenon: jc.Experiment) -> None:
    likelihood = jc.Likelihood(xenon, jc.NSI())
    names = ("eps_u_ee", "eps_d_tautau", "eps_u_emu", "eps_d_mutau_im", "eps_eL_ee", "theta_12", "theta_13", "delta")
    scale = dict.fromkeys((*names, "dm2_21"), 1.0) | {"dm2_21": 1e-5}
    centre = np.array([(at.get(n, likelihood.parameters[n].default)) / scale[n] for n in scale])

    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(jc.signal(likelihood, {**at, **{n: v * scale[n] for n, v in zip(scale, x, strict=True)}}))

    found = np.asarray(jax.grad(total)(jnp.asarray(centre)))
    assert np.isfinite(found).all()
    for k, name in enumerate(scale):
        unit = np.eye(centre.size)[k]
        expected = reference.slope(lambda h: np.asarray(total(jnp.asarray(centre + h * unit))), 0.0, 1e-3)  # noqa: B023
        assert found[k] == pytest.approx(float(expected), rel=1e-5, abs=1e-6), name


def test_derivatives_of_profiled_chi2(xenon: jc.Experiment) -> None:
    likelihood = jc.Likelihood(xenon, jc.NSI())
    names = ("eps_u_ee", "eps_d_emu_im", "theta_12", "dm2_21")
    surface = jc.Surface(likelihood, names, constrained=("theta_12", "dm2_21"))
    defaults = np.array([likelihood.parameters[n].default for n in names])
    for start in (np.array([0.0, 0.0, 0.6, 7.3e-5]), np.array([0.15, -0.2, 0.57, 7.6e-5])):
        found = surface.evaluate(start[None], order=1)
        assert found.valid.all()
        assert np.isfinite(found.gradient).all()
        for k, step in enumerate((1e-3, 1e-3, 1e-3, 1e-7)):
            moved = np.repeat(start[None], 4, axis=0)
            moved[:, k] += step * np.array([-2, -1, 1, 2])
            f = surface.evaluate(moved).chi2
            expected = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
            assert found.gradient[0, k] == pytest.approx(expected, rel=2e-5, abs=1e-5 / step * 1e-3), names[k]
        free = jc.Surface(likelihood, names).evaluate(start[None]).chi2[0]
        widths = [likelihood.parameters[n].sigma for n in names[2:]]
        assert found.chi2[0] - free == pytest.approx((((start - defaults)[2:] / widths) ** 2).sum(), rel=1e-9)


# Oscillation parameters that are set free.


def test_oscillation_parameters_are_those_of_nufit() -> None:
    parameters = jc.Likelihood(NAME, jc.NSI()).parameters
    for name, value in ref.STANDARD.items():
        assert parameters[name].default == pytest.approx(value, rel=1e-12)
        assert parameters[name].still
        assert parameters[name].constrained
    errors = [parameters[n].sigma for n in ("theta_12", "dm2_21", "dm2_31")]
    sine = (np.arcsin(0.320**0.5) - np.arcsin(0.297**0.5)) / 2
    assert errors == pytest.approx([sine, 1.9e-6, 2.0e-5], rel=0.03)


def test_profiled_oscillation_parameters_keep_their_constraint(xenon: jc.Experiment) -> None:
    likelihood = jc.Likelihood(xenon, jc.NSI(eps_d_ee=0.1, earth="day", propagation="standard"))
    x = 0.62
    fixed = float(jc.Surface(likelihood, "eps_u_ee").evaluate(np.array([[x]])).chi2[0])
    loose = jc.Surface(likelihood, "eps_u_ee", profiled="theta_12")
    found = loose.evaluate(np.array([[x]]))
    theta = float(found.profiled[0, 0])
    record = likelihood.parameters["theta_12"]
    moved = jc.Surface(likelihood, "eps_u_ee", at={"theta_12": theta}).evaluate(np.array([[x]])).chi2[0]
    assert found.chi2[0] == pytest.approx(moved + ((theta - record.default) / record.sigma) ** 2, abs=1e-6)
    assert found.chi2[0] < fixed - 1e-4
    assert 0.05 < abs(theta - record.default) / record.sigma < 2
    # chi2 at values has the constraint as well.
    step = jc.chi2(likelihood, {"theta_12": record.default + record.sigma, "eps_u_ee": -0.1, "eps_d_ee": 0.0})
    same = jc.NSI(theta_12=record.default + record.sigma, earth="day", propagation="standard")
    bare = jc.chi2(jc.Likelihood(xenon, same), {"eps_u_ee": -0.1})
    assert float(step - bare) == pytest.approx(1.0, abs=1e-9)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    listed = str(call(capsys, "theories"))
    assert "eps_u_emu_im" in listed
    assert "oscillations" in listed
    text = ["fit", "eps_u_ee", "--experiments", NAME, "--theory", "nsi:propagation=standard:earth=day", "--json"]
    plain, wide = (json.loads(call(capsys, *text, *more)[1]) for more in ((), ("--profile", "theta_12")))
    assert plain["valid"]
    assert wide["valid"]
    assert wide["chi2_min"] <= plain["chi2_min"] + 1e-9


def test_messages() -> None:
    with pytest.raises(ValueError, match="'matter' or 'standard'"):
        jc.theory("nsi:propagation=vacuum")
    with pytest.raises(ValueError, match="day, lngs, jinping, surf"):
        jc.NSI(earth="moon")
    with pytest.raises(ValueError, match="eps_u_emu"):
        jc.theory("nsi:eps_u_eu=0.1")
    unknown = NeutrinoFlux([1.0, 11.0], [0.1, 0.1], 1e6, "mine")
    with pytest.raises(ValueError, match="does not tell its flavours"):
        recoil_spectrum(jc.NSI(), unknown, argon(), jnp.array([1.0]))


# Speed.


@pytest.mark.slow
def test_a_scan_with_propagation_is_fast() -> None:
    """Ten thousand points, compiled before: far below the ten seconds that are asked."""
    likelihood = jc.Likelihood(NAME, jc.NSI())

    def at(shift: float) -> dict[str, np.ndarray]:
        return {n: np.linspace(-0.4, 0.7, 100) + shift for n in ("eps_u_ee", "eps_d_ee")}

    jc.scan(likelihood, at(0.0), progress=False)
    start = time.process_time()
    found = jc.scan(likelihood, at(1e-3), progress=False)
    assert time.process_time() - start < 10
    assert bool(found.valid.all())
