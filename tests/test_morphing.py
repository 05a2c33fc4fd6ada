"""Likelihoods whose templates change shape: interpolation, derivatives, and what they share with plain ones."""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator
from scipy.optimize import minimize

import jcevns as jc
from jcevns.experiments.nuisances import ShapeNuisance
from jcevns.fit.batch import profile_signals
from jcevns.fit.general import FEWEST, general_fits, in_turn, standing
from jcevns.likelihood import model as morphing
from jcevns.likelihood.likelihood import Arrangement, arranged
from jcevns.likelihood.model import Mixture, Model
from tests import problems
from tests import reference_official as ref

_general = problems.compiled
T = (-2.0, -0.5, 0.0, 1.5)
U = (-1.0, 0.0, 2.0)


@cache
def uneven() -> jc.Experiment:
    """Two shapes with uneven anchors, a moving and a still background, one nuisance on signal and background."""
    rng = np.random.default_rng(4)
    matrix = np.eye(4) * rng.uniform(0.5, 2.0, (len(T), len(U), 4, 1)) / 60
    return jc.Experiment(
        "uneven",
        jc.Channel(
            dataclasses.replace(jc.physics.b8(), error=None),
            jc.physics.xenon(),
            jc.detectors.Response(np.linspace(0.9, 1.1, 4), matrix),
        ),
        np.array([4.0, 0.0, 7.0, 2.0]),
        {"moving": rng.uniform(0.5, 2.0, (len(T), len(U), 4)), "still": np.array([1.0, 2.0, 0.5, 0.7])},
        (
            jc.Nuisance("efficiency", 0.2, ("signal",), bounds=(0.5, 1.5)),
            jc.Nuisance("all", 0.1, ("signal", "moving")),
            jc.Nuisance("moving", 0.4, ("moving",)),
            jc.Nuisance("still", 0.5, ("still",)),
        ),
        shapes=(ShapeNuisance("t", T), ShapeNuisance("u", U)),
    )


@cache
def likelihood(name: str) -> jc.Likelihood:
    if name == "uneven":
        return jc.Likelihood(uneven())
    return problems.joint(problems.BOTH) if name == "plain" else jc.Likelihood(name)


@cache
def arrangement(name: str) -> Arrangement:
    """With a free factor on every signal, if the name says so: the flux without its constraint."""
    here = likelihood(name.removesuffix("+strength"))
    return arranged(here, (), (problems.FLUX,)) if name.endswith("+strength") else arranged(here)


@cache
def numbers(name: str) -> tuple[Model, jax.Array]:
    """Model and Standard Model signal."""
    return arrangement(name).model, jc.signal(likelihood(name.removesuffix("+strength")))


MODELS = ("uneven", "uneven+strength", "plain", "plain+strength", "xenonnt-2024", "xenonnt-2024+strength")


def inside(model: Model, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A point inside a random cell, and the cell."""
    linear = np.asarray(model.is_linear).astype(bool)
    x = np.where(linear, rng.uniform(0.3, 2.0, linear.size), rng.uniform(-0.6, 0.4, linear.size))
    cell = np.array([rng.integers(a.size - 1) for a in model.anchors], int)
    ends = [np.asarray(a)[[c, c + 1]] for a, c in zip(model.anchors, cell, strict=True)]
    position = [a + (b - a) * rng.uniform(0.1, 0.9) for a, b in ends]
    return np.concatenate([x, position]), cell


@pytest.mark.parametrize("name", MODELS)
def test_closed_derivatives_are_those_of_chi2(name) -> None:
    model, signal = numbers(name)

    @jax.jit
    def automatic(model, x, cell):
        call = lambda y: morphing.chi2(model, signal, y, cell)  # noqa: E731
        return call(x), jax.grad(call)(x), jax.hessian(call)(x)

    closed = jax.jit(lambda model, x, cell: morphing.derivatives(model, signal, x, cell))
    rng = np.random.default_rng(7)
    for _ in range(6):
        x, cell = map(jnp.asarray, inside(model, rng))
        # Toys move the centres and the counts.
        centre = model.centre + jnp.asarray(rng.normal(0, 0.1, model.centre.size))
        moved = eqx.tree_at(lambda m: m.centre, model, centre)
        for found, expected in zip(closed(moved, x, cell), automatic(moved, x, cell), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)


def test_gradient_is_a_finite_difference() -> None:
    """Against no derivative of JAX's at all."""
    model, signal = numbers("uneven+strength")
    x, cell = map(jnp.asarray, inside(model, np.random.default_rng(1)))
    gradient = np.asarray(morphing.derivatives(model, signal, x, cell).gradient)
    for k in range(x.size):
        up, down = (float(morphing.chi2(model, signal, x.at[k].add(s), cell)) for s in (1e-5, -1e-5))
        assert gradient[k] == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-6)


