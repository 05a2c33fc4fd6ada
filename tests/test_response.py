"""Charge yields, their inverse and Jacobian, and the linear responses built on them."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from jcevns.datasets import read_table
from jcevns.detectors import (
    NestChargeYield,
    PowerLawChargeYield,
    Response,
    TabulatedChargeYield,
    charge_response,
    interpolated_response,
    smeared_response,
)
from jcevns.detectors.charge_yield import electrons, recoil_from_electrons
from jcevns.detectors.response import add_runs
from jcevns.detectors.smearing import smeared_probability
from tests import reference

EDGES = np.linspace(4.0, 8.0, 9)
NODES = np.array([0.05, 0.4, 1.0, 2.0, 3.5, 6.0])  # keV, of the table below
YIELDS = np.array([1.0, 4.0, 7.3, 7.0, 6.4, 5.5])


def tabulated_electrons(T):
    return T * np.interp(T, NODES, YIELDS)


CURVES = {
    "nest": (NestChargeYield, reference.nest_electrons, np.linspace(0.5, 30.0, 24)),
    "power-law": (PowerLawChargeYield, reference.power_law_electrons, np.linspace(2.0, 30.0, 15)),
    "tabulated": (lambda: TabulatedChargeYield(NODES, YIELDS), tabulated_electrons, np.linspace(0.3, 30.0, 23)),
}
curves = pytest.mark.parametrize("name", CURVES)
invert = jax.jit(recoil_from_electrons)


def rate(T):
    """A steep, smooth recoil spectrum in events/(tonne year keV)."""
    return 300.0 * np.exp(-2.2 * T) / (1 + T**2)


def counts(response: Response) -> np.ndarray:
    return np.asarray(response(jnp.asarray(rate(np.asarray(response.recoil_keV)))))


def _between(nodes: np.ndarray, low: float, high: float) -> np.ndarray:
    return nodes[(nodes - low) * (nodes - high) < 0]


# Charge yields ------------------------------------------------------------------------------------------------


@curves
def test_number_of_electrons(name) -> None:
    build, formula, _ = CURVES[name]
    T = np.geomspace(0.06, 9.0, 60)
    np.testing.assert_allclose(electrons(build(), jnp.asarray(T)), formula(T), rtol=1e-13)


@curves
def test_inverse_and_jacobian(name) -> None:
    build, formula, numbers = CURVES[name]
    recoil, jacobian = invert(build(), jnp.asarray(numbers))
    expected = np.array([reference.recoil_energy(formula, n) for n in numbers])
    np.testing.assert_allclose(recoil, expected, rtol=1e-12)
    # Eq. 13: dN_e/dT = Q_y + T Q_y', the inverse of the Jacobian.
    numeric = reference.slope(formula, expected, 1e-5)
    np.testing.assert_allclose(1 / np.asarray(jacobian), numeric, rtol=1e-8)


def test_inverse_differentiates_implicitly() -> None:
    numbers = jnp.asarray([4.0, 6.0, 8.0])
    slope = jax.jit(jax.jacfwd(lambda n: recoil_from_electrons(NestChargeYield(), n)[0]))(numbers)
    np.testing.assert_allclose(np.diag(slope), recoil_from_electrons(NestChargeYield(), numbers)[1], rtol=1e-12)
    by_field = jax.jit(jax.jacfwd(lambda f: recoil_from_electrons(NestChargeYield(field=f), numbers)[0]))

    def solved(field):
        return np.array([reference.recoil_energy(lambda T: reference.nest_electrons(T, field), n) for n in numbers])

    np.testing.assert_allclose(by_field(jnp.asarray(88.0)), reference.slope(solved, 88.0, 0.5), rtol=1e-7)


@pytest.mark.parametrize("field", [84.0, 93.0])
def test_pandax_window_in_recoil_energy(field) -> None:
    recoil, _ = invert(NestChargeYield(field=field), jnp.asarray([4.0, 8.0]))
    np.testing.assert_allclose(recoil, [0.66, 1.19], rtol=0, atol=5e-3)


@pytest.mark.parametrize(("field", "column"), [(84.0, "qy_84_V_per_cm"), (93.0, "qy_93_V_per_cm")])
def test_nest_curve_is_the_tabulated_one(field, column) -> None:
    table = read_table("pandax4t_charge_yield")
    curve = NestChargeYield(field=field)(jnp.asarray(table["recoil_keV"]))
    np.testing.assert_allclose(curve, table[column], rtol=2e-6)


def test_power_law_through_the_ends_of_the_xenonnt_window() -> None:
    recoil, _ = invert(PowerLawChargeYield(), jnp.asarray([120.0, 500.0]) / 16.9)
    np.testing.assert_allclose(recoil, [0.97, 5.10], rtol=1e-12)
    values = PowerLawChargeYield()(jnp.asarray([0.97, 5.10]))
    np.testing.assert_allclose(values, [7.32, 5.80], rtol=0, atol=5e-3)


# Charge response ----------------------------------------------------------------------------------------------


@curves
def test_charge_response_is_the_integral_over_recoil_energy(name) -> None:
    build, formula, _ = CURVES[name]
    ends = [reference.recoil_energy(formula, n) for n in EDGES]
    expected = [2.5 * reference.integrate(rate, [a, *_between(NODES, a, b), b]) for a, b in itertools.pairwise(ends)]
    panels = 64 if name == "tabulated" else None  # the Jacobian jumps at the table's nodes
    rtol = 1e-3 if name == "tabulated" else 1e-10
    np.testing.assert_allclose(counts(charge_response(build(), EDGES, 2.5, panels=panels)), expected, rtol=rtol)


def test_efficiency_is_linear_between_nodes_and_zero_outside() -> None:
    energies, acceptance = np.array([0.7, 0.9, 1.1]), np.array([0.2, 0.9, 0.6])

    def accepted(T):
        return rate(T) * np.interp(T, energies, acceptance, left=0, right=0)

    ends = [reference.recoil_energy(reference.nest_electrons, n) for n in EDGES]
    expected = [reference.integrate(accepted, [a, *_between(energies, a, b), b]) for a, b in itertools.pairwise(ends)]
    response = charge_response(NestChargeYield(), EDGES, 1.0, (energies, acceptance), panels=64)
    np.testing.assert_allclose(counts(response), expected, rtol=0, atol=2e-3 * max(expected))


@pytest.mark.parametrize("parameter", ["field", "density", "scale", "field_power", "offset", "knee"])
def test_gradient_of_counts_in_a_nest_parameter(parameter) -> None:
    start = float(getattr(NestChargeYield(), parameter))

    def expected(value):
        names = {"field": 88.0, "density": 2.862, "scale": 0.048, "field_power": -0.0533, "offset": 12.6, "knee": 0.3}
        p = names | {parameter: value}

        def formula(T):
            v = p["scale"] * p["field"] ** p["field_power"] * (p["density"] / 2.9) ** 0.3
            return T * (1 - 1 / (1 + (T / p["knee"]) ** 2)) / (v * np.sqrt(T + p["offset"]))

        ends = [reference.recoil_energy(formula, n) for n in EDGES]
        return np.array([reference.integrate(rate, pair) for pair in itertools.pairwise(ends)])

    gradient = _nest_gradient()[parameter]
    np.testing.assert_allclose(gradient, reference.slope(expected, start, 1e-3 * abs(start)), rtol=1e-7, atol=1e-9)


def _nest_gradient(cache: dict = {}) -> dict:  # noqa: B006
    """d counts/d parameter of all six parameters, computed once."""
    if not cache:
        fields = ("field", "density", "scale", "field_power", "offset", "knee")

        def predicted(p):
            response = charge_response(NestChargeYield(**p), EDGES, 1.0)
            T = response.recoil_keV
            return response(300.0 * jnp.exp(-2.2 * T) / (1 + T**2))

        start = {name: getattr(NestChargeYield(), name) for name in fields}
        cache.update(jax.jit(jax.jacfwd(predicted))(start))
    return cache


def test_reverse_mode_equals_forward_mode() -> None:
    def total(field):
        response = charge_response(NestChargeYield(field=field), EDGES, 1.0)
        return jnp.sum(response(jnp.exp(-response.recoil_keV)))

    field = jnp.asarray(88.0)
    np.testing.assert_allclose(jax.jit(jax.grad(total))(field), jax.jit(jax.jacfwd(total))(field), rtol=1e-12)


# Linear response ----------------------------------------------------------------------------------------------


def _probabilities() -> np.ndarray:
    return np.array([[0.0, 0.1, 0.3, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, 0.5, 0.7, 0.9]])


def test_interpolated_response_is_the_integral_of_the_piecewise_linear_probability() -> None:
    probability = _probabilities()
    expected = [
        3.5 * reference.integrate(lambda T, row=row: rate(T) * np.interp(T, NODES, row), NODES, order=24)
        for row in probability
    ]
    np.testing.assert_allclose(counts(interpolated_response(NODES, probability, 3.5, order=12)), expected, rtol=1e-9)


@pytest.mark.parametrize(("order", "degree"), [(2, 2), (4, 6)])
def test_n_nodes_integrate_a_spectrum_of_degree_2n_minus_2_exactly(order, degree) -> None:
    """Gauss-Legendre is exact to degree 2n - 1, of which the linear probability takes one."""
    response = interpolated_response(NODES, _probabilities(), 1.0, order=order)
    T = np.asarray(response.recoil_keV)
    spectrum = np.polynomial.Polynomial([1.0, 0.5, -0.3, 0.02, -0.03, 0.01, 0.002][: degree + 1])
    expected = [
        reference.integrate(lambda T, row=row: spectrum(T) * np.interp(T, NODES, row), NODES)
        for row in _probabilities()
    ]
    np.testing.assert_allclose(response(jnp.asarray(spectrum(T))), expected, rtol=1e-13)


def test_default_order_is_two() -> None:
    assert interpolated_response(NODES, _probabilities(), 1.0).recoil_keV.size == 2 * (len(NODES) - 1)


def test_linear_in_exposure() -> None:
    one, three = (charge_response(NestChargeYield(), EDGES, exposure) for exposure in (1.0, 3.0))
    np.testing.assert_allclose(counts(three), 3 * counts(one), rtol=1e-13)
    one, three = (interpolated_response(NODES, _probabilities(), exposure) for exposure in (1.0, 3.0))
    np.testing.assert_allclose(counts(three), 3 * counts(one), rtol=1e-13)


def test_runs_add_up() -> None:
    runs = [
        interpolated_response(NODES, _probabilities(), 1.0),
        charge_response(NestChargeYield(), [4.0, 6.0, 8.0], 2.0),
    ]
    np.testing.assert_allclose(counts(add_runs(runs)), sum(counts(r) for r in runs), rtol=1e-13)


# Smeared response ---------------------------------------------------------------------------------------------

SMEARED_EDGES = np.array([0.6, 1.0, 1.3, 2.0, 3.5])  # keV, bins of different widths
SIGMA = {"constant": 0.05, "sqrt": 0.2, "linear": 0.03}
KEPT = (np.array([0.3, 0.8, 2.5, 6.0]), np.array([0.0, 0.6, 0.9, 0.8]))


def sigma(energy):
    return 0.05 + 0.2 * np.sqrt(energy) + 0.03 * energy


def kept(energy):
    return np.interp(energy, *KEPT, left=0.0, right=0.0)


def integral(function, low: float, high: float, points) -> float:
    cuts = [low, *(p for p in points if low < p < high), high]
    return sum(quad(function, a, b, epsabs=1e-12, epsrel=1e-10)[0] for a, b in itertools.pairwise(cuts))


@pytest.mark.parametrize("quenching", [1.0, 0.6])
def test_smeared_response_is_the_integral_over_true_energy(quenching) -> None:
    """With an efficiency at the true energy: by SciPy's quadrature of a difference of error functions."""

    def expected(low, high):
        def density(T):
            seen = norm(quenching * T, sigma(quenching * T))
            return rate(T) * kept(T) * (seen.cdf(high) - seen.cdf(low))

        return 2.5 * integral(density, 0.3, 6.0, [*KEPT[0], 1.0, 1.5])

    response = smeared_response(SMEARED_EDGES, 2.5, SIGMA, KEPT, quenching=quenching)
    wanted = [expected(a, b) for a, b in itertools.pairwise(SMEARED_EDGES)]
    np.testing.assert_allclose(counts(response), wanted, rtol=1e-6)


