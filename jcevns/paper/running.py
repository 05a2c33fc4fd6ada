"""Fig. 3: the weak mixing angle against the momentum transfer, CEvNS beside other experiments."""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jcevns import datasets
from jcevns.files import write_csv
from jcevns.fit.batch import prepare
from jcevns.likelihood.likelihood import Likelihood, arranged
from jcevns.paper.estimates import Estimate, estimate, estimate_json, fit_command
from jcevns.paper.run import COMPLEMENTARY, DATASETS, Run
from jcevns.plot import style

__all__ = ["COMBINATION", "POINTS", "Point", "figure_3"]

SOLAR, COHERENT = DATASETS["combined"], ("coherent-csi-2021", "coherent-lar-2020")
COMBINATION = "XENONnT + PandaX-4T + COHERENT"
COMBINED_SCALE = 22.0  # MeV: between the two scales that are combined


@dataclasses.dataclass(frozen=True)
class Point:
    """A determination of this package.

    Attributes:
        experiments: names; of the paper's three data sets or beside them.
        scale: typical momentum transfer in MeV.
        drawn: where it is drawn, beside the others of its scale.
        colour: of marker and label.
        marker: as in Matplotlib.
        reference: publications of the data.
    """

    experiments: tuple[str, ...]
    scale: float
    drawn: float
    colour: str
    marker: str
    reference: str


_XENONNT, _PANDAX = "XENONnT arXiv:2408.02877", "PandaX-4T arXiv:2407.10892"
_CSI, _LAR = "COHERENT arXiv:2110.07730", "COHERENT arXiv:2003.10630"

POINTS = {
    "TEXONO": Point(("texono-2010",), 2.3, 2.3, "#CC79A7", "v", "TEXONO arXiv:0911.1597"),
    "PandaX-4T US2 (reconstructed)": Point(DATASETS["pandax4t"], 10.0, 6.0, "#0072B2", "s", _PANDAX),
    "XENONnT": Point(DATASETS["xenonnt"], 10.0, 9.0, "#D55E00", "D", _XENONNT),
    "XENONnT + PandaX-4T": Point(SOLAR, 10.0, 13.2, "#000000", "o", f"{_XENONNT}, {_PANDAX}"),
    "COHERENT CsI": Point(COHERENT[:1], 40.0, 35.0, "#009E73", "^", _CSI),
    "COHERENT LAr": Point(COHERENT[1:], 40.0, 48.0, "#A87900", "<", _LAR),
    "COHERENT CsI + LAr": Point(COHERENT, 40.0, 66.0, "#2C8FC4", ">", f"{_CSI}, {_LAR}"),
    COMBINATION: Point((*SOLAR, *COHERENT), COMBINED_SCALE, COMBINED_SCALE, "#000000", "*",
                       f"{_XENONNT}, {_PANDAX}, {_CSI}, {_LAR}"),
}  # fmt: skip
"""Our points by label. Scales: TEXONO sqrt(2 m_e T) at 3 to 8 MeV, 8B on xenon and pion decay at rest sqrt(2 M T)."""

_NEAR = {
    "APV (Cs)": ("above", 1.0),
    "Qweak": ("below", 0.62),
    "E158": ("above", 1.6),
    "PVDIS": ("below", 1.0),
    "NuTeV": ("above", 1.0),
    "LEP1": ("below", 0.42),
    "SLC": ("below", 0.75),
    "Tevatron": ("below", 1.33),
    "LHC (CMS)": ("below", 2.4),
}
"""Side of the label and factor on the scale: points at the Z mass stand side by side."""

EFFECTIVE = {"E158": 0.0006}
"""Effective angles at the scale of the measurement: how much higher they are in MS-bar (Particle Data Group)."""


_UPRIGHT: dict[str, Any] = {"textcoords": "offset points", "rotation": 90, "ha": "center", "fontsize": 8}


def _estimates(run: Run) -> dict[str, Estimate]:
    """sin2w of each of our points."""
    paper = {held: name for name, held in DATASETS.items()}
    others = {
        label: [_built(run, name) for name in point.experiments]
        for label, point in POINTS.items()
        if point.experiments not in paper
    }
    for experiments in others.values():
        prepare(arranged(Likelihood(experiments)))  # all are compiled at the same time
    found = {label: estimate("sin2w", experiments) for label, experiments in others.items()}
    return {
        label: found[label] if label in found else run.estimate("sin2w", paper[point.experiments])
        for label, point in POINTS.items()
    }


def _built(run: Run, name: str) -> Any:
    return run.experiments[name] if name in SOLAR else run.complementary(name)[0]


def _ours(ax: Axes, found: dict[str, Estimate]) -> None:
    """Low momentum transfers: our points, each with its label above."""
    for label, result in found.items():
        point, best = POINTS[label], result.best_fit
        low, high = result.interval_68
        ends = (best if low is None else low, best if high is None else high)
        size = 9 if point.marker == "*" else 5
        errors = [[best - ends[0]], [ends[1] - best]]
        ax.errorbar(point.drawn, best, yerr=errors, fmt=point.marker, ms=size, color=point.colour, capsize=2, lw=1.2)
        # Two lines where one would leave the panel.
        words = label.replace(" US2 (", "\n(").replace("XENONnT + ", "XENONnT +\n")
        ax.annotate(
            words, (point.drawn, ends[1]), (0, 5), **_UPRIGHT, linespacing=0.85, va="bottom", color=point.colour
        )


