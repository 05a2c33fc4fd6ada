"""Fits of two parameters against iminuit on a chi2 in NumPy: minimum, HESSE, MINOS; contours against a dense scan."""

import dataclasses
import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from contourpy import contour_generator
from iminuit import Minuit

import jcevns as jc
from jcevns import datasets
from tests import reference
from tests.reference import FERMI, HBARC, MOLE, YEAR

RECOILS = {"xenon": np.linspace(0.6, 2.6, 8), "csi": np.linspace(4.0, 46.0, 10)}  # keV, one bin each
SIZE = {"xenon": 3.0, "csi": 0.5}  # tonne year keV of every bin
TARGETS = {"xenon": (jc.physics.xenon, "xenon_isotopes"), "csi": (jc.physics.cesium_iodide, "cesium_iodide_isotopes")}
ERROR, BACKGROUND = 0.05, 30.0
DENSE = 400  # nodes of each axis of a scan


class Independent:
    """Counts of Standard Model-like scattering with any charge and form factor, and chi2 of all nuisances."""

    def __init__(self, place, flux):
        table = datasets.read_table(TARGETS[place][1])
        self.Z, self.A, self.mass = (np.asarray(table[c], float) for c in ("Z", "A", "nuclear_mass_MeV"))
        atoms = table["abundance"] * 1e6 * MOLE / np.sum(table["abundance"] * table["atomic_mass_u"])
        self.T = RECOILS[place] * 1e-3
        energy, density = np.asarray(flux.energy), np.asarray(flux.shape)
        x, w = np.polynomial.legendre.leggauss(9)
        unit = np.zeros((self.A.size, self.T.size))
        for i, mass in enumerate(self.mass):
            for k, T in enumerate(self.T):
                start = (T + np.sqrt(T * (T + 2 * mass))) / 2
                cuts = np.concatenate([[start], energy[energy > start]])
                half = np.diff(cuts)[:, None] / 2
                E = cuts[:-1, None] + half * (1 + x)
                value = FERMI**2 * mass / np.pi * (1 - mass * T / (2 * E**2) - T / E)
                unit[i, k] = np.sum(half * w * value * np.interp(E, energy, density))
        factor = float(flux.total) * YEAR * (HBARC * 1e-13) ** 2 * 1e-3 * SIZE[place]
        self.unit = unit * atoms[:, None] * factor
        self.relative = flux.error

    def counts(self, charge, r0=1.23):
        q = np.sqrt(2 * self.mass[:, None] * self.T) / HBARC
        F = reference.klein_nystrand(q, self.A[:, None], r0=r0)
        return np.sum(self.unit * charge**2 * F**2, axis=0)

    def weak(self, sin2w):
        return ((0.5 - 2 * sin2w) * self.Z - (self.A - self.Z) / 2)[:, None] * np.ones(self.T.size)

    def with_vector(self, m, g, kappa=1.0):
        P = m**2 + 2 * self.mass[:, None] * self.T
        return self.weak(0.23857) + 3 * kappa * self.A[:, None] * g**2 / (np.sqrt(2) * FERMI * P)


def experiment(place, flux, observed):
    target = TARGETS[place][0]()
    response = jc.detectors.Response(RECOILS[place], SIZE[place] * np.eye(RECOILS[place].size))
    return jc.Experiment(
        "toy", jc.Channel(flux, target, response), observed, {"flat": np.full(observed.size, BACKGROUND)},
        (jc.Nuisance("flat", ERROR, ("flat",)),),
    )  # fmt: skip


def poisson(N, D):
    return 2 * np.sum(N - D + np.where(D > 0, D * np.log(np.where(D > 0, D, 1) / N), 0.0))