def test_smeared_response_with_an_efficiency_at_the_reconstructed_energy() -> None:
    """A double integral: true energy inside, reconstructed energy outside."""

    def density(seen):
        inner = integral(lambda T: rate(T) * norm.pdf(seen, T, sigma(T)), 1e-9, 8.0, [seen / 2, seen, 2 * seen])
        return inner * kept(seen)

    wanted = [integral(density, a, b, KEPT[0]) for a, b in itertools.pairwise(SMEARED_EDGES)]
    response = smeared_response(SMEARED_EDGES, 1.0, SIGMA, KEPT, "reconstructed")
    np.testing.assert_allclose(counts(response), wanted, rtol=5e-4)  # the efficiency is a constant in a cell
    fine = smeared_response(SMEARED_EDGES, 1.0, SIGMA, KEPT, "reconstructed", cells=200)
    np.testing.assert_allclose(counts(fine), wanted, rtol=5e-6)


def test_resolution_as_function_table_and_coefficients() -> None:
    nodes = np.linspace(0.0, 20.0, 20001)
    given = [sigma, (nodes, sigma(nodes)), SIGMA]
    one, table, same = (counts(smeared_response(SMEARED_EDGES, 1.0, g)) for g in given)
    np.testing.assert_allclose(table, one, rtol=1e-4)
    np.testing.assert_allclose(same, one, rtol=1e-12)


