"""Bands on spectra: against closed forms, toys drawn from the covariance, and draws of a posterior."""

from __future__ import annotations

import csv
import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pytest

import jcevns as jc
from jcevns import Likelihood, Nuisance, band, fit
from jcevns.experiments.axes import BinAxis
from jcevns.parameters import Parameters
from jcevns.plot.spectrum import plot_band, plot_spectrum
from jcevns.statistics.sample import Posterior
from tests.problems import FLUX, NOMINAL, counting

SCALE, SIGNAL, FLAT = 1e4, np.array([10.0, 15.0, 5.0]), np.array([18.0, 22.0, 20.0])
WIDTHS = {"efficiency": 0.002, "flat": 0.004}


@pytest.fixture(scope="module")
def likelihood() -> Likelihood:
    nuisances = (
        Nuisance("efficiency", WIDTHS["efficiency"], ("signal",)),
        Nuisance("flat", WIDTHS["flat"], ("flat",)),
    )
    data = np.round(SCALE * (1.002 * SIGNAL + 0.998 * FLAT))
    return Likelihood(counting("many", list(data), list(SCALE * SIGNAL), {"flat": SCALE * FLAT}, nuisances))


@pytest.fixture(scope="module")
def fitted(likelihood):
    return fit(likelihood, "flux")


