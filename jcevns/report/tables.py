"""Tables: comparison with the paper, JSON of results, CSV files."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jcevns import datasets
from jcevns.inference.intervals import Estimate

__all__ = ["TOLERANCES", "Comparison", "compare", "estimate_json", "write_csv", "write_json", "write_text"]

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
        estimate = estimates[key]
        low, high = estimate.interval_68.lower, estimate.interval_68.upper
        best = estimate.best_fit
        ours = (best, None if high is None else high - best, None if low is None else best - low)
        paper = (float(table["value"][i]), float(table["error_up"][i]), float(table["error_down"][i]))
        limits = (TOLERANCES[key[0]][0], TOLERANCES[key[0]][1], TOLERANCES[key[0]][1])
        names = ("centre", "upper error", "lower error")
        off = [
            name
            for name, a, b, limit in zip(names, ours, paper, limits, strict=True)
            if a is None or abs(a - b) > limit
        ]
        verdict = "agrees" if not off else f"differs in {' and '.join(off)}"
        if not estimate.valid:
            verdict = "fit not valid"
        equation = f"{float(table['equation'][i]):.0f}"
        caveat = BY_CONSTRUCTION[key[1]]
        rows.append(Comparison(equation, *key, estimate.unit, paper, ours, verdict, estimate.flux_pull, caveat))
    return rows


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON: intervals as [lower, upper], null for an open end or an infinite significance."""
    out = dataclasses.asdict(estimate)
    for key in ("interval_68", "interval_90"):
        interval = getattr(estimate, key)
        out[key] = [interval.lower, interval.upper]
    if estimate.significance is not None and not math.isfinite(estimate.significance):
        out["significance"] = None
    out["experiments"] = list(estimate.experiments)
    return out


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all: a killed process or a full disk leaves the old one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def write_json(path: Path, content: Any) -> Path:
    """Write JSON; NaN is refused, an absent number is null."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a CSV with one header line; None is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if v is None else f"{v:.10g}" if isinstance(v, float) else v for v in row])
    return write_text(path, buffer.getvalue())
