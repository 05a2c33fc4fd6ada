"""chi2 in any parameters: signals as weights times terms against direct evaluation, derivatives, a user's theory."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns import (
    Channel,
    Experiment,
    Interaction,
    Likelihood,
    Nuisance,
    StandardModel,
    Surface,
    TabulatedSpectrum,
    chi2,
    limits,
    parameter,
    profile,
    signal,
)
from jcevns.experiments.catalogue import parse_experiment
from jcevns.fit.terms import _distinct
from jcevns.likelihood.folding import Folding
from jcevns.physics import xenon
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.theories import MEDIATORS
from jcevns.statistics.scan import scan
from tests import problems, reference, users

VALUES = {"mass": [0.5, 10.0, 200.0], "coupling": [0.0, 1e-6, 3e-5, 1e-3]}


class Contact(Interaction):
    """A scalar mediator as a user writes it: one method, dsigma/dT."""

    mass: jax.Array = parameter(10.0, unit="MeV", lower=0.0)
    coupling: jax.Array = parameter(0.0, lower=0.0)

    def dsigma_dT(self, energy, recoil, particle, flavour="e"):
        proton = 938.27208943 * (0.0208 / 2.2 + 0.0411 / 4.7)
        neutron = 939.56542194 * (0.0189 / 2.2 + 0.0451 / 4.7)
        charge = (particle.Z * proton + particle.N * neutron) * self.coupling**2
        form = StandardModel().form_factor(2 * particle.mass * recoil, particle)
        ratio = particle.mass * charge * form / (self.mass**2 + 2 * particle.mass * recoil)
        new = ratio**2 * recoil / (4 * jnp.pi * energy**2)
        return StandardModel().dsigma_dT(energy, recoil, particle, flavour) + new


class Transformed(Interaction):
    """A mediator whose parameter is not the coupling itself: the signal is no polynomial in it."""

    size: jax.Array = parameter(1e-11, lower=0.0, upper=1.0)

    def _mediator(self):
        return MEDIATORS["scalar"][0](1.0, 2 * jnp.sqrt(self.size))

    def weights(self):
        return self._mediator().weights()

    def terms(self, recoil, particle, flavour):
        return self._mediator().terms(recoil, particle, flavour)


@pytest.fixture(scope="module")
def small() -> Likelihood:
    """Three recoil energies and a flux of few segments: direct quadrature is cheap."""
    base = problems.counting(
        "small", [4, 7, 5], [2.0, 3.0, 1.5], {"flat": [2.0, 3.0, 2.0]}, (Nuisance("flat", 0.3, ("flat",)),)
    )
    energy = np.linspace(1.0, 16.0, 60)
    shape = np.sin((energy - 1) / 15 * np.pi) + 0.05
    density = shape / np.trapezoid(shape, energy)
    flux = NeutrinoFlux(jnp.asarray(energy), jnp.asarray(density), jnp.asarray(5.46e6), "b8", error=0.12)
    channel = Channel(flux, xenon(), base.channels[0].response)
    return Likelihood(Experiment("small", channel, base.observed, base.backgrounds, base.nuisances))


def mesh(axes: dict[str, list[float]]) -> np.ndarray:
    return np.array(list(itertools.product(*axes.values())))


def direct(likelihood: Likelihood, axes: dict[str, list[float]]) -> np.ndarray:
    return np.stack([signal(likelihood, dict(zip(axes, point, strict=True))) for point in mesh(axes)])


@pytest.mark.parametrize("name", MEDIATORS)
def test_terms_of_a_mediator(name, likelihoods) -> None:
    likelihood, rng = likelihoods["combined"].under(name), np.random.default_rng(5)
    axes = {"mass": 10 ** rng.uniform(-2, 4, 4), "coupling": 10 ** rng.uniform(-7, 0, 4)}
    surface = Surface(likelihood, ("mass", "coupling"))
    points = np.stack(list(axes.values()), axis=1)
    found = surface.mixture(points)
    counts = np.einsum("tn,ntb->nb", found.weights, found.terms[found.row])
    largest = np.einsum("tn,ntb->nb", np.abs(found.weights), np.abs(found.terms[found.row]))
    expected = np.stack([signal(likelihood, {"mass": m, "coupling": g}) for m, g in points])
    assert np.all(np.abs(counts - expected) < 1e-11 * largest)
    squares = [
        np.ptp(row / axes["coupling"] ** 2) <= 1e-12 * np.max(row / axes["coupling"] ** 2) for row in found.weights
    ]
    assert np.any(found.terms[:, squares]) == (name in ("vector", "b-l"))  # the others do not interfere
    still = Surface(likelihood, ("mass", "coupling")).signals(np.array([[10.0, 0.0]]))
    np.testing.assert_allclose(still[0], signal(likelihoods["combined"]), rtol=1e-12)


@pytest.mark.parametrize("order", [("mass", "coupling"), ("coupling", "mass")])
def test_signals_of_points_in_any_order(order, likelihoods) -> None:
    likelihood, axes = likelihoods["xenonnt"].under("vector"), {n: VALUES[n] for n in order}
    found = Surface(likelihood, order).signals(mesh(axes))
    np.testing.assert_allclose(found, direct(likelihood, axes), rtol=1e-9)


def test_three_parameters_the_coupling_anywhere(likelihoods) -> None:
    likelihood = likelihoods["xenonnt"].under("scalar")
    values = {"coupling": [0.0, 1e-5], "flux.b8": [0.0, 4e6, 8e6], "mass": [1.0, 50.0]}
    for order in (("flux.b8", "coupling", "mass"), ("mass", "flux.b8", "coupling")):
        axes = {n: values[n] for n in order}
        found = Surface(likelihood, order).signals(mesh(axes))
        np.testing.assert_allclose(found, direct(likelihood, axes), rtol=1e-11, atol=0)


def test_coupling_alone(likelihoods) -> None:
    likelihood, values = likelihoods["xenonnt"].under("scalar"), np.array([[0.0], [1e-4], [1e-3]])
    found = Surface(likelihood, "coupling", at={"mass": 1e3}).signals(values)
    expected = np.stack([signal(likelihood, {"mass": 1e3, "coupling": g}) for (g,) in values])
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_parameter_that_is_not_the_coupling_itself(likelihoods) -> None:
    """Inside `terms` the parameter is looked at, harmlessly; the weights are what they are."""
    likelihood, values = likelihoods["xenonnt"].under(Transformed()), [1e-12, 1e-11, 1e-10]
    found = Surface(likelihood, "size").signals(np.array(values)[:, None])
    expected = [
        signal(likelihoods["xenonnt"].under("scalar"), {"mass": 1.0, "coupling": 2 * np.sqrt(v)}) for v in values
    ]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-11)


def test_standard_model_and_more_points_than_one_batch(likelihoods) -> None:
    likelihood, values = likelihoods["combined"], np.linspace(-0.1, 0.6, 300)
    found = Surface(likelihood, "sin2w").signals(values[:, None])
    some = [0, 63, 64, 255, 256, 299]
    expected = np.stack([signal(likelihood, {"sin2w": s}) for s in values[some]])
    np.testing.assert_allclose(found[some], expected, rtol=1e-12)
    result = scan(likelihood, {"sin2w": values[::50]}, progress=False)
    chi2s = [float(profile(likelihood, {"sin2w": s}).chi2) for s in values[::50]]
    np.testing.assert_allclose(result.chi2, chi2s, rtol=0, atol=1e-9)
    assert result.chi2.dims == ("sin2w",)


def test_folded_once_for_each_value(likelihoods, monkeypatch) -> None:
    """Points that are asked for again, in any order and company, are not folded again."""
    folded, call = [], Folding.__call__

    def counted(self, values, order=0):
        folded.append(len(values["mass"]))
        return call(self, values, order)

    monkeypatch.setattr(Folding, "__call__", counted)
    surface = Surface(likelihoods["xenonnt"].under("scalar"), ("mass", "coupling"))
    points = mesh({"mass": [5.0, 1.0, 2.0], "coupling": [1e-6, 1e-5]})
    first = surface.evaluate(points)
    again = surface.evaluate(points[::-1])
    np.testing.assert_array_equal(again.chi2[::-1], first.chi2)
    assert folded == [3]


def test_distinct_rows() -> None:
    rng = np.random.default_rng(3)
    for columns in (rng.integers(0, 4, (50, 3)) / 3.0, np.zeros((7, 0)), np.ones((1, 2)), rng.normal(size=(20, 1))):
        rows, place = _distinct(columns)
        np.testing.assert_array_equal(rows[place], columns)
        assert len(rows) == len({tuple(row) for row in columns.tolist()})


def test_users_interaction_in_profile_and_scan(likelihoods, small) -> None:
    values = {"mass": 10.0, "coupling": 5e-6}
    mine, builtin = (profile(likelihoods["xenonnt"].under(t), values) for t in (Contact(), "scalar"))
    assert float(mine.chi2) == pytest.approx(float(builtin.chi2), abs=1e-9)
    own, scalar = small.under(Contact()), small.under("scalar")
    slope = jax.grad(lambda g: profile(own, {**values, "coupling": g}).chi2)(5e-6)
    expected = reference.slope(lambda g: profile(scalar, {**values, "coupling": g}).chi2, 5e-6, 5e-9)
    assert float(slope) == pytest.approx(float(expected), rel=1e-6)
    axes = {"mass": [1.0, 10.0], "coupling": [1e-6, 5e-6, 2e-5]}
    a, b = (scan(lk, axes, progress=False) for lk in (own, scalar))
    np.testing.assert_allclose(a.chi2, b.chi2, rtol=1e-9)


def test_users_interaction_in_limits(small) -> None:
    over = {"mass": [1.0, 30.0]}
    pairs = zip(*(limits(small.under(t), "coupling", over) for t in (Contact(), "scalar")), strict=True)
    for a, b in pairs:
        assert a.valid
        assert len(a.excluded) == len(b.excluded) == 1
        assert a.excluded[0][0] == pytest.approx(b.excluded[0][0], rel=1e-4)
        assert a.excluded[0][1] is b.excluded[0][1] is None
        assert a.chi2_min == pytest.approx(b.chi2_min, abs=1e-6)


def test_derivatives_in_everything_at_once(likelihoods) -> None:
    """Parameters in the weights, in the terms, a flux and a nuisance: gradient and Hessian by differences."""
    likelihood = likelihoods["xenonnt"].under(users.Mine())
    names = ("strength", "range", "flux.b8", "accidental")
    surface, point = Surface(likelihood, names), np.array([0.4, 6.0, 5e6, 1.1])
    steps = np.array([1e-4, 1e-3, 1e3, 1e-4])
    here = surface.evaluate(point[None], 2)
    moves = np.concatenate([np.stack([point + s * np.diag(steps)[i] for s in (1, -1)]) for i in range(4)])
    around = surface.evaluate(moves, 1)
    for i, step in enumerate(steps):
        up, down = 2 * i, 2 * i + 1
        slope = (around.chi2[up] - around.chi2[down]) / (2 * step)
        assert here.gradient[0, i] * point[i] == pytest.approx(slope * point[i], rel=1e-5, abs=1e-6)
        rows = (around.gradient[up] - around.gradient[down]) / (2 * step)
        scale = point * point[i]
        np.testing.assert_allclose(here.hessian[0, i] * scale, rows * scale, rtol=1e-4, atol=1e-4)


CSI = "coherent-csi-2021:shapes=none"
SURFACES = {
    # experiments, theory; parameters, where, steps of differences
    "sin2w, flux": ("xenonnt-2024-s2", "standard-model", ("sin2w", "flux.b8"), (0.31, 4e6), (2e-3, 4e4)),
    "mass, coupling": ("xenonnt-2024-s2", "vector", ("mass", "coupling"), (8.0, 6e-6), (0.08, 6e-8)),
    "nuisance, sin2w": ("xenonnt-2024-s2", "standard-model", ("accidental", "sin2w"), (1.07, 0.2), (1e-2, 2e-3)),
    "two nuisances": ("pandax4t-us2", "standard-model", ("cathode", "pandax4t-us2.signal"), (1.2, 0.8), (1e-2, 1e-2)),
    "r0, sin2w": (CSI, "standard-model", ("r0", "sin2w"), (1.3, 0.25), (5e-3, 1e-3)),
    "sum": ("xenonnt-2024-s2", "scalar+magnetic-moment", ("coupling", "moment"), (4e-6, 500.0), (4e-8, 5.0)),
    "mass in a sum": (
        "xenonnt-2024-s2",
        "scalar+vector",
        ("scalar.mass", "vector.coupling"),
        (3.0, 5e-6),
        (0.03, 5e-8),
    ),
    "table": ("xenonnt-2024-s2", "table", ("strength", "flux.b8"), (0.7, 5e6), (7e-3, 5e4)),
}


@pytest.mark.parametrize("case", SURFACES.values(), ids=SURFACES)
def test_gradient_and_hessian_are_differences_of_the_profile(case) -> None:
    """Of chi2 found point by point, with the signal evaluated directly: no weights and terms, no slopes."""
    name, theory, names, point, steps = case
    if theory == "table":
        theory = StandardModel() + TabulatedSpectrum([0.5, 1.5, 3.0], [40.0, 20.0, 0.0])
    if "scalar.mass" in names:
        theory = MEDIATORS["scalar"][0](coupling=5e-6) + MEDIATORS["vector"][0](20.0)
    likelihood = Likelihood(parse_experiment(name), theory)
    surface = Surface(likelihood, names)
    here = surface.evaluate(np.array([point]), 2)
    call = jax.jit(lambda values: profile(likelihood, dict(zip(names, values, strict=True))).chi2)

    def at(i: float, j: float) -> float:
        return float(call(jnp.asarray(point) + jnp.asarray([i * steps[0], j * steps[1]])))

    grid = {(i, j): at(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    assert here.chi2[0] == pytest.approx(grid[0, 0], abs=1e-8)
    first, second = np.array([1, -8, 0, 8, -1]) / 12, np.array([-1, 16, -30, 16, -1]) / 12
    lines = [[grid[i, 0] for i in range(-2, 3)], [grid[0, j] for j in range(-2, 3)]]
    slopes = np.array([first @ line for line in lines])
    scale = np.array(steps)
    np.testing.assert_allclose(here.gradient[0] * scale, slopes, rtol=1e-5, atol=1e-8)
    square = np.array([[grid[i, j] for j in range(-2, 3)] for i in range(-2, 3)])
    bends = np.diag([second @ line for line in lines])
    bends[0, 1] = bends[1, 0] = first @ square @ first
    np.testing.assert_allclose(here.hessian[0] * np.outer(scale, scale), bends, rtol=1e-4, atol=1e-7)


def test_terms_that_are_proportional_near_the_default_alone() -> None:
    """Thresholds and |x|: what holds where terms are compared beforehand need not hold elsewhere."""
    curve = next(c for c in problems.CURVES if c.name == "threshold")
    likelihood = problems.bounded(curve.likelihood(), "eps", lower=-1e9, scale=1e-3)
    surface = Surface(likelihood, "eps")
    for x in (np.array([[0.0], [1.0]]), np.array([[29.0], [35.0], [45.0], [90.0]])):
        expected = [float(signal(likelihood, {"eps": float(v)}).sum()) for v in x[:, 0]]
        np.testing.assert_allclose(surface.signals(x).sum(axis=1), expected, rtol=1e-12)
    gradient = surface.evaluate(np.array([[20.0], [50.0]]), 1).gradient[:, 0]
    for k, place in enumerate((20.0, 50.0)):
        numeric = reference.slope(lambda e: curve.chi2(np.array([e]))[0], place, 1e-3)
        assert gradient[k] == pytest.approx(float(numeric), rel=1e-7)


def test_chi2_at_the_minimum_is_that_of_the_profile(likelihoods) -> None:
    likelihood = likelihoods["combined"].under("vector")
    found = profile(likelihood, {"mass": 5.0, "coupling": 1e-5})
    assert float(chi2(likelihood, found.values)) == pytest.approx(float(found.chi2), abs=1e-9)
    here = Surface(likelihood, ("mass", "coupling")).evaluate(np.array([[5.0, 1e-5]]))
    assert float(here.chi2[0]) == pytest.approx(float(found.chi2), abs=1e-9)


def test_profile_over_a_parameter_of_the_theory_that_changes_branch(likelihoods) -> None:
    """A vector coupling against sin2w on xenon: interference and a large weak angle cancel, in several minima."""
    here = likelihoods["xenonnt"].under("vector")
    coupling = np.geomspace(1e-6, 1e-4, 24)
    found = Surface(here, "coupling", {"mass": 10.0}, profiled="sin2w").evaluate(coupling[:, None])
    assert np.all(found.valid)
    full = Surface(here, ("coupling", "sin2w"), {"mass": 10.0})
    angle = np.concatenate([np.linspace(full.records[1].lower, 3.0, 400), np.geomspace(3.01, 300.0, 400)])
    points = np.stack(np.meshgrid(coupling, angle, indexing="ij"), axis=-1).reshape(-1, 2)
    dense = full.evaluate(points).chi2.reshape(len(coupling), -1)
    assert np.all(found.chi2 <= dense.min(axis=1) + 1e-9)
    at = np.concatenate([coupling[:, None], found.profiled], axis=1)
    np.testing.assert_allclose(full.evaluate(at).chi2, found.chi2, rtol=1e-10)
    (limit,) = limits(here, "coupling", over={"mass": [10.0]}, profiled="sin2w")
    assert limit.valid
    for low, high in limit.segments:
        ends = [end for end in (low, high) if end is not None]
        there = Surface(here, "coupling", {"mass": 10.0}, profiled="sin2w").evaluate(np.array(ends)[:, None])
        np.testing.assert_allclose(there.chi2, limit.chi2_min + limit.threshold, rtol=1e-6)
