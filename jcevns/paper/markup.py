"""Pieces of HTML that the report is made of: tables, numbers with errors, ranges."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = [
    "Columns",
    "Row",
    "between",
    "code",
    "ends",
    "fitted",
    "is_valid",
    "number",
    "pull",
    "scale",
    "small",
    "table",
    "value",
]

Row = Mapping[str, Any]
Columns = Mapping[str, str | Callable[[Row], str]]


def table(rows: Iterable[Row], columns: Columns) -> str:
    """A table: header to the key of a text, or a function that gives HTML; a header that starts with # is numeric."""

    def cell(tag: str, header: str, text: str) -> str:
        return f'<{tag} class="n">{text}</{tag}>' if header.startswith("#") else f"<{tag}>{text}</{tag}>"

    top = "".join(cell("th", header, header.lstrip("#")) for header in columns)
    body = ""
    for row in rows:
        cells = ((h, escape(str(row[c])) if isinstance(c, str) else c(row)) for h, c in columns.items())
        body += f"<tr>{''.join(cell('td', h, text) for h, text in cells)}</tr>\n"
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table>"


def small(text: str) -> str:
    """A paragraph in small print."""
    return f'<p class="small">{text}</p>'


def number(key: str, form: str, absent: str = "") -> Callable[[Row], str]:
    """Column of a number in a format."""
    return lambda row: absent if row[key] is None else format(row[key], form)


def code(key: str) -> Callable[[Row], str]:
    """Column of a name."""
    return lambda row: f"<code>{escape(row[key])}</code>"


def is_valid(row: Row) -> str:
    """Column: whether a fit is valid."""
    return "yes" if row["valid"] else "<b>no</b>"


def pull(row: Row) -> str:
    """Column: whether the 12% flux pull is on."""
    return "on" if row["flux_pull"] else "off"


def value(quantity: str, best: float, up: float | None, down: float | None) -> str:
    """Value with asymmetric errors, flux in 1e6."""
    size, digits = (1e6, 2) if quantity == "flux" else (1.0, 3)
    high = "open" if up is None else f"+{up / size:.{digits}f}"
    low = "open" if down is None else f"&minus;{down / size:.{digits}f}"
    return f"{best / size:.{digits}f} <sup>{high}</sup> <sub>{low}</sub>"


def between(quantity: str, best: float, low: float | None, high: float | None) -> str:
    """The same from the ends of its interval."""
    return value(quantity, best, None if high is None else high - best, None if low is None else best - low)


def fitted(key: str = "parameter") -> Callable[[Row], str]:
    """Column of a value with its errors."""
    return lambda row: value(row[key], row["best_fit"], row["error_up"], row["error_down"])


def ends(pair: Sequence[float | None], form: str = ".3f", scale: float = 1.0) -> str:
    """A range."""
    return "[" + ", ".join("open" if e is None else format(e / scale, form) for e in pair) + "]"


def scale(quantity: str) -> float:
    """Unit in which a quantity is written."""
    return 1e6 if quantity == "flux" else 1.0
