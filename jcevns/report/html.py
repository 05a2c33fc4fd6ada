"""The report: one self-contained HTML page."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["render"]

_CSS = """
body{font:16px/1.5 Georgia,serif;max-width:74rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.25rem;margin-top:2.2rem;border-bottom:1px solid #ccc}
table{border-collapse:collapse;width:100%;font:14px/1.4 system-ui,sans-serif;margin:.8rem 0}
th,td{padding:.3rem .6rem;border-bottom:1px solid #e4e4e4;text-align:left;vertical-align:top}
th{border-bottom:2px solid #999}td:last-child{min-width:9rem}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:1.2rem 0}figure img{max-width:100%}figcaption{font-size:.9rem;color:#444}
.agrees{color:#00694b;font-weight:600}.differs{color:#b34700;font-weight:600}
.status{font:600 12px system-ui;padding:.1rem .45rem;border-radius:.6rem;background:#e6eef5}
.reconstructed,.inferred{background:#ffe3c2}.note{background:#fff8ec;border-left:4px solid #e69f00;padding:.5rem .9rem}
.small{font-size:.88rem;color:#555}code{font-size:.9em}
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already."""
    top = "".join(f'<th class="n">{h}</th>' if i in numeric else f"<th>{h}</th>" for i, h in enumerate(head))
    body = ""
    for row in rows:
        cells = (f'<td class="n">{c}</td>' if i in numeric else f"<td>{c}</td>" for i, c in enumerate(row))
        body += f"<tr>{''.join(cells)}</tr>\n"
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table>"


def _value(quantity: str, value: float, up: float | None, down: float | None) -> str:
    """Value with asymmetric errors, flux in 1e6."""
    scale, digits = (1e6, 2) if quantity == "flux" else (1.0, 3)
    high = "open" if up is None else f"+{up / scale:.{digits}f}"
    low = "open" if down is None else f"&minus;{down / scale:.{digits}f}"
    return f"{value / scale:.{digits}f} <sup>{high}</sup> <sub>{low}</sub>"


def _comparison(summary: dict[str, Any]) -> str:
    other = {(r["quantity"], r["dataset"]): r for r in summary["comparison_other_flux_pull"]}
    rows = []
    for row in summary["comparison"]:
        name = row["quantity"]
        label = (
            "8B flux [10<sup>6</sup> cm<sup>-2</sup> s<sup>-1</sup>]"
            if name == "flux"
            else "sin<sup>2</sup>θ<sub>W</sub>"
        )
        second = other.get((name, row["dataset"]))
        kind = "agrees" if row["verdict"] == "agrees" else "differs"
        cells = [row["equation"], label, escape(row["dataset"])]
        cells += [_value(name, **_numbers(row["paper"])), _value(name, **_numbers(row["ours"]))]
        if second is None:
            cells.append("")
        else:
            state = "on" if second["flux_pull"] else "off"
            cells.append(f"{_value(name, **_numbers(second['ours']))} <span class=small>(pull {state})</span>")
        cells += [
            f'<span class="{kind}">{escape(row["verdict"])}</span>',
            f'<span class="small">{escape(row["by_construction"])}</span>',
        ]
        rows.append(cells)
    head = [
        "eq.",
        "quantity",
        "data",
        "paper",
        "ours",
        "ours, flux pull the other way",
        "verdict",
        "how far by construction",
    ]
    return _table(head, rows, numeric=(3, 4, 5))


def _numbers(entry: dict[str, float | None]) -> dict[str, Any]:
    return {"value": entry["value"], "up": entry["error_up"], "down": entry["error_down"]}


def _intervals(results: dict[str, Any]) -> str:
    rows = []
    for name in ("flux", "sin2w"):
        scale = 1e6 if name == "flux" else 1.0
        for entry in results.get(name, []):
            ends = ["open" if e is None else f"{e / scale:.3f}" for e in entry["interval_90"]]
            z = "not defined" if entry["significance"] is None else f"{entry['significance']:.2f}"
            pull = "on" if entry["flux_pull"] else "off"
            rows.append(
                [
                    name,
                    escape(entry["dataset"]),
                    pull,
                    f"{entry['best_fit'] / scale:.3f}",
                    f"[{ends[0]}, {ends[1]}]",
                    f"{entry['chi2_min']:.3f}",
                    z,
                    "yes" if entry["valid"] else "<b>no</b>",
                    f"{entry['edm']:.1e}",
                ]
            )
    head = ["parameter", "data", "flux pull", "best fit", "90% interval", "min. chi2", "significance", "valid", "EDM"]
    return _table(head, rows, numeric=(3, 5, 6, 8))


def _systematics(rows: list[dict[str, Any]]) -> str:
    cells = []
    for row in rows:
        value = _value(row["parameter"], row["best_fit"], row["error_up"], row["error_down"])
        z = "" if row["significance"] is None else f"{row['significance']:.2f}"
        pull = "on" if row["flux_pull"] else "off"
        cells.append([escape(row["dataset"]), escape(row["changed"]), row["parameter"], pull, value, z])
    return _table(["data", "input", "parameter", "flux pull", "value, 68%", "significance"], cells, numeric=(5,))


def _rates(rows: list[dict[str, float]]) -> str:
    shapes = [k for k in rows[0] if k != "threshold_keV"]
    body = [[f"{r['threshold_keV']:g}", *(f"{r[s]:.4g}" for s in shapes)] for r in rows]
    return _table(["threshold [keV]", *map(escape, shapes)], body, numeric=range(len(shapes) + 1))


def _limits(rows: list[dict[str, Any]]) -> str:
    """One row per interaction and mass, one column per data set."""
    datasets = list(dict.fromkeys(r["dataset"] for r in rows))
    cells: dict[tuple[str, float], dict[str, str]] = {}
    for row in rows:
        intervals = (f"{low:.3g} &ndash; {'' if high is None else f'{high:.3g}'}" for low, high in row["excluded"])
        text = "<br>".join(intervals) or "none"
        cells.setdefault((row["interaction"], row["mass_MeV"]), {})[row["dataset"]] = (
            text if row["valid"] else "not valid"
        )
    body = [[name, f"{mass:g}", *(found.get(d, "") for d in datasets)] for (name, mass), found in cells.items()]
    return _table(
        ["interaction", "mass [MeV]", *map(escape, datasets)], body, numeric=(1, 2, 3, 4, 5)[: len(datasets) + 1]
    )


def _official(results: dict[str, Any]) -> str:
    """What the three-bin analysis costs, and the statistics by toys."""
    cells = []
    for row in results["official"]:
        z = "" if row["significance"] is None else f"{row['significance']:.2f}"
        value = _value(row["parameter"], row["best_fit"], row["error_up"], row["error_down"])
        cells.append([escape(row["analysis"]), row["parameter"], value, z])
    parts = [_table(["analysis", "parameter", "value, 68%", "significance, asymptotic"], cells, numeric=(3,))]
    parts.append(
        '<p class="small">Flux in 10<sup>6</sup> cm<sup>-2</sup> s<sup>-1</sup>. 2026: the release has no statistical model; '
        "SR2's accidental width (5%) and the efficiency (25%) are our assumption. The alea numbers are those of "
        "benchmarks/alea_peer.py, not of this run. The significance by toys needs <code>jcevns reproduce --full</code>.</p>"
    )
    if "official-toys" in results:
        d = results["official-toys"]["discovery"]
        p = "none beyond" if d["p_value"] is None else f"p = {d['p_value']:.5f} &plusmn; {d['p_error']:.5f}"
        parts.append(
            f'<p class="small">Toys without signal, auxiliary measurements fluctuated: {d["beyond"]} of {d["toys"]} have '
            f"at least the observed Delta chi2 = {d['q0']:.2f}; {p}.</p>"
        )
    return "".join(parts)


def _toys(found: dict[str, Any]) -> str:
    """Coverage, goodness of fit, Feldman-Cousins intervals."""
    head = ["true flux", "nominal", "Delta chi2", "coverage", "toys"]
    cells = [
        [f"{r['truth'] / 1e6:.1f}", f"{r['cl']:.2%}", f"{r['threshold']:.3f}",
         f"{r['coverage']:.2%} &plusmn; {r['error']:.2%}", f"{r['toys']}"]
        for r in found["coverage"]
    ]  # fmt: skip
    quality, coupling = found["fit_quality"], found["coupling"]

    def ends(row: dict[str, Any], scale: float, form: str) -> str:
        low, high = ("open" if e is None else form.format(e / scale) for e in (row["lower"], row["upper"]))
        return f"[{low}, {high}]"

    intervals = "; ".join(f"{i['cl']:.0%}: {ends(i, 1e6, '{:.2f}')}" for i in found["flux_intervals"])
    return (
        _table(head, cells, numeric=(0, 1, 2, 3, 4))
        + '<p class="small">Flux in 10<sup>6</sup> cm<sup>-2</sup> s<sup>-1</sup>, bounded at 0; errors binomial. '
        f"Goodness of fit: saturated deviance {quality['deviance']:.1f}, p = {quality['p_value']:.3f} &plusmn; "
        f"{quality['error']:.3f} from {quality['toys']} toys at the best fit. "
        f"Feldman-Cousins intervals of the flux: {intervals}. {escape(coupling['interaction'])} coupling at "
        f"{coupling['mass_MeV']:g} MeV, 90%: {ends(coupling, 1.0, '{:.3g}')}, asymptotic upper end "
        f"{coupling['asymptotic_upper']:.3g} ({coupling['toys']} toys per value, seed {found['seed']}).</p>"
    )


def _posteriors(results: dict[str, Any]) -> str:
    """Posteriors beside the paper's equations and our profiles; what the prior of a coupling does."""
    cells = []
    for r in results["posteriors"]:
        name = r["quantity"]

        def spread(value: float, low: float | None, high: float | None, name: str = name) -> str:
            return _value(name, value, None if high is None else high - value, None if low is None else value - low)

        cells.append(
            [
                r["equation"],
                name,
                escape(r["dataset"]),
                _value(name, r["paper"], r["paper_up"], r["paper_down"]),
                spread(r["profile"], r["profile_lower_68"], r["profile_upper_68"]),
                spread(r["median"], r["lower_68"], r["upper_68"]),
                f"<code>{escape(r['prior'])}</code>",
            ]
        )
    head = ["eq.", "quantity", "data", "paper", "profile", "posterior median, central 68%", "prior"]
    limits = "; ".join(
        f"<code>{escape(r['prior'])}</code>: g &lt; {r['upper_90']:.3g}" for r in results["coupling-priors"]
    )
    first = results["coupling-priors"][0]
    return _table(head, cells, numeric=(3, 4, 5)) + (
        '<p class="small">Nuisances integrated by Laplace\'s method, truncated normals; <code>jcevns posterior</code> samples '
        "the same model with NUTS (<code>reproduce --full</code> does it for this table). Flux in 10<sup>6</sup> "
        "cm<sup>-2</sup> s<sup>-1</sup>, without the 12% pull; sin<sup>2</sup>θ<sub>W</sub> with it. Medians follow the "
        "longer tail of the likelihood, up for the flux, down for sin<sup>2</sup>θ<sub>W</sub>. 90% upper end of a "
        f"{escape(first['interaction'])} coupling at {first['mass_MeV']:g} MeV, both experiments, by prior: {limits}.</p>"
    )


def _sampled(rows: list[dict[str, Any]]) -> str:
    cells = []
    for r in rows:
        value = _value(r["quantity"], r["median"], r["upper_68"] - r["median"], r["median"] - r["lower_68"])
        cells.append(
            [
                escape(r["dataset"]),
                escape(r["sampled"]),
                r["quantity"],
                value,
                f"<code>{escape(r['prior'])}</code>",
                f"{r['r_hat']:.4f}",
                f"{r['ess_bulk']:.0f}",
                f"{r['ess_tail']:.0f}",
                f"{r['divergences']}",
                f"{r['seconds']:.1f}",
                escape(r["problems"]) or "none",
            ]
        )
    head = ["data", "sampled", "quantity", "median, central 68%", "prior", "R-hat", "ESS bulk", "ESS tail"]
    return _table([*head, "divergences", "seconds", "objections"], cells, numeric=(3, 5, 6, 7, 8, 9))


def _combined(found: dict[str, Any]) -> str:
    """The weak mixing angle of each point of Fig. 3."""

    def ends(pair: list[float | None]) -> str:
        return "[" + ", ".join("open" if e is None else f"{e:.3f}" for e in pair) + "]"

    cells = [
        [escape(r["dataset"]), f"{r['best_fit']:.3f}", ends(r["interval_68"]), ends(r["interval_90"]),
         f"{r['chi2_min']:.2f}", "yes" if r["valid"] else "<b>no</b>"]
        for r in found["rows"]
    ]  # fmt: skip
    return _table(["data", "best fit", "68% interval", "90% interval", "min. chi2", "valid"], cells, numeric=(1, 4))


def _pulls(found: dict[str, Any]) -> str:
    cells = [[f"<code>{escape(name)}</code>", f"{pull:+.3f}"] for name, pull in found["pulls"].items()]
    return _table(["nuisance", "pull in units of its width"], cells, numeric=(1,))


def _statements(rows: list[dict[str, Any]]) -> str:
    """Sentences of the paper on its Fig. 5 beside our curves."""
    cells = []
    for r in rows:
        kind = "agrees" if r["verdict"].startswith("agrees") else "differs"
        text = r["verdict"] if r["valid"] else f"fit not valid; {r['verdict']}"
        cells.append(
            [
                escape(r["panel"]),
                escape(r["paper"]),
                escape(", ".join(r["compared_with"])),
                f"{r['smallest_advantage']:.2f} to {r['largest_advantage']:.2f}",
                f'<span class="{kind if r["valid"] else "differs"}">{escape(text)}</span>',
            ]
        )
    head = ["interaction", "paper", "compared with", "other limit / 8B, within the paper's range", "verdict"]
    return _table(head, cells, numeric=(3,))


def _image(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _badge(status: str) -> str:
    return f'<span class="status {escape(status)}">{escape(status)}</span>'


def render(summary: dict[str, Any], figures: Sequence[tuple[Path, str]]) -> str:
    """The report as HTML, with its figures inside.

    Args:
        summary: content of summary.json.
        figures: PNG files and captions.
    """
    results, parts = summary["results"], []
    parts.append(
        "<h1>Solar 8B CEvNS in xenon: flux, weak mixing angle, mediators</h1>"
        "<p>Reproduction of De Romeri, Papoulias, Ternes, "
        '<a href="https://arxiv.org/abs/2411.11749">arXiv:2411.11749</a>, with jcevns '
        f"{escape(summary['versions']['jcevns'])}. {escape(summary['date'])}, {summary['seconds']['total']:.1f} s.</p>"
        '<p class="note"><b>Read this first.</b> The PandaX-4T counts per bin are a <b>reconstruction</b> from published '
        "totals, chosen so that the fit gives the paper's eqs. 18 and 21: agreement there is no test. The XENONnT signal "
        "is scaled to XENONnT's best fit by the factors c<sub>i</sub>, an <b>inferred</b> reading of the paper, which "
        "fixes the central values; its errors, and the combination, are not tuned.</p>"
    )
    if summary["comparison"]:
        parts.append("<h2>The paper and this run</h2>" + _comparison(summary))
        parts.append(
            '<p class="small">Errors: Delta chi2 = 1 around the minimum, ends found as roots of the profile. Verdict: '
            "flux centre within 0.05 and errors within 0.15 (10<sup>6</sup> cm<sup>-2</sup> s<sup>-1</sup>), "
            "sin<sup>2</sup>θ<sub>W</sub> within 0.012. The flux is fitted without the 12% flux pull, which would be the same "
            "parameter twice; the paper does not say what it did. sin<sup>2</sup>θ<sub>W</sub> is fitted with it, on the branch above "
            "the mirror point &minus;0.108: the rate is even in the weak charge, so every value below has a twin above.</p>"
        )
    if "flux" in results or "sin2w" in results:
        parts.append("<h2>90% intervals, significance, fit quality</h2>" + _intervals(results))
        parts.append(
            '<p class="small">Flux in 10<sup>6</sup> cm<sup>-2</sup> s<sup>-1</sup>. Delta chi2 = 2.71, one parameter. "open": the physical '
            "bound (flux 0, mirror point) is reached before the threshold. Significance: square root of Delta chi2 at zero "
            "flux, asymptotic.</p>"
        )
    if figures:
        parts.append("<h2>Figures</h2>" + "".join(_image(path, caption) for path, caption in figures))
    if "sin2w_combined" in results:
        found = results["sin2w_combined"]
        parts.append("<h2>Combined weak mixing angle</h2>" + _combined(found))
        parts.append(
            '<p class="small">sin<sup>2</sup>θ<sub>W</sub>, one parameter. COHERENT with <code>shapes="none"</code>; PandaX-4T: '
            "reconstructed bins. The flux of the SNS is one nuisance for both COHERENT detectors, that of 8B for both "
            "xenon experiments.</p>"
        )
        parts.append(f"<h2>Combined weak mixing angle: pulls</h2><p>{escape(found['dataset'])}</p>" + _pulls(found))
    if "fig5_statements" in results:
        parts.append("<h2>Which limit leads: the paper on its Fig. 5</h2>" + _statements(results["fig5_statements"]))
        parts.append(
            '<p class="small">Our curves only, by the lower end of what each excludes, interpolated in the logarithm of the mass from '
            "0.01 to 10<sup>5</sup> MeV. An end of a range agrees within a factor 1.5. COHERENT: nuclear recoils only; "
            "what it sees of electrons, which matters for light mediators, is not in our curve.</p>"
        )
    if "rates" in results:
        parts.append("<h2>Events per tonne-year above threshold</h2>" + _rates(results["rates"]))
        parts.append(
            '<p class="small">Natural xenon, full efficiency, Klein-Nystrand form factor, 5.46e6 cm<sup>-2</sup> s<sup>-1</sup>.</p>'
        )
    if "posteriors" in results:
        parts.append("<h2>Posteriors</h2>" + _posteriors(results))
    if "sampled-posteriors" in results:
        parts.append("<h2>Posteriors by NUTS</h2>" + _sampled(results["sampled-posteriors"]))
    if "official" in results:
        parts.append("<h2>XENONnT's own likelihood</h2>" + _official(results))
    if "official-toys" in results:
        parts.append("<h2>Coverage and intervals by toys</h2>" + _toys(results["official-toys"]))
    for key, title in (
        ("systematics", "What each choice is worth"),
        ("systematics-grid", "All combinations of choices"),
    ):
        if key in results:
            parts.append(f"<h2>{title}</h2>" + _systematics(results[key]))
    rows = [
        [
            escape(name),
            _badge(e["status"]),
            "<br>".join(map(escape, e["notes"])),
            "<br>".join(map(escape, e["tables"])),
        ]
        for name, e in summary["experiments"].items()
    ]
    parts.append("<h2>Experiments</h2>" + _table(["experiment", "status", "notes", "tables"], rows))
    rows = [
        [escape(name), _badge(c["status"]), escape(c["source"]), f"<code>{c['sha256'][:12]}</code>"]
        for name, c in summary["data"].items()
    ]
    parts.append("<h2>Data</h2>" + _table(["table", "status", "source", "sha256"], rows))
    rows = [[escape(k), escape(v)] for k, v in summary["versions"].items()]
    rows += [["devices", escape(", ".join(summary["devices"]))]]
    rows += [[f"seconds: {escape(k)}", f"{v:.2f}"] for k, v in summary["seconds"].items()]
    parts.append("<h2>Versions and run time</h2>" + _table(["", ""], rows))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>jcevns: reproduction of arXiv:2411.11749</title><style>{_CSS}</style></head>\n<body>{body}</body></html>\n"
    )
