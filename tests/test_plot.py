"""Figures: numbers of what is drawn, labels from the parameters, no global state."""

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest

from jcevns import Likelihood, fit
from jcevns.fit.interval import Interval
from jcevns.plot import style
from jcevns.plot.exclusion import borders, plot_contour, plot_limits, plot_scan
from jcevns.plot.profiles import plot_fit_correlation, plot_interval, plot_profile, plot_profiles, plot_pulls
from jcevns.plot.projections import plot_projection
from jcevns.plot.spectrum import plot_spectrum, poisson_errors
from jcevns.statistics.limits import Limit
from tests.problems import contour


def limit(mass, *excluded):
    return Limit("coupling", {"mass": mass}, excluded, (), 2.71, 0.0, 0.0)


def test_poisson_errors_are_garwood():
    down, up = poisson_errors(np.array([0, 1, 3, 100]))
    # Table of Gehrels, ApJ 303 (1986) 336, and the Gaussian limit.
    assert down == pytest.approx([0, 0.827, 1.633, 9.983], abs=2e-3)
    assert up == pytest.approx([1.841, 2.300, 2.918, 11.03], abs=6e-3)


def test_plots_touch_no_global_state(xenonnt):
    before = dict(mpl.rcParams)
    with style.style():
        _, (ax,) = style.figure()
        parts = {"signal": np.ones(3), "accidental": np.full(3, 8.0)}
        drawn = plot_spectrum(xenonnt, parts, ax)
        assert drawn.ax is ax
        heights = drawn.stack[-1].get_data().values
        assert heights == pytest.approx([9.0, 9.0, 9.0])
        profile = plot_profiles({"combined": (np.linspace(0, 1, 5), np.arange(5.0))}, "x", style.figure()[1][0])
        assert set(profile.curves) == {"combined"}
        assert [line.get_ydata()[0] for line in profile.levels] == pytest.approx([1.0, 2.7055], abs=1e-4)
    assert dict(mpl.rcParams) == before


def test_exclusion_plot_separates_island_band_and_region():
    """A band that opens before the second mass: the lower border goes on, the upper ones part at the first."""
    found = {"vector": [limit(1.0, (1e-5, None)), limit(10.0, (2e-5, 3e-5), (4e-5, None))]}
    drawn = plot_limits(found, style.figure()[1][0], shaded=("vector",))
    lower, island, region = (line.get_ydata() for line in drawn.contours["vector"])
    assert lower == pytest.approx([1e-5, 1e-5, 2e-5])
    assert np.isnan([island[0], region[0]]).all()
    assert island[1:] == pytest.approx([2.5e-5, 3e-5])
    assert region[1:] == pytest.approx([2.5e-5, 4e-5])


def _covered(drawn, x, y) -> bool:
    return any(path.contains_point((x, y)) for shade in drawn.shading for path in shade.get_paths())


def test_all_that_is_excluded_between_two_places_is_filled():
    """Where a band opened there was a sliver without filling, from the lower border up."""
    found = [limit(1.0, (1e-5, None)), limit(2.0, (1e-5, None)), limit(3.0, (1e-5, 2e-5), (4e-5, None))]
    for results in (found, [limit(4.0 - r.at["mass"], *r.excluded) for r in found]):
        drawn = plot_limits(results, style.figure()[1][0], shaded=("coupling",))
        masses = np.linspace(1.05, 2.95, 39)
        for mass in masses:
            assert _covered(drawn, mass, 1.1e-5)
            assert _covered(drawn, mass, 4.1e-5)
            assert not _covered(drawn, mass, 0.9e-5)
        edge = 2.9 if results is found else 1.1
        assert not _covered(drawn, edge, 3e-5)  # the band stays open
        assert _covered(drawn, 4.0 - edge, 3e-5)


def test_island_below_a_region_is_not_joined_to_it():
    appears = [limit(1.0, (1e-5, None)), limit(2.0, (4e-6, 5e-6), (1.1e-5, None))]
    mass, lower, _, above = borders(appears)
    assert np.isnan(lower[1])  # the line is broken
    assert mass[1] == 2.0
    assert above == pytest.approx([1e-5, 1.1e-5, 1.1e-5])
    drawn = plot_limits(appears, style.figure()[1][0], shaded=("coupling",))
    assert all(_covered(drawn, mass, 1.2e-5) for mass in (1.1, 1.5, 1.9))
    assert not _covered(drawn, 1.9, 7e-6)


def test_limits_of_one_parameter_are_labelled_by_name():
    drawn = plot_limits([limit(1.0, (1e-5, None)), limit(100.0, (2e-5, None))], shaded=("coupling",))
    assert (drawn.ax.get_xlabel(), drawn.ax.get_ylabel()) == ("mass", "coupling")
    assert (drawn.ax.get_xscale(), drawn.ax.get_yscale()) == ("log", "log")
    assert len(drawn.shading) == 2


