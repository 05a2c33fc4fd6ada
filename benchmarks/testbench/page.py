"""From finished parts to a summary, and from the summary to the page of the docs."""

import json
import math
from typing import Any

from benchmarks.testbench.check import merge
from benchmarks.testbench.coverage import CASES, FC_TOYS, LEVELS, exact

__all__ = ["page", "summary", "text"]

_LABELS = {
    "binned": "binned models",
    "products": "products as in experiments",
    "shapes": "models with shape nuisances",
    "curves": "intervals and limits, one parameter",
    "single": "binned models, float32",
}
_METHODS = {
    "asymptotic 0.683": "Δχ² < 1, toys",
    "asymptotic 0.9": "Δχ² < 2.71, toys",
    "segments 0.9": "accepted ranges, toys",
    "upper end 0.9": "upper end, toys",
    "interval 0.9": "`interval`",
    "one-sided 0.9": "`one-sided`",
    "cls 0.9": "`cls`",
    "pcl 0.9": "`pcl`",
    "Feldman-Cousins 0.9": "`toy_interval`",
}


def _coverage(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for number, case in enumerate(CASES):
        own = [part for part in parts if part["case"] == number]
        if not own:
            continue
        methods = [m for m in _METHODS if all(m in p["counts"] for p in own)]
        counts = {m: [sum(p["counts"][m][k] for p in own) for k in range(3)] for m in methods}
        expected = [exact(case, cl) for cl in LEVELS]
        rows.append({
            "case": case.label, "truth": case.truth, "counts": counts, "several": sum(p["several"] for p in own),
            "exact": None if expected[0] is None else expected,
        })  # fmt: skip
    return rows


def summary(parts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Sums over the parts of each kind; of coverage, over those of each case."""
    found: dict[str, Any] = {
        kind: {"parts": len(own), **merge(own)} for kind, own in parts.items() if own and kind != "coverage"
    }
    false = {kind: found[kind].pop("false") for kind in found}
    for kind, rows in false.items():
        found[kind]["false"] = len(rows)
        found[kind]["false_near"] = sum(row.get("near", True) for row in rows)
    return {**found, "coverage": _coverage(parts.get("coverage", [])), "false": false}


def text(content: dict[str, Any]) -> str:
    """As JSON, a line for every false valid."""
    rest = json.dumps({k: v for k, v in content.items() if k != "false"}, indent=1, allow_nan=False)
    kinds = [
        f'  "{kind}": [' + ",".join(f"\n   {json.dumps(row, allow_nan=False)}" for row in rows) + "]"
        for kind, rows in content["false"].items()
    ]
    return rest[: rest.rindex("\n}")] + ',\n "false": {\n' + ",\n".join(kinds) + "\n }\n}\n"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _fraction(inside: int, trials: int) -> str:
    """Percent with its binomial error; the error of none or all is that of one."""
    if not trials:
        return ""
    bounded = min(max(inside, 1), trials - 1) / trials if trials > 1 else 0.5
    return f"{100 * inside / trials:.1f} ± {100 * math.sqrt(bounded * (1 - bounded) / trials):.1f}"


_TOP = """<!-- Written by `python -m benchmarks.testbench` from benchmarks/results/testbench.json. -->
# Can "valid" be trusted?

A test-bench fits random problems, most of them uglier than any experiment, and judges every answer by calculations
that share no code with the package. A **false valid** is an answer that says valid and is not the minimum: a lower
$\\chi^2$ exists (by more than $10^{-6}(1+|\\chi^2|)$), the value is not that of the point, or the gradient there is
not small. An invalid answer is no fault where nothing fits; it is counted where the reference finds a minimum within
$\\Delta\\chi^2 < 25$ of the best strength of the signal.
"""

_HOW = """
* **Binned models**: 1 to 40 bins in 1 to 3 experiments, 1 to 6 components, 0 to 12 nuisances with widths of 0.001 to
  5 on one component or many, counts from 0 to 10⁷, signals to 10¹², empty bins, no background, data far from what is
  expected, signals that take more than there is. The batched fit, and the general one where that fails, as in scans
  and toys. Each is compared with chi2, gradient and Hessian at the point in NumPy, and with the lowest of four damped
  Newton descents in NumPy; a sample, and what looks odd, with SciPy's trust region from several starts.
* **Products as in experiments**: a flux times one or two efficiencies in one or two experiments, widths of 3 to
  30%, 1 to 100 events of each component in a bin, signals up to 10⁴ times what was seen, as where a scan excludes.
* **float32**: the same models; there a false valid is off by more than $10^{-3}(1+|\\chi^2|)$. Scans, limits and toys
  refuse to run in single precision, profiles do not.
* **Shapes**: one or two shape nuisances of two to five anchors, half of them jagged; against scans of the shapes.
* **Intervals and limits** at 90%: a strength, a coupling squared, interference with one dip or several. Every
  accepted range is compared with a dense scan over eleven decades: a point is on the wrong side if its
  $\\Delta\\chi^2$ misses the threshold by more than $10^{-4}$.

No chi2 and no gradient was wrong in double precision: false valids are local minima. A component with several
nuisances can be made small by any of them, and each way may be a minimum where a factor falls below one half. A fit
that got there is valid only if a lower bound of $\\chi^2$ shows that no other is lower (`jcevns.fit.products`), or
if starts along all the ways found none, the factors are narrower than 35% and their experiments describe the data
to 100 in $\\chi^2$ per bin: elsewhere such starts missed minima. For products as experiments have them that decides
nearly all; with several experiments the bound has a slack of 1% of $\\chi^2$ where the shared factor is within a
factor of two of the minimum's, where it is not sharp. Where data are off by 500 in $\\chi^2$ per bin only an exact
bound counts. Where up to twelve nuisances are thrown on six components by chance many stay in doubt. A jagged shape
has a minimum in each dent: fits start at both ends of every combination of cells of the shapes and stay in the
cell, and with each factor of a small product in turn, where there are up to 36 such places (two shapes of four
anchors each); with more, in the cells of one shape after the other. Products of factors are not asked for a proof
where templates move.
"""


def page(content: dict[str, Any]) -> str:
    """The page of the docs: everything in it comes from the summary."""
    machine = content["machine"]
    lines = [
        _TOP,
        "| | tried | valid | false valid | of these near | invalid though near | largest difference of χ² |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for kind, label in _LABELS.items():
        if kind not in content:
            continue
        one = content[kind]
        lost = one.get("lost_near", one["lost"])
        cells = [_count(one[k]) for k in ("models", "valid", "false", "false_near")]
        lines.append(f"| {label} | {' | '.join(cells)} | {_count(lost)} | {one['worst']:.1e} |")
    lines.append(
        "\nThe last column is relative to $1+|\\chi^2|$, among answers that are not false. Near: within "
        "$\\Delta\\chi^2 < 25$ of the best strength."
    )
    lines.append(_HOW)
    lines.append("## Coverage\n")
    lines.append(
        "Percent of data sets whose interval holds the truth, with binomial errors. Nominal: 68.3 for the first "
        "column, 90 for the others; an upper end of a two-sided interval covers more. Exact: by enumeration of the "
        f"counts, for the first two columns. Feldman-Cousins (`toy_interval`) has {FC_TOYS} toys for every value "
        "tested. That, `interval` and the upper limits by asymptotic formulae (`one-sided`, CL$_s$ and "
        "power-constrained, where the parameter is bounded) have fewer data sets than the rest.\n"
    )
    lines.append(f"| case | truth | {' | '.join(_METHODS.values())} | exact |")
    lines.append("|---|---|" + "---|" * (len(_METHODS) + 1))
    for row in content["coverage"]:
        cells = [_fraction(*row["counts"].get(m, (0, 0))[:2]) for m in _METHODS]
        known = "" if row["exact"] is None else ", ".join(f"{100 * e:.1f}" for e in row["exact"])
        lines.append(f"| {row['case']} | {row['truth']:g} | {' | '.join(cells)} | {known} |")
    lost = sum(n[2] for row in content["coverage"] for n in row["counts"].values())
    several = sum(row["several"] for row in content["coverage"])
    lines.append(
        f"\nToys and data sets without a valid answer, all cases and methods together: {_count(lost)}. Toys with "
        f"more than one accepted range: {_count(several)}."
    )
    lines.append("\n## How it was run\n")
    lines.append(
        f"{machine['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, jcevns "
        f"{machine['versions']['jcevns']}, jax {machine['versions']['jax']}, seed {content['seed']}; "
        f"{_count(content['asked'])} binned models asked for. "
        "`python -m benchmarks.testbench` goes on where it was stopped, and writes "
        "`benchmarks/results/testbench.json` and this page. Every false valid is in the JSON with its numbers: "
        "`benchmarks.testbench.binned.rebuild(seed, index, call)` makes the models again."
    )
    if "note" in content:
        lines.append(f"\n{content['note']}")
    return "\n".join(lines) + "\n"
