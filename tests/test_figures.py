"""Each kind of figure against a picture of it, by pytest-mpl, without its text.

Text is drawn differently by every version of Matplotlib, and moves the axes: those of 3.9 and 3.11 are 26 to
54 of 255 apart, RMS. It is taken away, the axes are put in place, and the two agree in every pixel: hence a
small tolerance. What comes from a fit is rounded: its last digits would decide on which pixel a line falls.
Words are asserted in `tests/test_plot.py`. To make the pictures anew: `pytest tests/test_figures.py
--mpl-generate-path=tests/baseline`, and look at every one.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter

import jcevns as jc
from jcevns.plot import style
from jcevns.plot.corner import plot_corner
from jcevns.plot.exclusion import plot_contour, plot_limits, plot_scan
from jcevns.plot.impacts import plot_impacts
from jcevns.plot.posterior import plot_marginal
from jcevns.plot.profiles import plot_fit_correlation, plot_profiles, plot_pulls
from jcevns.plot.projections import plot_discovery_limits, plot_projection
from jcevns.plot.spectrum import plot_band, plot_spectrum
from jcevns.statistics.discovery_limits import DiscoveryLimits
from jcevns.statistics.limits import Limit
from jcevns.statistics.priors import Prior
from jcevns.statistics.sample import Posterior, Sampled
from tests.problems import contour, counting

DPI, TOLERANCE = 50, 1.0
compared = pytest.mark.mpl_image_compare(
    baseline_dir="baseline", tolerance=TOLERANCE, style=style._STYLE, savefig_kwargs={"dpi": DPI}, deterministic=True
)


@cache
def small() -> jc.Likelihood:
    nuisances = (jc.Nuisance("efficiency", 0.2, ("signal",)), jc.Nuisance("flat", 0.15, ("flat",)))
    made = counting("small", [31.0, 42.0, 19.0], [10.0, 15.0, 5.0], {"flat": [18.0, 22.0, 20.0]}, nuisances)
    return jc.Likelihood(made)


@cache
def fitted() -> jc.Fit:
    return jc.fit(small(), "flux")


def _figure(draw, *args, **more):
    with style.style():
        fig, (ax,) = style.figure()
        draw(*args, ax=ax, **more)
        return _without_text(fig)


def _without_text(fig):
    fig.set_layout_engine(None)
    for ax in fig.axes:
        ax.set_position((0.85, 0.1, 0.05, 0.8) if ax.get_label() == "<colorbar>" else (0.1, 0.1, 0.7, 0.8))
        if ax.get_legend():
            ax.get_legend().remove()
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(NullFormatter())
            axis.set_minor_formatter(NullFormatter())
    for text in fig.findobj(Text):
        text.set_visible(False)
    for legend in fig.legends:
        legend.remove()
    return fig


@compared
def test_spectrum():
    parts = {"signal": np.array([10.0, 15.0, 5.0]), "flat": np.array([18.0, 22.0, 20.0])}
    return _figure(plot_spectrum, small().experiments[0], parts)


@compared
def test_band():
    found = jc.band(small(), fitted())
    parts = {name: {k: np.round(v, 1) for k, v in own.items()} for name, own in found.components.items()}
    ends = {key: {name: np.round(v, 1) for name, v in getattr(found, key).items()} for key in ("lower", "upper")}
    return _figure(lambda ax: plot_band(small(), dataclasses.replace(found, components=parts, **ends), ax=ax))


@compared
def test_profiles():
    x = np.linspace(0, 10, 41)
    curves = {"one": (x, (x - 4) ** 2 / 3), "two": (x, (x - 6) ** 2 / 9)}
    return _figure(plot_profiles, curves, "x", reference=(5.0, 0.6, "theory"))


def _limits():
    mass = np.geomspace(1, 1e3, 13)
    region = [Limit("coupling", {"mass": m}, ((1e-5 * (1 + m / 30), None),), (), 2.71, 0.0, 0.0) for m in mass]
    banded = [
        dataclasses.replace(r, excluded=((r.excluded[0][0] / 4, r.excluded[0][0]), (2 * r.excluded[0][0], None)))
        if r.at["mass"] > 20
        else dataclasses.replace(r, excluded=((r.excluded[0][0] / 4, None),))
        for r in region
    ]
    return _figure(plot_limits, {"scalar": region, "vector": banded}, shaded=("vector",), range_=(1e-6, 1e-2))


@compared
def test_limits():
    return _limits()


@compared
def test_contour():
    circle = np.linspace(0, 2 * np.pi, 60)
    ring = np.stack([np.cos(circle), np.sin(circle)], axis=1)
    found = contour(
        lines={0.683: (ring * (0.05, 1e6) + (0.2, 5e6),), 0.90: (ring * (0.1, 2e6) + (0.2, 5e6),)},
        closed={0.683: (True,), 0.90: (True,)},
    )
    return _figure(plot_contour, found)


@compared
def test_scan():
    xarray = pytest.importorskip("xarray")
    axes = {"mass": np.geomspace(1, 100, 16), "coupling": np.geomspace(1e-6, 1e-4, 16)}
    chi2 = 3.0 + (axes["coupling"][None] / 1e-5 / np.sqrt(axes["mass"][:, None] / 5)) ** 2
    chi2[2, 3] = np.nan
    return _figure(plot_scan, xarray.Dataset({"chi2": (tuple(axes), chi2)}, coords=axes))


@compared
def test_pulls():
    found = fitted()
    rounded = {key: {n: round(v, 2) for n, v in getattr(found, key).items()} for key in ("pulls", "pull_errors")}
    return _figure(plot_pulls, dataclasses.replace(found, **rounded))


@compared
def test_correlation():
    return _figure(plot_fit_correlation, fitted(), nuisances=True)


@compared
def test_impacts():
    found = jc.impacts(small(), "flux")
    shifts, pulls = ("prefit_down", "prefit_up", "postfit_down", "postfit_up"), ("pull", "pull_down", "pull_up")
    ranked = [
        dataclasses.replace(
            one,
            **{key: round(getattr(one, key), -4) for key in shifts},
            **{key: round(getattr(one, key), 2) for key in pulls},
        )
        for one in found.ranked
    ]
    return _figure(plot_impacts, dataclasses.replace(found, ranked=type(found.ranked)(ranked)))


@compared
def test_projection():
    rows = [
        {"exposure": e, "bands": list(np.array([0.5, 0.7, 1.0, 1.4, 2.0]) / e**0.5), "quantity": "upper limit on g",
         "unit": "", "truth": 0.0, "asimov": 1.02 / e**0.5}
        for e in (10.0, 30.0, 100.0)
    ]  # fmt: skip
    return _figure(plot_projection, rows)


@compared
def test_discovery_limits():
    exposures = tuple(np.geomspace(1, 1e4, 9))
    limits = tuple(1 / np.sqrt(e) + 0.02 for e in exposures)
    return _figure(
        plot_discovery_limits, DiscoveryLimits("strength", "", "small", 3.0, exposures, limits, (2.0,) * 9)
    )


@compared
def test_corner():
    fig = plot_corner(_drawn())
    places = [ax.get_position() for ax in fig.axes]
    for ax, place in zip(_without_text(fig).axes, places, strict=True):
        ax.set_position(place)
    return fig


@compared
def test_marginal():
    return _figure(plot_marginal, _drawn(), "flux")


def _drawn() -> Posterior:
    """Draws of a Gaussian in two parameters, one of them cut at zero."""
    draws = np.random.default_rng(4).multivariate_normal([3e6, 1.0], [[4e12, 1.2e5], [1.2e5, 0.0225]], size=4000)
    draws = draws[draws[:, 0] > 0].T
    records = small().parameters
    names = (records["flux"].name, records["flat"].name)
    return Posterior(
        parameters=dict.fromkeys(names, Sampled(*(np.nan,) * 3, (), (), (), (), (0.0, 1.0), *(1.0,) * 3, "", "")),
        divergences=0,
        seconds=1.0,
        problems=(),
        experiments=("small",),
        settings={},
        data=SimpleNamespace(posterior=dict(zip(names, draws, strict=True))),
        records=records,
        priors={names[0]: Prior("uniform", 0.0, 2e7), names[1]: Prior("normal", mean=1.0, sd=0.15)},
    )


@pytest.mark.parametrize("missing", range(5))
def test_a_line_or_a_filling_that_is_missing_is_beyond_the_tolerance(missing):
    """The faintest of this figure: each of its artists in turn."""
    whole, part = _limits(), _limits()
    (ax,) = part.axes
    drawn = [*(line for line in ax.lines if np.isfinite(line.get_ydata()).any()), *ax.collections]
    assert len(drawn) == 6
    drawn[missing].remove()
    assert _distance(whole, part) > TOLERANCE


def _distance(one, other) -> float:
    pixels = []
    for fig in (one, other):
        fig.set_dpi(DPI)
        fig.canvas.draw()
        pixels.append(np.asarray(fig.canvas.buffer_rgba())[..., :3].astype(float))
    return float(np.sqrt(np.mean((pixels[0] - pixels[1]) ** 2)))
