"""Fluctuating numbers of electrons: integer quanta and sums of one's own, PandaX-4T's US2."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, norm, poisson

import jcevns as jc
from jcevns.experiments.pandax4t import ELECTRON_RESOLUTION
from tests import reference

EDGES = np.linspace(4.0, 8.0, 9)
T = np.arange(0.055, 4.7, 0.01)  # keV, midpoints
NUMBER = np.arange(1, 40)[:, None]


def numbers(model: str) -> np.ndarray:
    """Probability of each number of electrons at each recoil energy."""
    mean = reference.nest_electrons(T)
    if model == "poisson":
        return poisson.pmf(NUMBER, mean)
    quanta = T / 13.7e-3
    whole, part = np.floor(quanta), quanta % 1
    return sum(w * binom.pmf(NUMBER, n, mean / quanta) for n, w in ((whole, 1 - part), (whole + 1, part)))


def folded(model: str) -> np.ndarray:
    """Events per bin and recoil energy at full efficiency, 1.04 tonne-year."""
    cumulative = norm.cdf(EDGES, NUMBER, ELECTRON_RESOLUTION * np.sqrt(NUMBER))  # (number, edge)
    return np.diff(cumulative, axis=1).T @ numbers(model) * reference.spectrum(T) * 0.01 * 1.04


@pytest.fixture(scope="module")
def us2() -> jc.Experiment:
    return jc.experiment("pandax4t-us2", response="binomial")


def test_counts_by_integer_quanta() -> None:
    response = jc.detectors.binomial_response(
        jc.detectors.NestChargeYield(), EDGES, 1.04, resolution=ELECTRON_RESOLUTION
    )
    rate = jc.physics.recoil_spectrum(jc.StandardModel(), jc.physics.b8(), jc.physics.xenon(), response.recoil_keV)
    np.testing.assert_allclose(response(rate), folded("binomial").sum(axis=1), rtol=2e-3)


def test_large_numbers_hardly_fluctuate() -> None:
    """Hundreds of electrons in wide bins, of a flat spectrum: the response without fluctuations."""
    edges = [400.0, 700.0, 1000.0]
    charge = jc.detectors.NestChargeYield()
    sharp = jc.detectors.charge_response(charge, edges, 2.0, panels=16)
    found = jc.detectors.binomial_response(charge, edges, 2.0, resolution=0.3)
    counts = [np.asarray(r(jnp.ones_like(r.recoil_keV))) for r in (sharp, found)]
    np.testing.assert_allclose(counts[1], counts[0], rtol=2e-3)


def test_efficiency_behind_the_reconstructed_bins_is_flat(us2) -> None:
    """The table's signal was made with a flat efficiency: 0.325 in each bin, to the four digits it has."""
    signal = np.asarray(jc.signal_counts(us2, jc.StandardModel()))
    assert signal.sum() == pytest.approx(48.85, rel=1e-9)
    np.testing.assert_allclose(signal / folded("binomial").sum(axis=1), 0.325, rtol=0.012)


def test_share_below_the_energies_of_the_paper() -> None:
    """Reference calculation: 32%, which is that of Poisson fluctuations; binomial ones are 4% narrower."""
    share = {}
    for model in ("binomial", "poisson"):
        counts = folded(model)
        scaled = counts * (np.asarray(jc.signal_counts(jc.experiment("pandax4t-us2"), jc.StandardModel()))
                           / counts.sum(axis=1))[:, None]  # fmt: skip
        share[model] = scaled[:, T < 0.66].sum() / scaled.sum()
    assert share["poisson"] == pytest.approx(0.32, abs=0.005)
    assert share["binomial"] == pytest.approx(0.31, abs=0.005)


@pytest.mark.parametrize(("name", "paper", "binomial"), [("scalar", 8.00e-6, 7.73e-6), ("b-l", 2.69e-5, 2.49e-5)])
def test_limits_of_the_reference_calculation(us2, name, paper, binomial) -> None:
    for experiment, expected in (("pandax4t-us2", paper), (us2, binomial)):
        (limit,) = jc.limits(jc.Likelihood(experiment, name), "coupling", over={"mass": [1.0]})
        assert limit.valid
        assert limit.excluded[0][0] == pytest.approx(expected, rel=0.01)


def test_quadrature_has_converged() -> None:
    """Four nodes a panel against eight."""
    made = [jc.detectors.binomial_response(jc.detectors.NestChargeYield(), EDGES, 1.0, 0.27, order=n) for n in (4, 8)]
    few, many = (np.asarray(r(jnp.exp(-r.recoil_keV / 0.4) / (1 + 10 * r.recoil_keV) ** 2)) for r in made)
    np.testing.assert_allclose(few, many, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 0.0}, "resolution 0.0 must be positive"),
        ({"work_function": -1.0}, "work function -1.0 must be positive"),
        ({"exposure": np.nan}, "exposure nan must be positive"),
        ({"edges_electrons": [8.0, 4.0]}, "bin edges must be at least two, increase"),
    ],
)
def test_bad_numbers(changes, message) -> None:
    options = {"edges_electrons": EDGES, "exposure": 1.0, "resolution": 0.27} | changes
    with pytest.raises(ValueError, match=message):
        jc.detectors.binomial_response(jc.detectors.NestChargeYield(), **options)


def test_unknown_response() -> None:
    with pytest.raises(ValueError, match=r"pandax4t-us2: unknown response 'sharp'.*choose from paper, binomial"):
        jc.experiment("pandax4t-us2", response="sharp")
