"""Beyond the paper: electromagnetic properties, nuclear radii, gauge bosons, non-standard interactions."""

from typing import Any

import numpy as np

from jcevns.constants import SIN2_THETA_W
from jcevns.files import write_csv
from jcevns.fit.contour import contour
from jcevns.fit.interval import interval
from jcevns.likelihood.likelihood import Likelihood
from jcevns.paper.estimates import fit_command
from jcevns.paper.exclusion import AXES
from jcevns.paper.run import COMPLEMENTARY, DATASETS, Run, file_rows
from jcevns.physics.theories import theory
from jcevns.plot import style
from jcevns.plot.exclusion import plot_contour, plot_limits
from jcevns.statistics.limits import limits
from jcevns.statistics.projections import asimov, scaled
from jcevns.statistics.scan import contours, scan

__all__ = ["GAUGE_BOSONS", "PROPERTIES", "electromagnetic", "gauge_bosons", "non_standard", "radii"]

PROPERTIES = {"magnetic-moment": ("moment",), "charge-radius": ("r2_ee", "r2_mumu", "r2_tautau")}
"""Electromagnetic properties of neutrinos: parameters by theory."""

# What an experiment sees: no tau neutrinos at the SNS, electron antineutrinos alone at a reactor.
_SEEN = {
    "xenonnt-2024-s2": ("moment", "r2_ee", "r2_mumu", "r2_tautau"),
    "coherent-csi-2021": ("moment", "r2_ee", "r2_mumu"),
    "xenonnt-er-2022": ("moment", "r2_ee", "r2_mumu", "r2_tautau"),
    "texono-2010": ("moment", "r2_ee"),
}

GAUGE_BOSONS: dict[str, dict[str, Any]] = {
    "b-l": {"color": "#009E73", "ls": "-", "label": r"$B-L$"},
    "b-3le": {"color": "#0072B2", "ls": "-", "label": r"$B-3L_e$"},
    "b-3lmu": {"color": "#D55E00", "ls": "-", "label": r"$B-3L_\mu$"},
    "b-3ltau": {"color": "#E69F00", "ls": "--", "label": r"$B-3L_\tau$"},
    "le-lmu": {"color": "#56B4E9", "ls": "-", "label": r"$L_e-L_\mu$"},
    "le-ltau": {"color": "#CC79A7", "ls": "-", "label": r"$L_e-L_\tau$"},
    "lmu-ltau": {"color": "#000000", "ls": "--", "label": r"$L_\mu-L_\tau$"},
    "dark-photon": {"color": "#888888", "ls": "-.", "label": "dark photon"},
}
"""Theories of a gauge boson by name, and how each is drawn."""

_WITHOUT_EFFECT = {
    "xenonnt-2024-s2": (),
    "coherent-csi-2021": ("b-3ltau",),  # no tau neutrinos
    "xenonnt-er-2022": ("b-3lmu", "b-3ltau"),  # no coupling to electrons
}

_HELM = {"coherent-csi-2021": 5.0, "xenonnt-2024-s2": 5.4}  # fm, where a fit of R_n starts
_EXPOSURE = 200.0  # tonne-year, of the projection for xenon
_MASSES = (1e-2, 1e4, 61)  # MeV


def _data(run: Run, name: str) -> list[Any]:
    return run.held("xenonnt") if name in DATASETS["xenonnt"] else run.complementary(name)


def electromagnetic(run: Run) -> None:
    """90% intervals of magnetic moments and charge radii, one parameter at a time."""
    rows = []
    for dataset, seen in _SEEN.items():
        for name, parameters in PROPERTIES.items():
            likelihood = Likelihood(_data(run, dataset), name)
            for parameter in (p for p in parameters if p in seen):
                found = interval(likelihood, parameter, cl=0.90)
                rows.append(
                    {
                        "dataset": dataset,
                        "parameter": parameter,
                        "unit": found.unit,
                        "best_fit": found.best_fit,
                        "segments_90": [list(segment) for segment in found.segments],
                        "valid": found.valid,
                        "command": fit_command(parameter, {dataset: COMPLEMENTARY.get(dataset, {})}, theory=name),
                    }
                )
    run.results["electromagnetic"] = rows
    content = [
        [r["dataset"], r["parameter"], r["unit"], r["best_fit"], low, high, r["valid"]]
        for r in rows
        for low, high in r["segments_90"]
    ]
    columns = ["dataset", "parameter", "unit", "best_fit", "lower_90", "upper_90", "valid"]
    write_csv(run.out / "electromagnetic.csv", columns, content)