def test_sharp_resolution_counts_true_energies() -> None:
    response = smeared_response(SMEARED_EDGES, 3.0, {"constant": 1e-5}, panels=SMEARED_EDGES, order=16)
    expected = [3.0 * reference.integrate(rate, pair, order=16) for pair in itertools.pairwise(SMEARED_EDGES)]
    np.testing.assert_allclose(counts(response), expected, rtol=1e-10)
    assert response.recoil_keV.size == 4 * 16
    broken = smeared_response(SMEARED_EDGES, 3.0, {"constant": 1e-5}, panels=[0.6, 3.5], breaks=[1.0, 1.3, 2.0, 9.0])
    assert broken.recoil_keV.size == 4 * 4


def test_default_panels_are_fine_enough() -> None:
    for width in ({"sqrt": 0.31, "linear": 0.0037}, {"constant": 0.02}, {"linear": 0.1}):
        edges = np.linspace(1.0, 30.0, 30)
        default = smeared_response(edges, 1.0, width)
        fine = smeared_response(edges, 1.0, width, panels=np.geomspace(1e-4, 120.0, 20000))

        def flat(response):
            T = np.asarray(response.recoil_keV)
            return np.asarray(response(jnp.asarray(1 / (0.1 + T))))

        np.testing.assert_allclose(flat(default), flat(fine), rtol=1e-6)


