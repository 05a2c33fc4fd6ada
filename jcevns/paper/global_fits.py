"""Beyond the paper: one figure each from all CEvNS data, with each experiment's own curve beside the combined one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import chi2 as chi2_distribution

from jcevns.constants import SIN2_THETA_W, chi2_threshold
from jcevns.experiments.groups import left_out
from jcevns.files import write_csv
from jcevns.fit.interval import interval, profile_curve
from jcevns.likelihood.likelihood import Likelihood
from jcevns.paper.exclusion import AXES
from jcevns.paper.run import Run
from jcevns.physics.theories import theory
from jcevns.plot import style
from jcevns.plot.exclusion import plot_limits
from jcevns.plot.profiles import plot_profiles
from jcevns.statistics.limits import limits
from jcevns.statistics.scan import contours, scan

__all__ = ["COMBINED", "GROUP", "LINES", "mediators", "non_standard", "radius", "weak_mixing_angle"]

GROUP = "all-cevns"
COMBINED = "all CEvNS data"

_OWN = {
    "xenonnt-2024-s2": "#D55E00",
    "pandax4t-us2": "#E69F00",
    "coherent-csi-2021": "#0072B2",
    "coherent-lar-2020": "#56B4E9",
    "coherent-ge-2026": "#009E73",
    "conus-plus-2025": "#CC79A7",
}
LINES: dict[str, dict[str, Any]] = {
    name: {"color": colour, "lw": 0.9, "label": name} for name, colour in _OWN.items()
}
LINES[COMBINED] = {"color": "#000000", "lw": 3.0, "label": COMBINED, "zorder": 1.5}
"""How each is drawn: experiments thin, their combination thick below them."""

_ANGLES = np.linspace(0.0, 0.5, 101)
_RADII = np.linspace(2.2, 8.0, 88)  # fm
_SIZES = np.linspace(0.3, 2.1, 91)  # fm
_NSI = ("eps_u_ee", "eps_u_mumu")
_NU_E_ALONE = ("conus-plus-2025",)
_PLANE = np.linspace(-0.6, 1.0, 161)  # lines between nodes are off by 0.12 in chi2 at most, 1% of a radius
_MASSES = (1e-2, 1e4, 49)  # MeV
_MEDIATORS = {"scalar": "scalar", "vector": "vector (universal)"}
_START = 4.0  # fm, where a fit of R_n starts


def _likelihoods(run: Run, name: str | None = None) -> Iterator[tuple[str, Likelihood]]:
    """Each experiment of the group alone, then all of them."""
    held = run.group(GROUP)
    given = None if name is None else theory(name)
    for one in held:
        yield one.name, Likelihood(one, given)
    yield COMBINED, Likelihood(held, given)


def _caption(text: str) -> str:
    """With what every figure has to say: which data there are, which not, and why."""
    shared = "flux.sns (10%) is one nuisance of the three COHERENT detectors, flux.b8 (12%) of the two xenon ones"
    status = "PandaX-4T: reconstructed bins; germanium: rates alone; COHERENT CsI and LAr without shape nuisances"
    return f"{text} {shared}. {status}. Not among the data: {'; '.join(left_out([GROUP]))}."


def _finish(run: Run, name: str, fig: Figure, ax: Axes, caption: str, columns: int = 4) -> None:
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=columns)
    run.figures.append((style.save(fig, run.out / name)[0], _caption(caption)))


def _profiles(
    run: Run, name: str, spec: str | None, values: np.ndarray, curves: dict[str, Any], lines: list[list[Any]]
) -> list[dict[str, Any]]:
    """Profiles and intervals of one parameter by experiment; what is drawn goes to `curves` and `lines`."""
    rows = []
    for label, likelihood in _likelihoods(run, spec):
        if name == "R_n" and label == COMBINED:
            continue  # nuclei of argon and xenon have no radius in common
        found, wide = (interval(likelihood, name, cl=cl) for cl in (0.683, 0.90))
        rise = profile_curve(likelihood, name, values) - found.chi2_min
        curves[label] = (values, rise)
        lines += [[name, label, float(x), float(y)] for x, y in zip(values, rise, strict=True)]
        rows.append(
            {
                "parameter": name,
                "dataset": label,
                "best_fit": found.best_fit,
                "segments_68": [list(segment) for segment in found.segments],
                "segments_90": [list(segment) for segment in wide.segments],
                "chi2_min": found.chi2_min,
                "valid": found.valid and wide.valid,
            }
        )
    return rows


def _file_profiles(run: Run, name: str, rows: list[dict[str, Any]], lines: list[list[Any]]) -> None:
    write_csv(run.out / f"{name}.csv", ["parameter", "dataset", "value", "delta_chi2"], lines)
    run.results[name] = {"rows": rows, "left_out": left_out([GROUP])}


def weak_mixing_angle(run: Run) -> None:
    """The weak mixing angle."""
    curves: dict[str, Any] = {}
    lines: list[list[Any]] = []
    rows = _profiles(run, "sin2w", None, _ANGLES, curves, lines)
    with style.style():
        fig, (ax,) = style.figure(width=5.6, height=4.0)
        reference = (SIN2_THETA_W, 0.0, "RGE")
        plot_profiles(curves, r"$\sin^2\theta_W$ (low energy)", ax, reference=reference, styles=LINES)
        _finish(run, "global-sin2w", fig, ax, "Weak mixing angle from all CEvNS data, profiles.", 3)
    _file_profiles(run, "global-sin2w", rows, lines)


def radius(run: Run) -> None:
    """The neutron radius of each target, and one size for all nuclei."""
    panels = {
        "R_n": (f"standard-model:form_factor=helm:R_n={_START:g}", _RADII, r"$R_n$ of its own nucleus [fm]"),
        "r0": (None, _SIZES, r"$r_0$ of all nuclei, $R_A = r_0 A^{1/3}$ [fm]"),
    }
    rows: list[dict[str, Any]] = []
    lines: list[list[Any]] = []
    with style.style():
        fig, axes = style.figure(columns=2, width=4.0, height=3.6)
        for ax, (name, (spec, values, label)) in zip(axes, panels.items(), strict=True):
            curves: dict[str, Any] = {}
            rows += _profiles(run, name, spec, values, curves, lines)
            reference = (1.23, 0.0, "1.23 fm") if name == "r0" else None
            plot_profiles(curves, label, ax, reference=reference, styles=LINES)
        text = (
            "Left: root-mean-square radius of the neutrons (Helm), one for the isotopes of a target. Right: the size "
            "of all nuclei, protons and neutrons (Klein-Nystrand), which all data have in common. Neutrinos of the "
            "Sun and of reactors are too soft to see either."
        )
        _finish(run, "global-radius", fig, axes[1], text)
    _file_profiles(run, "global-radius", rows, lines)


def _region(likelihood: Likelihood) -> tuple[list[np.ndarray], float, int]:
    """Borders in the plane, the lowest chi2 there, and points whose fit is not valid."""
    result = scan(likelihood, dict.fromkeys(_NSI, _PLANE), progress=False)
    region = contours(result, cl=0.90, dof=2)
    # Columns are the second axis, then the first.
    return [line[:, ::-1] for line in region.lines], region.chi2_min, int((~result.valid).sum())


def _band(likelihood: Likelihood) -> tuple[list[np.ndarray], float, int]:
    """The same of an experiment that sees the first coupling alone: straight lines, at the level of the plane."""
    level = float(chi2_distribution.cdf(chi2_threshold(0.90, 2), 1))
    found = interval(likelihood, _NSI[0], cl=level)
    ends = [end for segment in found.segments for end in segment if end is not None]
    return [np.array([[end, _PLANE[0]], [end, _PLANE[-1]]]) for end in ends], found.chi2_min, int(not found.valid)


def non_standard(run: Run) -> None:
    """Non-standard interactions of up quarks with nu_e and nu_mu."""
    rows, lines = [], []
    with style.style():
        fig, (ax,) = style.figure(width=5.6, height=4.6)
        for label, likelihood in _likelihoods(run, "nsi"):
            drawn, lowest, bad = _band(likelihood) if label in _NU_E_ALONE else _region(likelihood)
            for number, line in enumerate(drawn):
                look: dict[str, Any] = LINES[label] | {"label": label if number == 0 else None}
                ax.plot(*line.T, **look)
                lines += [[label, number, float(x), float(y)] for x, y in line]
            rows.append(
                {
                    "data": label,
                    "propagation": "matter",
                    "chi2_min": lowest,
                    "regions": len(drawn),
                    "points_not_valid": bad,
                }
            )
        ax.plot(0, 0, "k+")
        ends = (_PLANE[0], _PLANE[-1])
        ax.set(xlabel=r"$\epsilon^u_{ee}$", ylabel=r"$\epsilon^u_{\mu\mu}$", xlim=ends, ylim=ends)
        text = (
            "Non-standard interactions of up quarks, borders of 90% regions for two parameters, the others zero; the "
            "Sun and the Earth see the same couplings. Cross: Standard Model. Reactors see nu_e alone."
        )
        _finish(run, "global-nsi", fig, ax, text, 3)
    write_csv(run.out / "global-nsi.csv", ["data", "line", *_NSI], lines)
    run.results["global-nsi"] = rows


def mediators(run: Run) -> None:
    """Scalar and vector mediators."""
    masses, rows = np.geomspace(*_MASSES), []
    with style.style():
        fig, axes = style.figure(columns=len(_MEDIATORS), width=4.0, height=4.0)
        for ax, (name, title) in zip(axes, _MEDIATORS.items(), strict=True):
            found = {
                label: limits(likelihood, "coupling", over={"mass": masses})
                for label, likelihood in _likelihoods(run, name)
            }
            rows += [
                [label, name, one.at["mass"], low, high, one.valid]
                for label, results in found.items()
                for one in results
                for low, high in one.excluded
            ]
            plot_limits(found, ax, title, LINES, labels=AXES)
        for ax in axes[1:]:
            ax.set_ylabel("")
        text = (
            "Light mediators from all CEvNS data, 90% CL for one parameter at each mass. Excluded is what lies above "
            "a line; a vector has allowed bands where its signal replaces that of the Standard Model. Recoils of "
            "electrons are in COHERENT CsI alone. Light mediators in CONUS+ hang on its window, which is assumed."
        )
        _finish(run, "global-mediators", fig, axes[0], text)
    columns = ["dataset", "theory", "mass_MeV", "excluded_from", "excluded_to", "valid"]
    write_csv(run.out / "global-mediators.csv", columns, rows)
    run.results["global-mediators"] = [
        {"dataset": d, "theory": t, "masses_not_valid": sum(not r[-1] for r in rows if (r[0], r[1]) == (d, t))}
        for d, t in dict.fromkeys((r[0], r[1]) for r in rows)
    ]
