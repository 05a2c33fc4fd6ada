"""One look for all figures: a context manager, and a palette that colour-blind readers can tell apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["COLOURS", "figure", "save", "style"]

COLOURS = {
    "pandax4t-us2": "#0072B2",
    "xenonnt-2024-s2": "#D55E00",
    "combined": "#000000",
    "signal": "#56B4E9",
    "cathode": "#009E73",
    "microdischarge": "#F0E442",
    "accidental": "#CC79A7",
    "electronic": "#0072B2",
    "neutron": "#999999",
}
"""Okabe-Ito colours, one meaning each."""

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


def save(fig: Figure, stem: Path) -> list[Path]:
    """Write PNG and PDF beside each other, without time stamps; the files appear whole or not at all."""
    paths = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        path = stem.with_suffix(suffix)
        partial = path.with_name(f".{path.name}.partial")
        with style():
            fig.savefig(partial, format=suffix[1:], metadata=metadata)
        partial.replace(path)
        paths.append(path)
        fig.set_layout_engine("none")  # laid out by the first: the second need not do it again
    return paths