def test_strength_is_a_factor_on_every_signal() -> None:
    signal = numbers("plain")[1]
    plain = arranged(likelihood("plain"), (problems.FLUX,)).model
    model, place = numbers("plain+strength")[0], arrangement("plain+strength").nuisances.index(problems.FLUX)
    x = np.asarray(jnp.where(plain.is_linear, 1.1, 0.05))
    np.testing.assert_allclose(
        morphing.expected_counts(model, signal, jnp.asarray(np.insert(x, place, 2.5))),
        morphing.expected_counts(plain, 2.5 * signal, jnp.asarray(x)),
        rtol=1e-13,
    )
    assert float(model.lower[place]) == 0
    assert np.isinf(model.sigma[place])


# Interpolation -------------------------------------------------------------------------------------------------


def values_at(here: jc.Likelihood, pull) -> dict:
    """Values by name at relative pulls and positions of shapes."""
    records = [here.parameters[n] for n in here.nuisances]
    return {r.name: p if r.kind == "shape" else (1 + p) * r.default for r, p in zip(records, pull, strict=True)}


def interpolated(table: np.ndarray, anchors: tuple[np.ndarray, ...], place: np.ndarray) -> np.ndarray:
    return RegularGridInterpolator(anchors, table, method="linear")(place)[0]


@pytest.mark.parametrize("name", ["uneven", "xenonnt-2024"])
def test_expected_counts_are_those_of_scipys_interpolation(name) -> None:
    here, (model, signal) = likelihood(name), numbers(name)
    (source,), rng = here.experiments, np.random.default_rng(2)
    anchors = tuple(np.asarray(a) for a in model.anchors)
    for _ in range(8):
        pull = rng.uniform(-0.4, 0.45, len(here.nuisances))
        place = np.array([rng.uniform(a[0], a[-1]) for a in anchors])
        pull[-2:] = place
        factor = dict(zip((n.removeprefix(f"{name}.") for n in here.nuisances), 1 + pull, strict=True))
        expected = {"signal": interpolated(np.asarray(signal).reshape(*model.groups[0].sizes, -1), anchors, place)}
        for component, counts in source.backgrounds.items():
            table = np.asarray(counts)
            expected[component] = interpolated(table, anchors, place) if table.ndim > 1 else table
        expected["signal"] = expected["signal"] * factor.get(problems.FLUX, 1.0)
        for nuisance in source.nuisances:
            for component in nuisance.components:
                expected[component] = expected[component] * factor[nuisance.name]
        found = jc.component_counts(here, values_at(here, pull))[name]
        for component, counts in expected.items():
            np.testing.assert_allclose(found[component], counts, rtol=1e-12, err_msg=component)
        x = np.where(np.append(model.is_linear, [True] * 2), pull + 1, np.log1p(np.append(pull[:-2], [0, 0])))
        x[-2:] = place
        total = morphing.expected_counts(model, signal, jnp.asarray(x))
        np.testing.assert_allclose(total, sum(expected.values()), rtol=1e-12)


def test_anchors_are_returned_as_they_are() -> None:
    here, (model, signal) = likelihood("xenonnt-2024"), numbers("xenonnt-2024")
    table, neutron = np.asarray(signal).reshape(7, 7, -1), np.asarray(here.experiments[0].backgrounds["neutron"])
    call = jax.jit(lambda pull: jc.component_counts(here, values_at(here, pull)))
    for i, j in itertools.product(range(7), repeat=2):
        pull = np.zeros(len(here.nuisances))
        pull[-2:] = np.asarray(model.anchors[0])[i], np.asarray(model.anchors[1])[j]
        found = call(jnp.asarray(pull))["xenonnt-2024"]
        np.testing.assert_allclose(found["signal"], table[i, j], rtol=1e-14)
        np.testing.assert_allclose(found["neutron"], neutron[i, j], rtol=1e-14)