def minuit(chi2, values, limits=(), steps=None):
    steps = 1e-4 * np.array([abs(v) for v in values.values()]) if steps is None else np.array(steps)

    def gradient(*x):
        x = np.array(x)
        moved = [reference.slope(lambda t, e=e: chi2(*(x + t * e)), 0.0, 1.0) for e in np.diag(steps)]
        return np.array(moved) / steps

    # With a gradient HESSE is good to its last digits; from values alone it is not, where parameters are correlated.
    found = Minuit(chi2, grad=gradient, **values)
    found.errordef, found.strategy = 1, 2
    for name, pair in limits:
        found.limits[name] = pair
    for tolerance in (1e-1, 1e-4):
        found.tol = tolerance
        found.migrad(ncall=50000)
    found.hesse()
    found.minos()
    assert found.valid
    return found


def flux_problem():
    flux = jc.physics.b8()
    model = Independent("xenon", flux)
    data = np.round(0.9 * model.counts(model.weak(0.27)) + BACKGROUND + np.array([9, -7, 4, -5, 3, 2, -4, 1]))

    def chi2(a, b, flat):
        N = b / 5.46 * model.counts(model.weak(a)) + flat * BACKGROUND
        return poisson(N, data) + ((flat - 1) / ERROR) ** 2 + ((b / 5.46 - 1) / 0.12) ** 2

    likelihood = jc.Likelihood(experiment("xenon", flux, data))
    start = {"a": 0.25, "b": 5.2, "flat": 1.0}  # 1e6 cm^-2 s^-1: iminuit is at its best with numbers near one
    return likelihood, ("sin2w", "flux.b8"), {"constrained": "flux"}, chi2, start, [("a", (0.0, 1.0))]


def mediator_problem():
    flux = dataclasses.replace(jc.physics.b8(), error=None)
    model = Independent("xenon", flux)
    data = np.round(model.counts(model.with_vector(12.0, 2.5e-5, -1 / 3)) * 40 + BACKGROUND + np.array([4, -6, 2, 3, 0, -2, 1, 1]))  # fmt: skip # noqa: E501

    def chi2(a, b, flat):
        N = 40 * model.counts(model.with_vector(a, b * 1e-5, -1 / 3)) + flat * BACKGROUND
        return poisson(N, data) + ((flat - 1) / ERROR) ** 2

    built = experiment("xenon", flux, data)
    built = eqx.tree_at(lambda e: e.channels[0].response.matrix, built, 40 * built.channels[0].response.matrix)
    likelihood = jc.Likelihood(built, "b-l")
    return likelihood, ("mass", "coupling"), {}, chi2, {"a": 12.0, "b": 2.5, "flat": 1.0}, [("a", (0, 1e3)), ("b", (0, 1e3))]  # fmt: skip # noqa: E501


def radius_problem():
    flux = dataclasses.replace(jc.physics.spallation(3e23, 0.085, 19.3), error=None)
    model = Independent("csi", flux)
    scale = 400.0
    shape = np.array([6, -9, 4, 7, -3, -5, 2, 3, -1, 1])
    data = np.round(scale * model.counts(model.weak(0.25), 1.16) + BACKGROUND + shape)

    def chi2(a, b, flat):
        N = scale * model.counts(model.weak(b), a) + flat * BACKGROUND
        return poisson(N, data) + ((flat - 1) / ERROR) ** 2

    built = experiment("csi", flux, data)
    built = eqx.tree_at(lambda e: e.channels[0].response.matrix, built, scale * built.channels[0].response.matrix)
    start = {"a": 1.2, "b": 0.24, "flat": 1.0}
    return jc.Likelihood(built), ("r0", "sin2w"), {}, chi2, start, [("a", (0.3, 2)), ("b", (0, 1))]


WHITE, STEPS = {"u": 0.01, "v": 0.01, "flat": 1.0}, (0.02, 0.02, 1e-3)
UNITS = {"flux": 1e6, "mediator": 1e-5}  # of iminuit's second parameter
PROBLEMS = {"flux": flux_problem, "mediator": mediator_problem, "radius": radius_problem}