def _theirs(ax: Axes, table: dict[str, np.ndarray]) -> None:
    """Points of other experiments."""
    columns = (table[name] for name in ("label", "scale_MeV", "value", "error"))
    for name, scale, value, error in zip(*columns, strict=True):
        side, factor = _NEAR.get(str(name), ("above", 1.0))
        face = "white" if name in EFFECTIVE else "#333333"
        ax.errorbar(
            scale * factor, value, yerr=error, fmt="o", ms=3.5, color="#333333", mfc=face, capsize=1.5, lw=0.9
        )
        if name in EFFECTIVE:
            ax.plot(scale * factor, value + EFFECTIVE[str(name)], "_", ms=8, color="#333333")
        sign, va = (1, "bottom") if side == "above" else (-1, "top")
        place = (scale * factor, value + sign * error)
        ax.annotate(str(name), place, (0, 4 * sign), **_UPRIGHT, va=va, color="#333333")


def figure_3(run: Run) -> None:
    """Running of sin2w, and the combination of XENONnT, PandaX-4T and COHERENT with its pulls."""
    found = _estimates(run)
    table, curve = datasets.read_table("weak_mixing_angle"), datasets.read_table("weak_mixing_running")
    with style.style():
        fig, (left, right) = style.figure(columns=2, width=3.9, height=3.9)
        for ax in (left, right):
            ax.plot(curve["scale_MeV"], curve["sin2w"], color="#777777", lw=1.1, zorder=1)
            ax.set(xscale="log", xlabel="momentum transfer [MeV]")
        _ours(left, found)
        left.set(xlim=(1.0, 300.0), ylim=(0.05, 0.68), ylabel=r"$\sin^2\theta_W$", title="this package")
        left.annotate(r"$\overline{\mathrm{MS}}$ running", (110.0, 0.234), va="top", fontsize=8, color="#555555")
        _theirs(right, table)
        right.set(xlim=(0.1, 1e6), ylim=(0.2215, 0.2465), title="other experiments, finer scale")
        paths = style.save(fig, run.out / "fig3_running")
    _file(run, found, table)
    combined = found[COMBINATION]
    cited = "; ".join(
        f"{name}: {reference} (arXiv:{arxiv})"
        for name, reference, arxiv in zip(table["label"], table["reference"], table["arxiv"], strict=True)
    )
    caption = (
        "Fig. 3. Weak mixing angle against momentum transfer; errors 68%, one parameter. Line: running in the MS-bar "
        "scheme, one loop (after Erler and Ramsey-Musolf, hep-ph/0409169). Left: determinations of this package, at "
        "typical momentum transfers of 2 MeV (TEXONO, arXiv:0911.1597), 10 MeV (8B neutrinos: PandaX-4T US2, "
        "arXiv:2407.10892; XENONnT, arXiv:2408.02877) and 30 to 50 MeV (COHERENT CsI, arXiv:2110.07730; LAr, "
        f"arXiv:2003.10630), drawn side by side; star: {COMBINATION} (CsI and LAr), drawn between their scales. The "
        'PandaX-4T counts per bin are a reconstruction. COHERENT with shapes="none": its shape systematics are left '
        "out, for CsI normalisations stand for them. Right: other experiments, not fitted here; those at the Z mass, "
        "Qweak and E158 are moved apart. E158 (open circle) is an effective angle at its own scale, "
        f"{EFFECTIVE['E158']} higher in MS-bar (dash). {cited}."
    )
    run.figures.append((paths[0], caption))
    rows = [_row(label, result) for label, result in found.items()]
    run.results["sin2w_combined"] = {"dataset": COMBINATION} | estimate_json(combined) | {"rows": rows}


def _row(label: str, result: Estimate) -> dict[str, Any]:
    return {
        "dataset": label,
        "best_fit": result.best_fit,
        "interval_68": list(result.interval_68),
        "interval_90": list(result.interval_90),
        "chi2_min": result.chi2_min,
        "valid": result.valid,
        "command": fit_command("sin2w", {n: COMPLEMENTARY.get(n, {}) for n in POINTS[label].experiments}),
    }


def _file(run: Run, found: dict[str, Estimate], table: dict[str, np.ndarray]) -> None:
    """Every point of the figure, and the pulls of the combination."""
    rows: list[list[Any]] = []
    for label, result in found.items():
        point = POINTS[label]
        place = [point.scale, point.drawn]
        rows.append([label, "this package", *place, result.best_fit, *result.errors, 0.0, point.reference])
    for i, name in enumerate(map(str, table["label"])):
        scale, value, error = (float(table[c][i]) for c in ("scale_MeV", "value", "error"))
        reference = f"{table['reference'][i]}, arXiv:{table['arxiv'][i]}"
        drawn = scale * _NEAR.get(name, ("", 1.0))[1]
        rows.append([name, "published", scale, drawn, value, error, error, EFFECTIVE.get(name, 0.0), reference])
    columns = [
        "point",
        "origin",
        "scale_MeV",
        "drawn_at_MeV",
        "sin2w",
        "error_up",
        "error_down",
        "to_msbar",
        "reference",
    ]
    write_csv(run.out / "fig3_running.csv", columns, rows)
    pulls = [[name, pull] for name, pull in found[COMBINATION].pulls.items()]
    write_csv(run.out / "fig3_pulls.csv", ["nuisance", "pull"], pulls)