@pytest.mark.parametrize(
    ("name", "unit", "label", "expected"),
    [
        (
            "flux.b8",
            "cm^-2 s^-1",
            r"$\Phi$(b8) [cm$^{-2}$ s$^{-1}$]",
            (r"$\Phi$(b8) [$10^{6}$ cm$^{-2}$ s$^{-1}$]", 1e6),
        ),
        ("moment", "1e-12 mu_B", r"$\mu_\nu$ [$10^{-12}\mu_B$]", (r"$\mu_\nu$ [$10^{-12}$ $\mu_B$]", 1.0)),
        ("mass", "MeV", "$m$", ("$m$ [MeV]", 1.0)),
        ("eps_ee", "", "", ("eps_ee", 1.0)),
    ],
)
def test_axis_labels_come_from_the_record(name, unit, label, expected):
    assert style.axis_label(name, unit, label) == expected


def test_contour_draws_every_line_and_says_which_are_open():
    circle = np.linspace(0, 2 * np.pi, 50)
    ring = np.stack([0.2 + 0.1 * np.cos(circle), 5e6 + 1e6 * np.sin(circle)], axis=1)
    found = contour(lines={0.683: (ring,), 0.90: (ring, ring[:20])}, closed={0.683: (True,), 0.90: (True, False)})
    drawn = plot_contour(found)
    assert [len(drawn.contours[cl]) for cl in found.cl] == [1, 2]
    assert drawn.contours[0.683][0].get_ydata().max() == pytest.approx(6.0, abs=0.01)  # in 1e6
    labels = [text.get_text() for text in drawn.ax.get_legend().get_texts()]
    assert labels == ["68% CL", "90% CL, open at the border", "best fit"]
    assert drawn.ax.get_ylabel() == r"$\Phi$ [$10^{6}$ cm$^{-2}$ s$^{-1}$]"
    assert "NOT VALID" in plot_contour(dataclasses.replace(found, problems=("local",))).ax.get_title()


def test_scan_hatches_what_is_not_valid():
    xarray = pytest.importorskip("xarray")
    axes = {"mass": np.geomspace(1, 100, 6), "coupling": np.geomspace(1e-6, 1e-4, 8)}
    chi2 = 3.0 + (axes["coupling"][None] / 1e-5 * np.ones((6, 1))) ** 2
    chi2[2, 3] = np.nan
    result = xarray.Dataset(
        {"chi2": (tuple(axes), chi2)},
        coords={"mass": ("mass", axes["mass"], {"units": "MeV"}), "coupling": axes["coupling"]},
        attrs={"settings": {"theory": "scalar"}},
    )
    drawn = plot_scan(result)
    assert drawn.ax.get_xlabel() == "mass [MeV]"
    assert "hatched: not valid" in drawn.ax.get_title()
    with pytest.raises(ValueError, match="two axes"):
        plot_scan(result.isel(mass=0))
    with pytest.raises(ValueError, match="no valid point"):
        plot_scan(result * np.nan)


def test_profile_of_a_likelihood_is_counted_from_its_minimum(likelihoods):
    drawn = plot_profile(likelihoods["xenonnt"], "sin2w", ax=style.figure()[1][0])
    (line,) = drawn.curves.values()
    assert 0 <= line.get_ydata().min() < 1e-2
    assert drawn.ax.get_xlabel() == r"$\sin^2\theta_W$"


def test_interval_shows_open_ends():
    artists = plot_interval(Interval("x", "", 0.9, 2.71, ((None, 1.0), (2.0, 3.0)), 0.5, 0.0))
    assert [a.get_marker() for a in artists if a.get_marker() != "None"] == ["<", "o"]


def test_fit_is_drawn_as_correlation_and_pulls():
    found = fit(Likelihood("xenonnt-2024-s2"), ("sin2w", "flux"), constrained="flux", errors=False)
    image = plot_fit_correlation(found)
    assert image.get_array()[0, 1] == pytest.approx(found.correlation[0, 1])
    points = plot_pulls(found)
    assert points.get_xdata() == pytest.approx(list(found.pulls.values()))
    alone = fit(Likelihood("xenonnt-2024-s2"), "sin2w", errors=False)
    with pytest.raises(ValueError, match="two parameters"):
        plot_fit_correlation(alone)


def test_projection_leaves_out_what_is_infinite():
    rows = [
        {"exposure": e, "bands": [1.0, 2.0, 3.0, 4.0, None], "quantity": "upper limit on g", "unit": "", "truth": 0.0,
         "asimov": None if e < 20 else 3.0}
        for e in (10.0, 100.0)
    ]  # fmt: skip
    ax = plot_projection(rows)
    assert ax.get_yscale() == "log"
    assert [line.get_label() for line in ax.get_lines()] == ["median of toys", "Asimov"]