def test_value_does_not_depend_on_the_cell_at_a_border() -> None:
    model, signal = numbers("uneven")
    x, _ = inside(model, np.random.default_rng(3))
    x[-2:] = T[1], U[1]
    values = [
        float(morphing.chi2(model, signal, jnp.asarray(x), jnp.array(cell)))
        for cell in itertools.product((0, 1), (0, 1))
    ]
    assert values == pytest.approx([values[0]] * 4, rel=1e-13)


# Mixtures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uneven", "xenonnt-2024+strength"])
def test_mixture_is_the_signal_written_out(name) -> None:
    model, signal = numbers(name)
    rng = np.random.default_rng(5)
    terms = np.asarray(signal) * rng.uniform(0.1, 1.0, (2, 3, signal.size))
    weights = rng.uniform(0.2, 0.5, 3)
    x, cell = map(jnp.asarray, inside(model, rng))
    call = jax.jit(morphing.derivatives)
    for row in range(2):
        mixed = call(model, Mixture(jnp.asarray(terms), jnp.asarray(row), jnp.asarray(weights)), x, cell)
        written = call(model, jnp.asarray(weights @ terms[row]), x, cell)
        for a, b in zip(mixed, written, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_slope_of_a_mixture_is_with_respect_to_its_weights() -> None:
    model, signal = numbers("uneven")
    terms = np.asarray(signal) * np.random.default_rng(6).uniform(0.1, 1.0, (1, 3, signal.size))
    weights, step = np.array([0.4, 0.5, 0.3]), 1e-5

    def fit(w: np.ndarray) -> problems.Fitted:
        return _general(model, Mixture(jnp.asarray(terms), jnp.asarray(0), jnp.asarray(w)))

    here = fit(weights)
    assert bool(here.valid)
    many = Mixture(terms, np.zeros(1, int), weights[:, None])
    slope = profile_signals(arrangement("uneven"), many).slope[:, 0]
    assert slope.shape == (3,)
    written = _general(model, jnp.asarray(weights @ terms[0]))
    assert float(here.chi2) == pytest.approx(float(written.chi2), abs=1e-10)
    for k in range(3):
        up, down = (float(fit(weights + s * np.eye(3)[k]).chi2) for s in (step, -step))
        assert float(slope[k]) == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-6)


def test_mixture_of_a_plain_likelihood() -> None:
    """Many points as one mixture, with rows that differ: the fits of the signals written out."""
    model, signal = numbers("plain")
    rng = np.random.default_rng(9)
    terms = np.asarray(signal) * rng.uniform(0.1, 1.0, (2, 3, signal.size))
    row, weights = np.array([0, 1, 1, 0, 1]), rng.uniform(0.2, 1.5, (3, 5))
    found = profile_signals(arrangement("plain"), Mixture(terms, row, weights))
    for k in range(5):
        single = _general(model, jnp.asarray(weights[:, k] @ terms[row[k]]))
        assert float(found.chi2[k]) == pytest.approx(float(single.chi2), abs=1e-8)


# The same minimum by the written-out fit and by the general one --------------------------------------------------


def test_same_minimum_by_both_fits() -> None:
    for problem in problems.PROBLEMS:
        if problem.name in PLAIN:
            assert problem.arrangement.layout.plain
            general, counts = problems.fitted(problem), np.concatenate(problems.signals(problem))
            plain = profile_signals(problem.arrangement, counts[:, None])
            assert bool(general.valid), problem
            assert bool(plain.valid[0]), problem
            assert float(general.chi2) == pytest.approx(float(plain.chi2[0]), abs=1e-8), problem
            pulls = morphing.pulls(problem.arrangement.model, jnp.asarray(plain.x[:, 0]))
            np.testing.assert_allclose(general.pulls, pulls, rtol=0, atol=1e-6)
            slope = _slopes(problem.arrangement.model, jnp.asarray(counts))
            np.testing.assert_allclose(plain.slope[:, 0], slope, rtol=1e-6, atol=1e-6)


_slopes = jax.jit(jax.grad(lambda model, counts: problems.profile_signal(model, counts).chi2, 1))
PLAIN = (
    "sm",
    "flux-zero",
    "flux-tenth",
    "flux-ten-times",
    "sin2w-0.3",
    "sin2w-two",
    "zero-count-bin",
    "zero-count-bin-flux-zero",
)


# Derivatives of the profile ------------------------------------------------------------------------------------