@pytest.mark.parametrize("name", PROBLEMS)
def test_two_parameters_against_iminuit(name):
    likelihood, names, options, chi2, start, limits = PROBLEMS[name]()
    found = jc.fit(likelihood, names, **options)
    assert found.valid, found.problems
    theirs = minuit(chi2, start, limits)
    assert found.chi2_min == pytest.approx(theirs.fval, abs=2e-5)
    unit = np.array([1.0, UNITS.get(name, 1.0)])
    # HESSE in coordinates in which the parameters are not correlated: in others it loses digits.
    root = np.linalg.cholesky(found.covariance) / unit[:, None]
    white = minuit(lambda u, v, flat: chi2(*(np.array(theirs.values)[:2] + root @ (u, v)), flat), WHITE, (), STEPS)
    covariance = root @ np.asarray(white.covariance)[:2, :2] @ root.T * np.outer(unit, unit)
    width = np.sqrt(np.diag(covariance))
    ours = np.array([found.values[n] for n in found.names])
    assert np.abs(ours - np.array(theirs.values)[:2] * unit) / width == pytest.approx(0, abs=3e-3)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx(width, rel=1e-3)
    assert found.correlation[0, 1] == pytest.approx(covariance[0, 1] / width[0] / width[1], abs=1e-3)
    for i, (parameter, key) in enumerate(zip(found.names, "ab", strict=True)):
        minos = theirs.merrors[key]
        assert minos.is_valid
        down, up = found.errors[parameter]
        theirs_two = (minos.lower * unit[i], minos.upper * unit[i])
        assert (-down, up) == pytest.approx(theirs_two, rel=1e-3, abs=3e-3 * width[i])
    json.loads(found.to_json())
    assert "correlation" in found.table()
    assert "<table>" in found._repr_html_()


@pytest.mark.parametrize("name", PROBLEMS)
def test_contours_against_a_dense_scan(name):
    likelihood, names, options, *_ = PROBLEMS[name]()
    region = jc.contour(likelihood, names, cl=[0.683], **options)
    assert region.valid
    ((low, high), (below, above)) = region.window
    x, y = np.linspace(low, high, DENSE), np.linspace(below, above, DENSE)
    surface = jc.Surface(likelihood, names, None, options.get("constrained", ()))
    mesh = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    found = surface.evaluate(mesh)
    assert np.all(found.valid)
    height = found.chi2.reshape(DENSE, DENSE) - region.chi2_min - region.thresholds[0]
    lines = contour_generator(x, y, height.T).lines(0.0)
    assert len(lines) == len(region.lines[0.683])
    assert region.closed[0.683] == tuple(bool(np.allclose(line[0], line[-1])) for line in lines)
    size = np.array([high - low, above - below])
    ours = np.concatenate(region.lines[0.683]) / size
    for point in np.concatenate(lines) / size:
        assert np.min(np.hypot(*(ours - point).T)) < 0.02  # cells of the dense scan
    # Every point of ours is on the level, not on the grid's straight lines.
    chi2 = surface.evaluate(np.concatenate(region.lines[0.683])).chi2
    assert chi2 - region.chi2_min == pytest.approx(region.thresholds[0], abs=1e-3)


@pytest.mark.parametrize("minimiser", ["lbfgs", "adam", "bfgs"])
def test_other_minimisers_end_in_the_same_place(minimiser):
    likelihood, names, options, *_ = PROBLEMS["flux"]()
    ours = jc.fit(likelihood, names, errors=False, **options)
    theirs = jc.fit(likelihood, names, errors=False, minimiser=minimiser, **options)
    assert theirs.chi2_min == pytest.approx(ours.chi2_min, abs=1e-4)
    assert theirs.minimiser == minimiser
    if theirs.valid:
        assert theirs.edm < theirs.edm_goal


def test_a_flux_and_a_charge_that_cannot_be_told_apart_are_not_measured():
    found = jc.fit("xenonnt-2024-s2", ("sin2w", "flux"), errors=False)
    assert not found.valid or found.hesse["flux.b8"] > found.values["flux.b8"]


def test_unknown_minimiser():
    with pytest.raises(ValueError, match=r"unknown minimiser 'newtn'.*did you mean newton"):
        jc.fit("xenonnt-2024-s2", "flux", minimiser="newtn")


def test_jnp_values_are_taken():
    assert float(jc.chi2("xenonnt-2024-s2", {"sin2w": jnp.asarray(0.25)})) > 0
