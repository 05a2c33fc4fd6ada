"""Form factors against SciPy's spherical Bessel functions and numerical Fourier transforms of the densities."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import spherical_jn

from jcevns.physics import Helm, KleinNystrand, Nucleus, SymmetrisedFermi, form_factors
from tests import reference
from tests.reference import HBARC

XE132 = Nucleus(*(jnp.asarray(x) for x in (54.0, 132.0, 122840.349, 0.0)))
MODELS = {
    "klein-nystrand": (KleinNystrand, reference.klein_nystrand, {"a_k": 0.7, "r0": 1.23}),
    "helm": (Helm, reference.helm, {"s": 0.9, "a": 0.52}),
    "symmetrised-fermi": (SymmetrisedFermi, reference.symmetrised_fermi, {"a": 0.52, "c0": 0.60}),
}
C = 1.23 * 132 ** (1 / 3) - 0.60
HELM_RADIUS2 = C**2 + 7 / 3 * np.pi**2 * 0.52**2 - 5 * 0.9**2
RADIUS2 = {  # <r^2> of each density, fm^2
    "klein-nystrand": 3 / 5 * 1.23**2 * 132 ** (2 / 3) + 6 * 0.7**2,
    "helm": 3 / 5 * HELM_RADIUS2 + 3 * 0.9**2,
    "symmetrised-fermi": 3 / 5 * C**2 + 7 / 5 * (np.pi * 0.52) ** 2,
}
models = pytest.mark.parametrize("name", MODELS)


def q2_of(q):
    """MeV^2 of a momentum transfer in 1/fm."""
    return jnp.asarray((np.asarray(q) * HBARC) ** 2)


@models
def test_closed_form(name) -> None:
    build, formula, _ = MODELS[name]
    # Below 0.05/fm the textbook forms in SciPy cancel; the limit at zero is tested on its own.
    q = np.linspace(0.05, 2.0, 301)
    np.testing.assert_allclose(build()(q2_of(q), XE132), formula(q, 132.0), rtol=1e-11, atol=2e-13)


@models
def test_parameters_enter_as_in_the_closed_form(name) -> None:
    build, formula, defaults = MODELS[name]
    changed = {key: 1.2 * value for key, value in defaults.items()}
    q = np.linspace(0.1, 1.5, 50)
    np.testing.assert_allclose(
        build(**changed)(q2_of(q), XE132), formula(q, 132.0, **changed), rtol=1e-10, atol=1e-12
    )


def transform(density, q: float, end: float) -> float:
    """Fourier transform of a spherical density that stops or is negligible at `end` fm, over its norm."""
    norm = quad(lambda r: density(r) * r**2, 0, end, epsabs=0, epsrel=1e-12, limit=400)[0]
    wave = quad(lambda r: density(r) * r**2 * np.sinc(q * r / np.pi), 0, end, epsabs=1e-13 * norm, limit=400)[0]
    return wave / norm


@pytest.mark.parametrize("q", [0.1, 0.35, 0.6, 1.1])
def test_fourier_transform_of_the_density(q) -> None:
    def fermi(r):
        return 1 / (1 + np.exp((r - C) / 0.52)) + 1 / (1 + np.exp((-r - C) / 0.52)) - 1

    def sphere(radius):
        return transform(lambda r: 1.0, q, radius)

    def gauss(r):
        return np.exp(-(r**2) / (2 * 0.9**2))

    def yukawa(r):
        return np.exp(-r / 0.7) / max(r, 1e-12)

    # The transform of a folded density is the product of the transforms.
    expected = {
        "symmetrised-fermi": transform(fermi, q, 25.0),
        "helm": sphere(np.sqrt(HELM_RADIUS2)) * transform(gauss, q, 12.0),
        "klein-nystrand": sphere(1.23 * 132 ** (1 / 3)) * transform(yukawa, q, 30.0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(MODELS[name][0]()(q2_of(q), XE132), value, rtol=0, atol=1e-9, err_msg=name)


@models
def test_value_and_slope_at_zero(name) -> None:
    value, slope = jax.value_and_grad(MODELS[name][0]())(jnp.asarray(0.0), XE132)
    assert float(value) == pytest.approx(1.0, abs=1e-15)
    assert float(slope) == pytest.approx(-RADIUS2[name] / 6 / HBARC**2, rel=1e-12)


@models
def test_slope_everywhere(name) -> None:
    factor = MODELS[name][0]()
    q2 = jnp.concatenate([jnp.zeros(1), jnp.geomspace(1e-12, 4.0, 120)]) * HBARC**2
    slope = jax.jit(jax.vmap(jax.grad(lambda x: factor(x, XE132))))(q2)
    assert np.isfinite(slope).all()
    step = 1e-4 * HBARC**2
    inner = np.asarray(q2) > 3 * step
    numeric = reference.slope(lambda h: factor(q2[inner] + h, XE132), 0.0, step)
    np.testing.assert_allclose(slope[inner], numeric, rtol=1e-7, atol=1e-9 / HBARC**2)


@models
def test_continuous_where_series_and_closed_form_meet(name) -> None:
    factor = MODELS[name][0]()
    lengths2 = (1.23**2 * 132 ** (2 / 3), HELM_RADIUS2, C**2, (np.pi * 0.52) ** 2)
    switches = np.array([form_factors._SERIES_BELOW / r2 * HBARC**2 for r2 in lengths2])
    below, above = (factor(jnp.asarray(switches * (1 + e)), XE132) for e in (-1e-14, 1e-14))
    np.testing.assert_allclose(below, above, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("function", "textbook"),
    [
        ("spherical_j1_over_x", lambda x: spherical_jn(1, x) / x),
        ("_sinc", lambda x: np.sinc(x / np.pi)),
        ("_x_over_sinh", lambda x: x / np.sinh(x)),
        ("_coth_excess", lambda x: (x / np.tanh(x) - 1) / x**2),
    ],
)
def test_series_against_the_textbook_form(function, textbook) -> None:
    x = np.linspace(0.3, 0.7, 81)  # on both sides of the switch, 0.5
    np.testing.assert_allclose(getattr(form_factors, function)(jnp.asarray(x**2)), textbook(x), rtol=1e-12)


@models
def test_parameter_gradients(name) -> None:
    build, formula, defaults = MODELS[name]
    q = np.array([0.15, 0.4, 0.9])
    gradient = jax.jacfwd(lambda p: build(**p)(q2_of(q), XE132))({k: jnp.asarray(v) for k, v in defaults.items()})
    for key, value in defaults.items():
        numeric = reference.slope(lambda x, key=key: formula(q, 132.0, **{key: x}), value, 1e-3)
        np.testing.assert_allclose(gradient[key], numeric, rtol=1e-7, atol=1e-10, err_msg=key)


@models
def test_gradients_at_zero_momentum_are_zero_and_finite(name) -> None:
    factor = MODELS[name][0]()
    gradient = eqx.filter_grad(lambda f: f(jnp.asarray(0.0), XE132))(factor)
    for leaf in jax.tree.leaves(gradient):
        assert float(leaf) == pytest.approx(0.0, abs=1e-15)


@models
def test_beyond_any_recoil_it_is_small_and_finite(name) -> None:
    value = MODELS[name][0]()(jnp.asarray([1e6, 1e8, 1e10]), XE132)
    assert np.isfinite(value).all()
    assert np.all(np.abs(value) < 0.01)