def derivatives_of(likelihood: jc.Likelihood, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of chi2 and pulls in the flux (in units of its nominal value) and in sin2w."""

    @jax.jit
    def call(place):
        fit = problems.profile_signal(likelihood.model, place[0] * jc.signal(likelihood, {"sin2w": place[1]}))
        return fit.chi2, fit.pulls

    return jax.jacrev(call)(jnp.asarray(at))


KINKS = {"smooth": (None, ()), "t_ly held": (55, (-2,)), "t_qy held": (12, (-1,)), "both held": (495, (-2, -1))}


def test_gradient_of_the_profile() -> None:
    """With data as observed, and with toy data whose best fit sits on kinks."""
    for seed, held in KINKS.values():
        check_gradient(seed, held)


def check_gradient(seed: int | None, held: tuple[int, ...]) -> None:
    here = likelihood("xenonnt-2024")
    if seed is not None:
        official = ref.Official("xenonnt-2024", np.asarray(jc.signal(here)).reshape(7, 7, -1))
        drawn = np.random.default_rng(seed).poisson(official.expected(official.nominal)).astype(float)
        here = jc.Likelihood(dataclasses.replace(here.experiments[0], observed=drawn))

    def fit(place: np.ndarray) -> problems.Fitted:
        return _general(here.model, place[0] * jc.signal(here, {"sin2w": place[1]}))

    at, step = np.array([1.0, 0.23857]), 1e-4
    slope, slopes = derivatives_of(here, at)
    for k in range(2):
        fits = [fit(at + m * step * np.eye(2)[k]) for m in (-2, -1, 1, 2)]
        five_point = lambda f: (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)  # noqa: E731
        expected = five_point([float(f.chi2) for f in fits])
        assert float(slope[k]) == pytest.approx(expected, rel=1e-6, abs=1e-6)
        changes = five_point([np.asarray(f.pulls) for f in fits])
        np.testing.assert_allclose(slopes[:, k], changes, rtol=1e-4, atol=1e-6)
        for f in fits:
            assert [float(f.pulls[i]) == 0 for i in (-2, -1)] == [i in held for i in (-2, -1)]


@pytest.mark.parametrize("position", [-1.7, -0.5, 0.4, 1.5])
def test_a_held_shape_stays_where_it_is(position):
    """It moved to where chi2 is lowest; against a search by SciPy in each cell of the other shape."""
    here = likelihood("uneven")
    fitted = [n for n in here.parameters if n in here.nuisances and n != "uneven.t"]
    chi2 = jax.jit(lambda x: jc.chi2(here, {"uneven.t": position} | dict(zip(fitted, x, strict=True))))
    slope = jax.jit(jax.grad(lambda x: jc.chi2(here, {"uneven.t": position} | dict(zip(fitted, x, strict=True)))))
    found = jc.profile(here, {"t": position})
    lowest = []
    for cell in itertools.pairwise(U):
        bounds = [cell if n == "uneven.u" else (0.5, 1.5) if "efficiency" in n else (1e-3, 9.0) for n in fitted]
        start = [sum(cell) / 2 if n == "uneven.u" else 1.0 for n in fitted]
        options = {"ftol": 1e-15, "gtol": 1e-9}
        lowest.append(minimize(chi2, start, jac=slope, bounds=bounds, method="L-BFGS-B", options=options).fun)
    assert found.valid
    assert found.values["uneven.t"] == position
    assert float(found.chi2) == pytest.approx(min(lowest) - position**2, abs=1e-7)  # without its constraint
    assert jc.fit(here, "u", {"t": position}, constrained="u", errors=False).chi2_min == pytest.approx(
        float(found.chi2), abs=1e-7
    )
    assert jc.interval(here, "t", constrained="t").chi2_min <= float(found.chi2) + position**2 + 1e-9


def test_one_after_the_other_as_in_step() -> None:
    """Small batches are fitted in turn, and no more points than are asked for; large ones in step."""
    here = numbers("uneven")[0]
    assert in_turn(here, FEWEST)
    assert not in_turn(here, 4 * FEWEST)
    strengths = np.linspace(0.2, 3.0, 4 * FEWEST)
    signals = np.asarray(numbers("uneven")[1])[:, None] * strengths
    together = general_fits(here, signals, standing({}, strengths.size), strengths.size)
    few = general_fits(here, signals[:, :FEWEST], standing({}, FEWEST), 5)
    assert together[-1].all()
    for a, b in zip(few, together, strict=True):
        np.testing.assert_allclose(a[..., :5], b[..., :5], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(few[0][:5], together[0][:5], rtol=1e-11)
    assert not few[-1][5:].any()
