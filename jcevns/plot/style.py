"""One look for all figures: a context manager, a palette that colour-blind readers can tell apart, axis labels."""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jcevns.files import write_bytes
from jcevns.fit.rounding import unit_scale

__all__ = ["BANDS", "LINES", "axes_or_new", "axis_label", "figure", "is_log", "plain", "save", "style", "with_status"]

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe-Ito colours in the order in which lines take them."""

BANDS = ("#8FCB9B", "#FFE08A")
"""Fills of one and two standard deviations."""

_STYLE: dict[Any, Any] = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
    "font.size": 10,
    "axes.labelsize": 11,
    "axes.titlesize": 10.5,
    "axes.linewidth": 0.8,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.5,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.hashsalt": "jcevns",
}


@contextmanager
def style() -> Iterator[None]:
    """Publication style inside the block, the user's settings untouched outside."""
    with mpl.rc_context(_STYLE):
        yield


def figure(columns: int = 1, rows: int = 1, width: float = 3.6, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot, so that no global state is touched; panels in reading order."""
    fig = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns, squeeze=False)
    return fig, list(axes.ravel())


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    return figure()[1][0] if ax is None else ax


def axis_label(name: str, unit: str = "", label: str = "") -> tuple[str, float]:
    """Words for an axis, and what values are divided by there.

    Args:
        name: of the parameter, where there is no label.
        unit: of its values, as in `cm^-2 s^-1`.
        label: of its record, in TeX; a unit in brackets at its end is written anew.
    """
    scale, text = unit_scale(unit)
    text = re.sub(r"(?<!\S)1e(-?\d+)", r"$10^{\1}$", text.strip())
    text = re.sub(r"\^(-?\d+)", r"$^{\1}$", text).replace("mu_B", r"$\mu_B$")
    words = plain(label.partition(" [")[0] or name)
    return (f"{words} [{text}]" if text else words), scale


def plain(text: str) -> str:
    """Text for a figure: dollar signs that are no formula that can be drawn are dollar signs."""
    from matplotlib.mathtext import MathTextParser

    if text.count("$") % 2 == 0 and "$" in text:
        try:
            MathTextParser("path").parse(text)
            return text
        except ValueError:
            pass
    return text.replace("$", r"\$")


def is_log(values: Iterable[float]) -> bool:
    """Whether values call for a logarithmic axis: positive, over more than a decade and a half."""
    found = [float(v) for v in values]
    return min(found) > 0 and max(found) > 30 * min(found)


def save(fig: Figure, stem: Path) -> list[Path]:
    """Write PNG and PDF beside each other, without time stamps; the files appear whole or not at all.

    Args:
        fig: the figure.
        stem: path without suffix; one of the two at its end is left out, any other dot is part of the name.
    """
    if not stem.name:
        raise ValueError(f"{str(stem)!r} is no name for a figure: give a path without suffix, as in folder/figure")
    name = stem.stem if stem.suffix in (".png", ".pdf") else stem.name
    paths = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        path = stem.with_name(f"{name}{suffix}")
        content = io.BytesIO()
        with style():
            fig.savefig(content, format=suffix[1:], metadata=metadata)
        paths.append(write_bytes(path, content.getvalue()))
        fig.set_layout_engine("none")  # laid out by the first: the second need not do it again
    return paths


def with_status(title: str, status: str) -> str:
    """A title that says where the data are not those of a publication, as in "lz-er-ws2024 (digitised)"."""
    return title if status in ("published", "computed", "user") or status in title else f"{title} ({status})"
