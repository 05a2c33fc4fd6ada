"""Fig. 4 and tables of limits: five interactions, the data sets of the paper, XENONnT's own likelihood."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jcevns.experiments.catalogue import experiment
from jcevns.files import write_csv
from jcevns.fit.batch import prepare
from jcevns.likelihood.likelihood import Likelihood, arranged
from jcevns.paper.run import DATASETS, Run, file_rows
from jcevns.physics.theories import MEDIATORS
from jcevns.plot import style
from jcevns.plot.exclusion import ExclusionPlot, plot_limits
from jcevns.statistics.limits import Limit, limits

__all__ = ["AXES", "LINES", "few_masses", "figure_4", "mediator_limits", "official_limits", "plot_exclusion"]

LINES: dict[str, dict[str, Any]] = {
    "scalar": {"color": "#0072B2", "ls": "-", "label": "scalar"},
    "vector": {"color": "#D55E00", "ls": "-", "label": "vector (universal)"},
    "b-l": {"color": "#009E73", "ls": "--", "label": r"vector ($B-L$)"},
    "axial": {"color": "#CC79A7", "ls": "-.", "label": "axial"},
    "tensor": {"color": "#E69F00", "ls": (0, (4, 1, 1, 1, 1, 1)), "label": "tensor"},
}
"""How each interaction is drawn."""

AXES = ("mediator mass [MeV]", "coupling $g$")
_LIMIT_MASSES = (1.0, 10.0, 100.0)  # MeV


def mediator_limits(
    likelihood: Likelihood, name: str, masses: Sequence[float] | np.ndarray, minimum: str = "all"
) -> list[Limit]:
    """Excluded couplings of one of the paper's interactions, 90% CL."""
    return limits(likelihood.under(name), "coupling", over={"mass": masses}, minimum=minimum)


def plot_exclusion(found: Mapping[str, Sequence[Limit]], ax: Axes | None = None, title: str = "") -> ExclusionPlot:
    """One panel of Fig. 4, on the paper's axes.

    The universal vector is shaded: it has an excluded island below an allowed band.
    """
    drawn = plot_limits(found, ax, title, LINES, ("vector",), AXES, (1e-6, 1e-2))
    drawn.ax.set_xlim(1.0, 1e4)
    return drawn


def figure_4(run: Run) -> None:
    """Exclusion contours of five interactions, three data sets."""
    masses, rows = np.geomspace(1e-2, 1e4, 200), []
    summary: dict[str, Any] = {}
    titles = {"pandax4t": "PandaX-4T (reconstructed)", "xenonnt": "XENONnT", "combined": "combined"}
    likelihoods = {dataset: run.likelihood(dataset) for dataset in DATASETS}
    for likelihood in likelihoods.values():
        prepare(arranged(likelihood))
    with style.style():
        fig, axes = style.figure(columns=3, width=3.3, height=3.5)
        for ax, (dataset, title) in zip(axes, titles.items(), strict=True):
            found = {name: mediator_limits(likelihoods[dataset], name, masses) for name in MEDIATORS}
            rows += [
                [dataset, name, r.at["mass"], low, high]
                for name, results in found.items()
                for r in results
                for low, high in r.excluded
            ]
            summary[dataset] = {
                name: {
                    "chi2_min": results[0].chi2_min,
                    "delta_chi2": results[0].threshold,
                    "masses": len(masses),
                    "masses_not_valid": sum(not r.valid for r in results),
                    "masses_with_allowed_band": sum(len(r.excluded) > 1 for r in results),
                }
                for name, results in found.items()
            }
            plot_exclusion(found, ax, title)
        for ax in axes[1:]:
            ax.set_ylabel("")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
        paths = style.save(fig, run.out / "fig4_exclusion")
    columns = ["dataset", "interaction", "mass_MeV", "excluded_from", "excluded_to"]
    write_csv(run.out / "fig4_contours.csv", columns, rows)
    run.results["fig4"] = summary
    caption = (
        "Fig. 4. Excluded at 90% CL, one parameter: Delta chi2 = 2.71 from the minimum over mass and coupling; "
        "borders are roots of the profile at 200 masses from 0.01 MeV on, the axes those of the paper. The universal "
        "vector is shaded: it interferes destructively, and where its signal equals that of the Standard Model an "
        "allowed band re-opens above an excluded island (XENONnT and combination). Tensor normalisation from the "
        "explicit traces. PandaX-4T: reconstructed bins."
    )
    run.figures.append((paths[0], caption))


def few_masses(run: Run) -> None:
    """Limits at a few masses, for the data sets of the paper and for the two responses of each experiment."""
    likelihoods = {dataset: run.likelihood(dataset) for dataset in DATASETS}
    likelihoods["xenonnt, unsmeared response"] = Likelihood(experiment("xenonnt-2024-s2", response="unsmeared"))
    likelihoods["pandax4t, binomial response"] = Likelihood(experiment("pandax4t-us2", response="binomial"))
    rows = [
        {
            "dataset": dataset,
            "interaction": name,
            "mass_MeV": found.at["mass"],
            "excluded": [list(pair) for pair in found.excluded],
            "delta_chi2": found.threshold,
            "valid": found.valid,
        }
        for dataset, likelihood in likelihoods.items()
        for name in MEDIATORS
        for found in mediator_limits(likelihood, name, _LIMIT_MASSES, "each")
    ]
    flat = [
        [r["dataset"], r["interaction"], r["mass_MeV"], low, high, r["delta_chi2"], r["valid"]]
        for r in rows
        for low, high in r["excluded"]
    ]
    columns = ["dataset", "interaction", "mass_MeV", "excluded_from", "excluded_to", "delta_chi2", "valid"]
    write_csv(run.out / "limits.csv", columns, flat)
    run.results["limits"] = rows


def official_limits(run: Run) -> None:
    """Fig. 4 from the official likelihood, beside the three-bin analysis."""
    masses = np.geomspace(1e-2, 1e4, 61)
    rows = []
    sources = {
        "XENONnT, own likelihood": Likelihood(experiment("xenonnt-2024")),
        "XENONnT, three bins": run.likelihood("xenonnt"),
    }
    with style.style():
        fig, axes = style.figure(columns=2, width=3.6, height=3.6)
        for ax, (title, likelihood) in zip(axes, sources.items(), strict=True):
            found = {name: mediator_limits(likelihood, name, masses) for name in MEDIATORS}
            plot_exclusion(found, ax, title)
            rows += [
                {
                    "analysis": title,
                    "interaction": name,
                    "mass_MeV": r.at["mass"],
                    "excluded_from": low,
                    "excluded_to": high,
                    "valid": r.valid,
                }
                for name, results in found.items()
                for r in results
                for low, high in r.excluded
            ]
        axes[1].set_ylabel("")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
        paths = style.save(fig, run.out / "official_exclusion")
    file_rows(run, "official-limits", rows)
    caption = (
        "Excluded at 90% CL (Delta chi2 = 2.71 from the minimum over mass and coupling) by XENONnT SR0+SR1: left "
        "with the collaboration's 4-d templates, morphing and nuisances, right with the paper's three bins."
    )
    run.figures.append((paths[0], caption))