def test_a_line_is_shared_among_bins() -> None:
    edges = np.arange(6.0)
    found = smeared_probability(np.array([2.8]), np.array([0.5]), edges)[:, 0]
    np.testing.assert_allclose(found, np.diff(norm.cdf(edges, 2.8, 0.5)), rtol=1e-12)
    half = smeared_probability(np.array([2.8]), np.array([0.5]), edges, kept=lambda e: 0.5 * np.ones_like(e))
    np.testing.assert_allclose(half[:, 0], found / 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": [1.0]}, "bin edges must be at least two, increase and not be negative"),
        ({"edges": [2.0, 1.0]}, "bin edges must be at least two"),
        ({"exposure": -1.0}, "exposure -1.0 must be positive"),
        ({"resolution": {"sqr": 0.3}}, r"unknown resolution coefficient 'sqr' \(did you mean sqrt\?\)"),
        ({"resolution": {}}, "resolution is 0 at"),
        ({"resolution": {"linear": -0.1}}, r"resolution is -.* at .* keV, it must be positive"),
        ({"resolution": lambda e: np.nan * e}, "resolution is nan at"),
        ({"resolution": ([2.0, 1.0], [0.1, 0.1])}, "energies of the resolution must be at least two and increase"),
        ({"resolution": {"linear": 0.5}}, "give `panels`"),
        ({"efficiency": ([1.0, 2.0], [0.5, 1.5])}, "efficiency must be between 0 and 1"),
        ({"efficiency": lambda e: 2.0 + e}, "efficiency is .* at .* keV, it must be between 0 and 1"),
        ({"efficiency": ([50.0, 60.0], [0.5, 0.5])}, "no true energy above 50 keV, where the efficiency begins"),
        ({"efficiency_at": "seen"}, "unknown efficiency_at 'seen'"),
        ({"panels": [2.0, 1.0]}, "panels must be at least two, increase"),
    ],
)
def test_bad_smearing(changes, message) -> None:
    options = {"edges": [1.0, 2.0], "exposure": 1.0, "resolution": {"sqrt": 0.3}} | changes
    with pytest.raises(ValueError, match=message):
        smeared_response(**options)


# Messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edges", [[4.0], [4.0, 4.0], [8.0, 4.0], [0.0, 4.0], [-1.0, 4.0], np.array([[4.0, 8.0]]), [4.0, np.nan]]
)
def test_bad_edges(edges) -> None:
    with pytest.raises(ValueError, match="bin edges must be at least two, increase and be positive"):
        charge_response(NestChargeYield(), edges, 1.0)


@pytest.mark.parametrize("exposure", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_exposure(exposure) -> None:
    with pytest.raises(ValueError, match=r"exposure .* must be positive"):
        charge_response(NestChargeYield(), EDGES, exposure)
    with pytest.raises(ValueError, match=r"exposure .* must be positive"):
        interpolated_response(NODES, _probabilities(), exposure)


@pytest.mark.parametrize(
    "energies", [NODES[::-1], NODES[:1], np.zeros(6), NODES - 1.0, np.where(NODES > 5, np.nan, NODES)]
)
def test_bad_response_energies(energies) -> None:
    with pytest.raises(ValueError, match="response energies"):
        interpolated_response(energies, _probabilities()[:, : len(energies)], 1.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_bad_probabilities(value) -> None:
    bad = _probabilities()
    bad[1, 2] = value
    with pytest.raises(ValueError, match="probabilities"):
        interpolated_response(NODES, bad, 1.0)


def test_no_recoil_can_be_counted_twice() -> None:
    with pytest.raises(ValueError, match="no energy above 1 in all"):
        interpolated_response(NODES, np.full((2, 6), 0.6), 1.0)


def test_shape_of_probabilities() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 5\), expected \(bins, 6 energies\)"):
        interpolated_response(NODES, _probabilities()[:, :5], 1.0)
