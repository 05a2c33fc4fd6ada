"""The report: one HTML page that needs nothing else, from the template beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jcevns.paper.statements import VERDICTS
from jcevns.paper.steps import STEPS
from jcevns.plot import page

__all__ = ["render"]

_RESULTS = {"fig3": "sin2w_combined", "fig5": "fig5_statements"}
"""Steps whose result has a name of its own."""


def render(summary: dict[str, Any], figures: Sequence[tuple[str, Path, str]]) -> str:
    """The report as HTML: a section for each step with its figures, its table and the commands that give its numbers.

    Args:
        summary: content of summary.json.
        figures: step, PNG file and caption of each.
    """
    sections = [_section(name, summary, figures) for name in STEPS if name in summary["seconds"]]
    if summary["comparison"]:
        first = {
            "name": "comparison",
            "title": "The paper and this run",
            "figures": [],
            "result": summary["comparison"],
        }
        first["other"] = summary["comparison_other_flux_pull"]
        first["commands"] = _commands("comparison", [*first["result"], *first["other"]])
        sections.insert(0, first)
    facts = [*summary["versions"].items(), ("devices", ", ".join(summary["devices"]))]
    facts += [(f"seconds: {name}", f"{value:.2f}") for name, value in summary["seconds"].items()]
    menu = [(section["name"], section["title"]) for section in sections]
    menu += [("experiments", "Experiments"), ("data", "Data"), ("versions", "Versions and run time")]
    content = summary | {"sections": sections, "menu": menu, "facts": facts}
    return page.render("jcevns.paper", "report.html.j2", content, at=_at, ends=_ends, verdict_of=_verdict)


def _section(name: str, summary: dict[str, Any], figures: Sequence[tuple[str, Path, str]]) -> dict[str, Any]:
    title, results = STEPS[name].title, summary["results"]
    found = results.get(_RESULTS.get(name, name))
    rows = found if isinstance(found, list) else (found or {}).get("rows", [])
    return {
        "name": name,
        "title": title[0].upper() + title[1:],
        "figures": [page.picture(path.read_bytes(), words, title) for step, path, words in figures if step == name],
        "result": found,
        "priors": results.get("coupling-priors"),
        "commands": _commands(name, rows, f"jcevns reproduce --only {name}"),
    }


def _commands(name: str, rows: Sequence[dict[str, Any]], *own: str) -> list[tuple[str, str]]:
    """Anchor and text of each command of a section, its own first."""
    given = dict.fromkeys([*own, *(row["command"] for row in rows if row.get("command"))])
    return [(f"{name}-{i}", command) for i, command in enumerate(given)]


def _at(section: dict[str, Any], row: dict[str, Any]) -> str:
    """Anchor of the command that gives a row: that of the step if it has none of its own."""
    anchors = {command: anchor for anchor, command in section["commands"]}
    return anchors.get(row.get("command", ""), section["commands"][0][0])


def _ends(pair: Sequence[float | None], form: str = "%.3f", scale: float = 1.0) -> str:
    """A range."""
    return "[" + ", ".join("open" if e is None else form % (e / scale) for e in pair) + "]"


def _verdict(text: str) -> str:
    """Which of the verdicts a text begins with."""
    return next(v for v in VERDICTS if text.startswith(v))
