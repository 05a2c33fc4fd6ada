"""Grids of theories and their signals against direct evaluation, a user's interaction included."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from jcevns import (
    INTERACTIONS,
    AbstractInteraction,
    Experiment,
    Likelihood,
    Nuisance,
    ScalarMediator,
    StandardModel,
    Theory,
    coupling_terms,
    grid,
    grid_signals,
    interaction,
    limits,
    profile,
    scan,
    signal,
    xenon,
)
from jcevns.physics.flux import NeutrinoFlux
from tests import problems, reference

AXES = {"mass": [0.5, 10.0, 200.0], "coupling": [0.0, 1e-6, 3e-5, 1e-3]}


class Mine(AbstractInteraction):
    """A scalar mediator as a user writes it: one method, dsigma/dT, and the charge as a leaf of its own."""

    mass: Float[Array, ""]
    coupling: Float[Array, ""]
    charge: Float[Array, ""]

    def dsigma_dT(self, energy, recoil, nucleus):
        proton = 938.27208943 * (0.0208 / 2.2 + 0.0411 / 4.7)
        neutron = 939.56542194 * (0.0189 / 2.2 + 0.0451 / 4.7)
        charge = self.charge * (nucleus.Z * proton + nucleus.N * neutron) * self.coupling**2
        form = StandardModel().form_factor(2 * nucleus.mass * recoil, nucleus)
        ratio = nucleus.mass * charge * form / (self.mass**2 + 2 * nucleus.mass * recoil)
        return StandardModel().dsigma_dT(energy, recoil, nucleus) + ratio**2 * recoil / (4 * jnp.pi * energy**2)


def mine(mass, coupling):
    return Mine(mass, coupling, jnp.asarray(1.0))


@pytest.fixture(scope="module")
def small() -> Likelihood:
    """Three recoil energies and a flux of few segments: direct quadrature is cheap."""
    base = problems.counting(
        "small",
        [4, 7, 5],
        [2.0, 3.0, 1.5],
        {"flat": [2.0, 3.0, 2.0]},
        (Nuisance("b8_flux", 0.12, ("signal",), shared=True), Nuisance("flat", 0.3, ("flat",))),
    )
    energy = np.linspace(1.0, 16.0, 60)
    shape = np.sin((energy - 1) / 15 * np.pi) + 0.05
    density = shape / np.trapezoid(shape, energy)
    flux = NeutrinoFlux(jnp.asarray(energy), jnp.asarray(density), jnp.asarray(5.46e6), "b8")
    return Likelihood(
        Experiment("small", flux, xenon(), base.response, base.observed, base.backgrounds, base.nuisances)
    )


def test_shape_units_and_order() -> None:
    made = grid("scalar", **AXES)
    assert made.shape == (3, 4)
    assert made.name == "scalar"
    assert dict(made.units) == {"mass": "MeV", "coupling": ""}
    assert list(grid("scalar", coupling=1e-5, mass=[1, 2]).axes) == ["coupling", "mass"]
    assert grid("scalar", coupling=1e-5, mass=[1, 2]).shape == (1, 2)
    with pytest.raises(ValueError, match="read-only"):
        made.axes["mass"][0] = 3.0


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "at least one axis"),
        ({"mass": [], "coupling": [1e-5]}, "axis 'mass' is empty"),
        ({"mass": [[1.0, 2.0]], "coupling": [1e-5]}, "axis 'mass'"),
        ({"mass": [1.0, np.nan], "coupling": [1e-5]}, "axis 'mass' holds values that are not finite"),
        ({"mass": [1.0], "coupling": [np.inf]}, "axis 'coupling' holds values that are not finite"),
        ({"mass": [1.0, 2.0, 1.0], "coupling": [1e-5]}, "axis 'mass' holds a value twice"),
        ({"mass": [1.0], "coupling": [1e-5, -1e-5]}, "axis 'coupling' holds -1e-05: it must not be negative"),
        ({"mass": [-2.0], "coupling": [1e-5]}, "axis 'mass' holds -2: it must not be negative"),
    ],
)
def test_bad_axes(axes, message) -> None:
    with pytest.raises(ValueError, match=message):
        grid("scalar", **axes)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"did you mean tensor\?"):
        grid("tensr", **AXES)


@pytest.mark.parametrize("name", INTERACTIONS)
def test_coupling_terms(name, likelihoods) -> None:
    likelihood, rng = likelihoods["combined"], np.random.default_rng(5)
    for mass, coupling in zip(10 ** rng.uniform(-2, 4, 4), 10 ** rng.uniform(-7, 0, 4), strict=True):
        zero, two, four = np.asarray(coupling_terms(likelihood, interaction(name, mass, 1.0)))
        direct = np.asarray(signal(likelihood, interaction(name, mass, coupling)))
        largest = np.abs(zero) + coupling**2 * np.abs(two) + coupling**4 * np.abs(four)
        assert np.all(np.abs(zero + coupling**2 * two + coupling**4 * four - direct) < 1e-11 * largest)
        np.testing.assert_allclose(zero, signal(likelihood, StandardModel()), rtol=1e-12)
        assert np.array_equal(two != 0, np.full(two.shape, name in ("vector", "b-l")))


def test_coupling_terms_need_a_mediator(likelihoods) -> None:
    with pytest.raises(TypeError, match="StandardModel is not a mediator"):
        coupling_terms(likelihoods["xenonnt"], StandardModel())


@pytest.mark.parametrize("order", [("mass", "coupling"), ("coupling", "mass")])
@pytest.mark.parametrize("rows", [slice(None), slice(1, 3), slice(2, None)])
def test_signals_have_the_last_axis_fastest(order, rows, likelihoods) -> None:
    likelihood = likelihoods["xenonnt"]
    found = grid_signals(likelihood, grid("vector", **{n: AXES[n] for n in order}), rows)
    pairs = [dict(zip(order, p, strict=True)) for p in itertools.product(AXES[order[0]][rows], AXES[order[1]])]
    direct = np.stack([signal(likelihood, interaction("vector", **p)) for p in pairs], axis=1)
    np.testing.assert_allclose(found, direct, rtol=1e-9)


def flux_and_scalar(coupling, b8_flux, mass):
    return Theory(ScalarMediator(mass, coupling), b8_flux)


def test_three_axes_with_the_coupling_anywhere(likelihoods) -> None:
    likelihood = likelihoods["xenonnt"]
    values = {"coupling": [0.0, 1e-5], "b8_flux": [0.0, 4e6, 8e6], "mass": [1.0, 50.0]}
    for order in (("b8_flux", "coupling", "mass"), ("mass", "b8_flux", "coupling")):
        found = grid_signals(likelihood, grid(flux_and_scalar, **{n: values[n] for n in order}))
        points = [dict(zip(order, p, strict=True)) for p in itertools.product(*(values[n] for n in order))]
        direct = np.stack([signal(likelihood, flux_and_scalar(**p)) for p in points], axis=1)
        np.testing.assert_allclose(found, direct, rtol=1e-11, atol=0)


def test_coupling_alone(likelihoods) -> None:
    def heavy(coupling):
        return ScalarMediator(1e3, coupling)

    found = grid_signals(likelihoods["xenonnt"], grid(heavy, coupling=[0.0, 1e-4, 1e-3]))
    direct = np.stack([signal(likelihoods["xenonnt"], heavy(g)) for g in (0.0, 1e-4, 1e-3)], axis=1)
    np.testing.assert_allclose(found, direct, rtol=1e-11)


def scaled(mass, coupling):
    """A mediator whose coupling is not the axis itself."""
    return ScalarMediator(mass, 2 * jnp.sqrt(coupling))


def test_axis_that_is_not_the_coupling_itself(likelihoods) -> None:
    """The axis is called `coupling`, but the maker transforms it: the signal is not its polynomial."""
    likelihood, values = likelihoods["xenonnt"], [1e-12, 1e-11, 1e-10]
    found = grid_signals(likelihood, grid(scaled, mass=[1.0], coupling=values))
    direct = np.stack([signal(likelihood, scaled(jnp.asarray(1.0), jnp.asarray(g))) for g in values], axis=1)
    np.testing.assert_allclose(found, direct, rtol=1e-11)


def test_grid_without_a_mediator(likelihoods) -> None:
    values = np.linspace(-0.2, 0.6, 9)
    found = grid_signals(likelihoods["combined"], grid(StandardModel, sin2w=values))
    direct = np.stack([signal(likelihoods["combined"], StandardModel(s)) for s in values], axis=1)
    np.testing.assert_allclose(found, direct, rtol=1e-12)
    result = scan(likelihoods["combined"], grid(StandardModel, sin2w=values), progress=False)
    expected = [float(profile(likelihoods["combined"], StandardModel(s)).chi2) for s in values]
    np.testing.assert_allclose(result.chi2, expected, rtol=0, atol=1e-9)
    assert result.chi2.dims == ("sin2w",)


def test_more_points_than_one_batch(likelihoods) -> None:
    values = np.linspace(0.1, 0.4, 300)
    found = grid_signals(likelihoods["combined"], grid(StandardModel, sin2w=values))
    some = [0, 255, 256, 299]
    direct = np.stack([signal(likelihoods["combined"], StandardModel(s)) for s in values[some]], axis=1)
    np.testing.assert_allclose(found[:, some], direct, rtol=1e-12)


def test_users_interaction_in_profile_and_scan(likelihoods, small) -> None:
    point = mine(jnp.asarray(10.0), jnp.asarray(5e-6))
    builtin = profile(likelihoods["xenonnt"], ScalarMediator(10.0, 5e-6))
    assert float(profile(likelihoods["xenonnt"], point).chi2) == pytest.approx(float(builtin.chi2), abs=1e-9)
    slope = jax.grad(lambda t: profile(small, t).chi2)(point)
    expected = reference.slope(lambda g: profile(small, ScalarMediator(10.0, g)).chi2, 5e-6, 5e-9)
    assert float(slope.coupling) == pytest.approx(float(expected), rel=1e-6)
    axes = {"mass": [1.0, 10.0], "coupling": [1e-6, 5e-6, 2e-5]}
    a, b = (scan(small, grid(t, **axes), progress=False) for t in (mine, "scalar"))
    np.testing.assert_allclose(a.chi2, b.chi2, rtol=1e-9)


def test_users_interaction_in_limits(small) -> None:
    masses = [1.0, 30.0]
    for a, b in zip(limits(small, mine, masses), limits(small, "scalar", masses), strict=True):
        assert a.valid
        assert len(a.excluded) == len(b.excluded) == 1
        assert a.excluded[0][0] == pytest.approx(b.excluded[0][0], rel=1e-4)
        assert a.excluded[0][1] is b.excluded[0][1] is None
        assert a.chi2_min == pytest.approx(b.chi2_min, abs=1e-6)