def radii(run: Run) -> None:
    """The neutron radius and the weak mixing angle: COHERENT CsI, and what xenon could do."""
    start = {name: theory(f"standard-model:form_factor=helm:R_n={radius}") for name, radius in _HELM.items()}
    csi = Likelihood(_data(run, "coherent-csi-2021"), start["coherent-csi-2021"])
    grown = [scaled(one, _EXPOSURE) for one in run.held("xenonnt")]
    xenon = asimov(Likelihood(grown, start["xenonnt-2024-s2"]), "sin2w", SIN2_THETA_W)
    rows = []
    with style.style():
        fig, axes = style.figure(columns=2, width=3.9, height=3.4)
        for ax, name, likelihood in zip(axes, _HELM, (csi, xenon), strict=True):
            found = contour(likelihood, ("sin2w", "R_n"), cl=(0.683, 0.90))
            plot_contour(found, ax)
            ax.set_title(f"{name}, {_EXPOSURE:g} t y expected" if likelihood is xenon else name)
            rows.append(
                {
                    "dataset": name,
                    "projected": likelihood is xenon,
                    "best_sin2w": float(found.best_fit[0]),
                    "best_R_n_fm": float(found.best_fit[1]),
                    "closed_90": all(found.closed[0.90]),
                    "valid": found.valid,
                }
            )
        paths = style.save(fig, run.out / "radii")
    file_rows(run, "radii", rows)
    caption = (
        "Neutron radius and weak mixing angle, regions for two parameters, Helm form factor, tree-level couplings. "
        "Left: COHERENT CsI, one radius for both nuclei. Right: expected of XENONnT's three bins, backgrounds and "
        f"widths as they are, at {_EXPOSURE:g} tonne-year: a projection, no measurement."
    )
    run.figures.append((paths[0], caption))


def gauge_bosons(run: Run) -> None:
    """Excluded couplings of gauge bosons by name."""
    masses, rows = np.geomspace(*_MASSES), []
    with style.style():
        fig, axes = style.figure(columns=3, width=3.3, height=3.5)
        for ax, dataset in zip(axes, _WITHOUT_EFFECT, strict=True):
            found = {}
            for name in (n for n in GAUGE_BOSONS if n not in _WITHOUT_EFFECT[dataset]):
                likelihood = Likelihood(_data(run, dataset), name)
                found[name] = limits(likelihood, "coupling", over={"mass": masses})
                rows += [
                    [dataset, name, one.at["mass"], low, high, one.valid]
                    for one in found[name]
                    for low, high in one.excluded
                ]
            plot_limits(found, ax, dataset, GAUGE_BOSONS, labels=AXES)
        for ax in axes[1:]:
            ax.set_ylabel("")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        paths = style.save(fig, run.out / "gauge-bosons")
    columns = ["dataset", "theory", "mass_MeV", "excluded_from", "excluded_to", "valid"]
    write_csv(run.out / "gauge-bosons.csv", columns, rows)
    run.results["gauge-bosons"] = [
        {"dataset": d, "theory": t, "masses_not_valid": sum(not r[-1] for r in rows if (r[0], r[1]) == (d, t))}
        for d, t in dict.fromkeys((r[0], r[1]) for r in rows)
    ]
    caption = (
        "Gauge bosons by name, 90% CL for one parameter at each mass. A boson of L_mu - L_tau couples to quarks and "
        "electrons by a loop alone."
    )
    run.figures.append((paths[0], caption))


_NSI = ("eps_u_ee", "eps_u_mumu")
_PLANE = np.linspace(-0.6, 1.0, 65)
_PLANES: dict[str, tuple[tuple[str, ...], str, dict[str, Any]]] = {
    "8B": (("xenonnt-2024-s2",), "matter", {"color": "#0072B2", "ls": "-"}),
    "8B, no matter effect of NSI": (("xenonnt-2024-s2",), "standard", {"color": "#56B4E9", "ls": "--"}),
    "COHERENT CsI": (("coherent-csi-2021",), "matter", {"color": "#D55E00", "ls": "-", "lw": 3}),
    "both": (("xenonnt-2024-s2", "coherent-csi-2021"), "matter", {"color": "#000000", "ls": "--", "lw": 1.2}),
}


def non_standard(run: Run) -> None:
    """Non-standard interactions of up quarks with nu_e and nu_mu: 8B, COHERENT, both."""
    rows: list[dict[str, Any]] = []
    lines = []
    with style.style():
        fig, (ax,) = style.figure(width=4.4, height=4.0)
        for label, (names, propagation, look) in _PLANES.items():
            data = [one for name in names for one in _data(run, name)]
            result = scan(
                Likelihood(data, f"nsi:propagation={propagation}"), dict.fromkeys(_NSI, _PLANE), progress=False
            )
            region = contours(result, cl=0.90, dof=2)
            for number, line in enumerate(region.lines):
                # Columns are the second axis, then the first.
                ax.plot(line[:, 1], line[:, 0], **look, label=label if number == 0 else None)
                lines += [[label, number, float(x), float(y)] for y, x in line]
            rows.append(
                {
                    "data": label,
                    "propagation": propagation,
                    "chi2_min": region.chi2_min,
                    "regions": len(region.lines),
                    "points_not_valid": int((~result.valid).sum()),
                }
            )
        ax.plot(0, 0, "k+")
        ax.set(xlabel=r"$\epsilon^u_{ee}$", ylabel=r"$\epsilon^u_{\mu\mu}$")
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
        paths = style.save(fig, run.out / "nsi")
    write_csv(run.out / "nsi.csv", ["data", "line", *_NSI], lines)
    run.results["nsi"] = rows
    caption = (
        "Non-standard interactions of up quarks, 90% regions for two parameters, the others zero. The Sun and the "
        "Earth see the same couplings as the detector, but for the light dashed line. Cross: Standard Model."
    )
    run.figures.append((paths[0], caption))
