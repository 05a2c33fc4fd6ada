"""Properties that hold for every theory point, by random search with a fixed seed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jcevns import StandardModel, signal
from jcevns.detectors import NestChargeYield, charge_response
from jcevns.physics import KleinNystrand, b8, counts_above, recoil_spectrum, xenon
from tests.problems import BOTH, PANDAX, XENONNT, joint, profile_signal

DATA = {"xenonnt": (XENONNT,), "pandax": (PANDAX,), "combined": BOTH}
datasets = pytest.mark.parametrize("dataset", DATA)
fixed = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

sin2ws = st.floats(-1.0, 2.0)
fluxes = st.floats(0.0, 1e9)
FUNCTIONS: dict = {}


def compiled(key, build):
    """One compiled function per key for the whole module."""
    if key not in FUNCTIONS:
        FUNCTIONS[key] = jax.jit(build)
    return FUNCTIONS[key]


def counts_function(dataset: str):
    likelihood = joint(DATA[dataset])
    return compiled(("counts", dataset), lambda sin2w, flux: signal(likelihood, {"sin2w": sin2w, "flux": flux}))


def profile_function(dataset: str):
    likelihood = joint(DATA[dataset])

    def chi2(point):
        fit = profile_signal(likelihood.model, signal(likelihood, {"sin2w": point[0], "flux": point[1]}))
        return fit.chi2, fit

    return compiled(("profile", dataset), jax.value_and_grad(chi2, has_aux=True))


@datasets
@fixed
@given(sin2w=sin2ws, flux=fluxes)
def test_counts_are_not_negative(dataset, sin2w, flux) -> None:
    counts = counts_function(dataset)(jnp.asarray(sin2w), jnp.asarray(flux))
    assert np.isfinite(counts).all()
    assert np.all(np.asarray(counts) >= 0)


@fixed
@given(sin2w=sin2ws, flux=st.floats(1.0, 1e9), factor=st.floats(1e-3, 1e3))
def test_counts_are_linear_in_the_flux(sin2w, flux, factor) -> None:
    counts = counts_function("combined")
    scaled = counts(jnp.asarray(sin2w), jnp.asarray(factor * flux))
    np.testing.assert_allclose(scaled, factor * counts(jnp.asarray(sin2w), jnp.asarray(flux)), rtol=1e-12)


@fixed
@given(exposure=st.floats(1e-3, 1e4), sin2w=sin2ws)
def test_counts_are_linear_in_the_exposure(exposure, sin2w) -> None:
    edges = np.linspace(4.0, 8.0, 5)
    recoils = charge_response(NestChargeYield(), edges, 1.0).recoil_keV
    rate = compiled(("rate",), lambda s: recoil_spectrum(StandardModel(sin2w=s), b8(), xenon(), recoils))
    spectrum = rate(jnp.asarray(sin2w))
    one, many = (charge_response(NestChargeYield(), edges, x)(spectrum) for x in (1.0, exposure))
    np.testing.assert_allclose(many, exposure * one, rtol=1e-12)


@fixed
@given(sin2w=sin2ws, a_k=st.floats(0.1, 2.0), r0=st.floats(0.8, 1.5))
def test_counts_fall_with_the_threshold(sin2w, a_k, r0) -> None:
    thresholds = jnp.linspace(0.2, 5.0, 12)
    above = compiled(
        ("above",),
        lambda s, a, r: counts_above(StandardModel(s, KleinNystrand(a, r)), b8(), xenon(), thresholds),
    )
    counts = np.asarray(above(*(jnp.asarray(x) for x in (sin2w, a_k, r0))))
    assert np.all(counts >= 0)
    assert np.all(np.diff(counts) <= 0)


@datasets
@fixed
@given(sin2w=sin2ws, flux=fluxes)
def test_profile_is_valid_and_smooth_everywhere(dataset, sin2w, flux) -> None:
    (chi2, fit), gradient = profile_function(dataset)(jnp.asarray([sin2w, flux]))
    assert np.isfinite(chi2)
    assert np.isfinite(gradient).all()
    assert bool(fit.valid)
    assert np.all(np.asarray(fit.expected) > 0)
    assert float(chi2) >= 0


@datasets
@pytest.mark.parametrize("point", [(-1.0, 0.0), (2.0, 1e9), (0.25, 0.0), (-0.1078, 1e9), (-1.0, 1e9)])
def test_corners(dataset, point) -> None:
    (chi2, fit), gradient = profile_function(dataset)(jnp.asarray(point))
    assert np.isfinite(chi2)
    assert np.isfinite(gradient).all()
    assert bool(fit.valid)
