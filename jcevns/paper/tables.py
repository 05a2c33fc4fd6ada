"""Comparison of our estimates with the numbers of the paper."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jcevns import datasets
from jcevns.paper.estimates import UNITS, Estimate, fit_command
from jcevns.paper.run import DATASETS

__all__ = ["TOLERANCES", "Comparison", "compare", "comparison_json"]

TOLERANCES = {"flux": (0.05e6, 0.15e6), "sin2w": (0.012, 0.012)}
"""Largest accepted difference to the paper, of the centre and of the errors: rounding of its printed digits
and, for the errors, of its unstated treatment of the flux pull."""

BY_CONSTRUCTION = {
    "pandax4t": "US2 bins reconstructed so that this fit gives the paper's centre and errors",
    "xenonnt": "c_i scale the signal to XENONnT's best fit, which fixes the centre; the errors are not tuned",
    "combined": "follows from the two; nothing was tuned for the combination",
}
"""How far agreement with each data set of the paper is a choice of input."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One line of the table paper, ours, verdict.

    Attributes:
        equation: number in arXiv:2411.11749.
        quantity: `flux` or `sin2w`.
        dataset: `pandax4t`, `xenonnt` or `combined`.
        unit: of the numbers.
        paper: value, upper and lower error of the paper.
        ours: the same of this run; None for an open end.
        verdict: `agrees` or `differs`, with what differs.
        flux_pull: whether the 12% flux pull was on.
        caveat: how far the agreement is by construction.
    """

    equation: str
    quantity: str
    dataset: str
    unit: str
    paper: tuple[float, float, float]
    ours: tuple[float, float | None, float | None]
    verdict: str
    flux_pull: bool
    caveat: str


def compare(estimates: Mapping[tuple[str, str], Estimate]) -> list[Comparison]:
    """Compare estimates, by (quantity, dataset), with the card `paper_results`."""
    table = datasets.read_table("paper_results")
    rows = []
    for i in range(len(table["value"])):
        key = (str(table["quantity"][i]), str(table["dataset"][i]))
        if key not in estimates:
            continue
        found = estimates[key]
        ours = (found.best_fit, *found.errors)
        paper = (float(table["value"][i]), float(table["error_up"][i]), float(table["error_down"][i]))
        centre, error = TOLERANCES[key[0]]
        named = zip(("centre", "upper error", "lower error"), ours, paper, (centre, error, error), strict=True)
        off = [name for name, a, b, limit in named if a is None or abs(a - b) > limit]
        verdict = f"differs in {' and '.join(off)}" if off else "agrees"
        if not found.valid:
            verdict = "fit not valid"
        equation = f"{float(table['equation'][i]):.0f}"
        caveat = BY_CONSTRUCTION[key[1]]
        rows.append(Comparison(equation, *key, UNITS[key[0]], paper, ours, verdict, found.flux_pull, caveat))
    return rows


def comparison_json(row: Comparison) -> dict[str, Any]:
    """A line as JSON."""
    names = ("value", "error_up", "error_down")
    return {
        "equation": row.equation,
        "quantity": row.quantity,
        "dataset": row.dataset,
        "unit": row.unit,
        "paper": dict(zip(names, row.paper, strict=True)),
        "ours": dict(zip(names, row.ours, strict=True)),
        "verdict": row.verdict,
        "flux_pull": row.flux_pull,
        "by_construction": row.caveat,
        "command": fit_command(row.quantity, {name: {} for name in DATASETS[row.dataset]}, row.flux_pull)
        or f"jcevns reproduce --only {row.quantity}",
    }