def _exact(likelihood: Likelihood, found) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts at the minimum, their slopes in flux, efficiency and flat, and the covariance from the information."""
    values = found.full_covariance.values
    strength, efficiency, flat = values[FLUX] / NOMINAL, values["many.efficiency"], values["many.flat"]
    one = np.asarray(jc.signal(likelihood))
    counts = one * strength * efficiency + SCALE * FLAT * flat
    slopes = np.stack([one * efficiency / NOMINAL, one * strength, SCALE * FLAT], axis=1)
    seen = np.asarray(likelihood.model.observed)
    information = slopes.T @ (slopes * (seen / counts**2)[:, None])
    mixed = np.sum(one / NOMINAL * (1 - seen / counts))  # d2N by flux and efficiency
    information[0, 1] += mixed
    information[1, 0] += mixed
    information += np.diag([0, *(w**-2 for w in WIDTHS.values())])
    return counts, slopes, np.linalg.inv(information)


def test_band_is_that_of_the_closed_form(likelihood, fitted) -> None:
    found = band(likelihood, fitted)
    counts, slopes, covariance = _exact(likelihood, fitted)
    width = np.sqrt(np.einsum("bp,pq,bq->b", slopes, covariance, slopes))
    np.testing.assert_allclose(found.expected["many"], counts, rtol=1e-10)
    np.testing.assert_allclose(found.upper["many"] - counts, width, rtol=1e-6)
    np.testing.assert_allclose(counts - found.lower["many"], width, rtol=1e-6)
    twice = band(likelihood, fitted, cl=0.954499736)
    np.testing.assert_allclose(twice.upper["many"] - counts, 2 * width, rtol=1e-6)
    # Correlations matter: without them the band is wider.
    alone = np.sqrt(np.einsum("bp,p->b", slopes**2, np.diagonal(covariance)))
    assert np.all(alone > 1.2 * width)


def test_band_is_the_spread_of_toys_from_the_covariance(likelihood, fitted) -> None:
    found, covariance = band(likelihood, fitted), fitted.full_covariance
    rng = np.random.default_rng(3)
    draws = rng.multivariate_normal([covariance.values[n] for n in covariance.names], covariance.matrix, 4000)
    strength, efficiency, flat = draws.T[:, :, None] / np.array([NOMINAL, 1.0, 1.0])[:, None, None]
    counts = np.asarray(jc.signal(likelihood)) * strength * efficiency + SCALE * FLAT * flat
    np.testing.assert_allclose(found.upper["many"] - found.expected["many"], counts.std(axis=0), rtol=0.05)


def _posterior(likelihood: Likelihood, draws: dict[str, np.ndarray], **changes) -> Posterior:
    records = Parameters(likelihood.parameters[n] for n in draws)
    settings = {"priors": {FLUX: "uniform"}, "at": {}, "theory": "standard-model"} | changes
    data = SimpleNamespace(posterior={n: d[None] for n, d in draws.items()})
    return Posterior({}, 0, 0.0, (), likelihood.names, settings, data, records, {})


def test_band_of_a_posterior_is_quantiles_of_its_draws(likelihood) -> None:
    """Nuisances are kept as factors, the parameters of interest as themselves."""
    rng = np.random.default_rng(1)
    draws = {FLUX: NOMINAL * rng.uniform(0.5, 1.5, 900), "many.flat": rng.normal(1.0, 0.1, 900)}
    found = band(likelihood, _posterior(likelihood, draws), cl=0.9)
    counts = np.asarray(jc.signal(likelihood)) * draws[FLUX][:, None] / NOMINAL
    counts = counts + SCALE * FLAT * draws["many.flat"][:, None]
    low, middle, high = np.quantile(counts, [0.05, 0.5, 0.95], axis=0)
    for own, expected in ((found.lower, low), (found.expected, middle), (found.upper, high)):
        np.testing.assert_allclose(own["many"], expected, rtol=1e-10)


def test_what_a_bound_holds_is_left_out_and_said(likelihood) -> None:
    few = Likelihood(
        counting("few", [1.0, 1.0], [5.0, 5.0], {"flat": [6.0, 6.0]}, (Nuisance("flat", 0.1, ("flat",)),))
    )
    found = fit(few, "flux")
    assert found.at_bound == (FLUX,)
    drawn = band(few, found)
    assert drawn.held == (FLUX,)
    flat, width = found.full_covariance.values["few.flat"], found.full_covariance.errors["few.flat"]
    np.testing.assert_allclose(drawn.expected["few"], 6 * flat)
    np.testing.assert_allclose(drawn.upper["few"] - drawn.expected["few"], 6 * width)
    assert "held by a bound" in str(drawn)


def test_band_is_drawn_and_exported(likelihood, fitted) -> None:
    found = band(likelihood, fitted)
    drawn = plot_band(likelihood, found)
    high, edges, low = drawn.band.get_data()
    np.testing.assert_allclose((high, low), (found.upper["many"], found.lower["many"]))
    np.testing.assert_allclose(edges, [0, 1, 2, 3])
    assert "68% band" in [t.get_text() for t in drawn.ax.get_legend().get_texts()]
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(r["upper"]) for r in rows] == pytest.approx(list(found.upper["many"]), rel=1e-9)
    assert [float(r["signal"]) + float(r["flat"]) for r in rows] == pytest.approx(list(found.expected["many"]))
    with pytest.raises(ValueError, match="no experiment 'other'"):
        plot_band(likelihood, found, "other")


def test_results_of_something_else_are_refused(likelihood, fitted) -> None:
    with pytest.raises(ValueError, match="experiments of the result, many, are not those"):
        band("texono-2010", fitted)
    with pytest.raises(ValueError, match="theory of the result, standard-model"):
        band(likelihood.under("scalar"), fitted)
    with pytest.raises(ValueError, match="not valid: EDM"):
        band(likelihood, dataclasses.replace(fitted, problems=("EDM",)))


def test_bins_in_several_dimensions_are_seen_along_each_axis() -> None:
    """Against sums of the whole: counts, data, and the spread of sums, with the correlations of the bins."""
    likelihood = jc.Likelihood("xenonnt-2024")
    (one,) = likelihood.experiments
    found = jc.fit(likelihood, "flux", errors=False)
    whole = jc.band(likelihood, found)
    cells = {k: v.reshape(2, 3, 3, 3, 3) for k, v in whole.components["xenonnt-2024"].items()}
    for place, axis in enumerate(one.axes, 1):
        seen = jc.band(likelihood, found, along=axis.label)
        others = tuple(i for i in range(5) if i != place)
        for name, counts in seen.components["xenonnt-2024"].items():
            assert counts == pytest.approx(cells[name].sum(axis=others), rel=1e-12)
        assert seen.observed["xenonnt-2024"].sum() == 37
        assert seen.edges["xenonnt-2024"].tolist() == list(axis.edges)
        drawn = plot_band(likelihood, seen)
        assert drawn.ax.get_xlabel().startswith(axis.label[:3])
        assert drawn.stack[-1].get_data().values == pytest.approx(seen.expected["xenonnt-2024"])
        plain = plot_spectrum(one, whole.components["xenonnt-2024"], axis=axis.label)
        assert plain.stack[-1].get_data().values == pytest.approx(seen.expected["xenonnt-2024"])
    # The released edges of the runs: 90 to 500 PE.
    assert one.axes[0].edges[::3] == (90.0, 500.0)
    # All bins together: their variance is J C J^T of the sum, whichever axis it is summed along.
    ends = [jc.band(likelihood, found, along=axis.label) for axis in one.axes]
    assert all(e.upper["xenonnt-2024"].sum() < whole.upper["xenonnt-2024"].sum() for e in ends)  # parts cancel
    with pytest.raises(ValueError, match="unknown axis 'energy'"):
        jc.band(likelihood, found, along="energy")


def test_axes_that_do_not_fit_the_bins_are_refused() -> None:
    lar = jc.experiment("coherent-lar-2020")
    assert [len(axis.edges) for axis in lar.axes] == [13, 9, 11]
    for axes, words in (
        ((BinAxis("x", (0.0, 1.0, 1.0)),), "must be finite and increase"),
        ((BinAxis("x", tuple(map(float, range(8)))),), "do not divide"),
        ((lar.axes[0], lar.axes[0]), "one label"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(lar, axes=axes)
