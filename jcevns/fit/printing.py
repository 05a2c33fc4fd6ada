"""A fit as text, and as the table of a notebook."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jcevns.fit.rounding import segments_text, unit_scale, with_errors

if TYPE_CHECKING:
    from jcevns.fit.result import Fit

__all__ = ["as_html", "as_text", "with_unit"]


def with_unit(fit: "Fit", name: str) -> str:
    """Best fit of a parameter with its errors, and the unit."""
    scale, unit = unit_scale(fit.units[name])
    down, up = fit.errors.get(name, (None, None))
    if not fit.errors:
        width = fit.hesse[name] / scale
        return f"{with_errors(fit.values[name] / scale, width, width)}{unit}"
    text = with_errors(
        fit.values[name] / scale, None if up is None else up / scale, None if down is None else down / scale
    )
    return f"{text}{unit}"


def as_text(fit: "Fit") -> str:
    """Everything as text."""
    head = [
        f"fit of {', '.join(fit.names)} to {' + '.join(fit.experiments)}",
        f"  theory {fit.theory}, minimiser {fit.minimiser}",
        f"  chi2 min {fit.chi2_min:.4f}   EDM {fit.edm:.1e} (goal {fit.edm_goal:.0e})   "
        f"valid: {'yes' if fit.valid else 'NO'}",
    ]
    head += [f"  PROBLEM: {problem}" for problem in fit.problems]
    rows: list[tuple[str, ...]] = [("", "value", "Hesse", "68%", "90%", "unit")]
    for name in fit.names:
        scale, unit = unit_scale(fit.units[name])
        cells = [segments_text(one.segments, scale) for one in fit.intervals.get(name, ())] or ["", ""]
        mark = " (at bound)" if name in fit.at_bound else ""
        rows.append((name + mark, with_unit(fit, name), f"{fit.hesse[name] / scale:.3g}", *cells, unit.strip()))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    body = ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    tail = []
    if len(fit.names) > 1:
        tail.append("  correlation")
        for name, row in zip(fit.names, fit.correlation, strict=True):
            tail.append(f"    {name:24} " + " ".join(f"{c:+.3f}" for c in row))
    if fit.significance is not None:
        tail.append(f"  significance  {fit.significance:.2f} sigma (asymptotic), p = {fit.p_value:.3g}")
    for name, value in fit.profiled.items():
        tail.append(f"  profiled: {name} = {value:.6g}")
    for name, value in fit.fixed.items():
        tail.append(f"  fixed: {name} = {value:.6g}")
    tail.append(f"  goodness of fit: {fit.goodness}")
    tail.append("  pulls [sigma]")
    tail += [f"    {name:32} {pull:+.3f} +- {fit.pull_errors[name]:.3f}" for name, pull in fit.pulls.items()]
    tail += [f"  note: {note}" for note in fit.notes]
    for name, status in fit.data_status.items():
        tail.append(f"  {name}: data {status['status'].upper()}")
        tail += [f"    {note}" for note in status["notes"]]
    return "\n".join([*head, *body, *tail])


def as_html(fit: "Fit") -> str:
    """The table of a notebook."""
    good = "#dff0d8" if fit.valid else "#f2dede"

    def cells(name: str) -> list[str]:
        scale, unit = unit_scale(fit.units[name])
        mark = " (at bound)" if name in fit.at_bound else ""
        sets = [segments_text(one.segments, scale) for one in fit.intervals.get(name, ())] or ["", ""]
        return [name + mark, with_unit(fit, name), f"{fit.hesse[name] / scale:.3g}", *(f"{s}{unit}" for s in sets)]

    def row(texts: Sequence[str], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>"

    body = "".join(row(cells(name)) for name in fit.names)
    items = [f"problem: {p}" for p in fit.problems] + [f"note: {n}" for n in fit.notes]
    items.append(f"goodness of fit: {fit.goodness}")
    found = (
        f"<table><caption style='background:{good}'>chi2 {fit.chi2_min:.4f}, EDM {fit.edm:.1e} "
        f"(goal {fit.edm_goal:.0e}), {'valid' if fit.valid else 'NOT valid'}; "
        f"{html.escape(' + '.join(fit.experiments))}</caption>"
        f"{row(('parameter', 'value', 'Hesse', '68%', '90%'), 'th')}{body}</table>"
        "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
    )
    if fit.pulls:
        pulls = [row((n, f"{p:+.3f}", f"{fit.pull_errors[n]:.3f}")) for n, p in fit.pulls.items()]
        found += f"<table>{row(('constrained', 'pull', 'error'), 'th')}{''.join(pulls)}</table>"
    return found
