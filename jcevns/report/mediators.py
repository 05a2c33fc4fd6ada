"""Fig. 5: our limits on four mediators over those of other experiments, and what the paper says about them."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jcevns import datasets
from jcevns.inference.batch import prepare
from jcevns.inference.limits import Limit, limits
from jcevns.likelihood.joint import Likelihood
from jcevns.report import statements, style, tables
from jcevns.report.exclusion import AXES, borders
from jcevns.report.run import Run

__all__ = ["CURVES", "PANELS", "Source", "curve_of", "figure_5"]

PANELS = {"scalar": "scalar", "axial": "axial vector", "b-l": r"vector ($B-L$)", "vector": "vector (universal)"}
"""Panels and their titles."""

ENDS, PER_DECADE = (1e-2, 1e5), 12  # MeV
_SPIN = ("coherent-csi-2021",)  # 40Ar has no spin


@dataclasses.dataclass(frozen=True)
class Source:
    """Where one of our curves comes from.

    Attributes:
        experiments: names; empty for the paper's combination of XENONnT and PandaX-4T.
        bend: masses in MeV between which the limit is neither flat nor proportional to the mass.
        colour: of the line and its label.
        label: in the figure.
    """

    experiments: tuple[str, ...]
    bend: tuple[float, float]
    colour: str
    label: str

    def masses(self) -> np.ndarray:
        """Where the limit is computed: closely where it bends, and at the ends of the axis, between which it is straight."""
        low, high = self.bend
        close = np.geomspace(low, high, round(PER_DECADE * np.log10(high / low)) + 1)
        return np.unique(np.concatenate([[ENDS[0]], close, [ENDS[1]]]))


CURVES = {
    "8B": Source((), (0.5, 500.0), "#D55E00", r"$^8$B: XENONnT + PandaX-4T"),
    "COHERENT": Source(("coherent-csi-2021", "coherent-lar-2020"), (2.0, 2000.0), "#0072B2", "COHERENT"),
    "electron recoils": Source(
        ("xenonnt-er-2022", "lz-er-ws2022"), (1e-2, 5.0), "#009E73", "XENONnT + LZ, e recoils"
    ),
    "TEXONO": Source(("texono-2010",), (0.1, 100.0), "#CC79A7", "TEXONO"),
}
"""Our curves, in every panel."""


def curve_of(found: Sequence[Limit]) -> statements.Curve:
    """Smallest excluded coupling against mass."""
    lower = [r.excluded[0][0] if r.excluded else np.nan for r in found]
    return np.array([r.mass for r in found]), np.array(lower)


def _likelihood(run: Run, name: str, panel: str) -> Likelihood:
    """Likelihood of a curve; the same conventions as in Fig. 4."""
    names = CURVES[name].experiments
    if not names:
        return run.likelihood("combined", True)
    return Likelihood(run.complementary(*(_SPIN if (name, panel) == ("COHERENT", "axial") else names)))


def _limits(run: Run) -> dict[str, dict[str, list[Limit]]]:
    """All curves, by panel; two at a time, since compilation and root finding both leave cores idle."""
    wanted = {(panel, name): _likelihood(run, name, panel) for name in CURVES for panel in PANELS}
    for likelihood in wanted.values():
        prepare(likelihood)

    def one(key: tuple[str, str]) -> list[Limit]:
        return limits(wanted[key], key[0], CURVES[key[1]].masses(), cl=0.90, dof=1, minimum="all")

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(wanted, pool.map(one, wanted), strict=True))
    return {panel: {name: done[panel, name] for name in CURVES} for panel in PANELS}


_BEAM_DUMPS = ("beam dumps", (12.0, 3e-7))
_LABELS: dict[str, tuple[tuple[str, tuple[float, float]], ...]] = {
    "axial": (_BEAM_DUMPS,),
    "b-l": (_BEAM_DUMPS,),
    "vector": (_BEAM_DUMPS,),
}
"""Labels of the shaded regions and where they stand, by panel."""

_PLACES: dict[str, dict[str, tuple[float, float, float]]] = {panel: {} for panel in PANELS}
"""Where the labels of our curves stand: mass, coupling, rotation."""


def _existing(ax: Axes, panel: str) -> None:
    """Regions excluded by others: one grey, outlined together."""
    table = datasets.read_table("existing_limits")
    here = table["interaction"] == panel
    for key in dict.fromkeys(table["key"][here]):
        chosen = here & (table["key"] == key)
        region = (table["mass_MeV"][chosen], table["coupling_lo"][chosen], table["coupling_hi"][chosen])
        # Outlines lie below all fills, so that only the border of the union is seen.
        ax.fill_between(*region, facecolor="none", edgecolor="#AAAAAA", lw=1.0, zorder=0.5)
        ax.fill_between(*region, color="#EAEAEA", lw=0, zorder=0.6)
    for text, (mass, coupling) in _LABELS.get(panel, ()):
        ax.text(mass, coupling, text, fontsize=7, color="#666666", ha="center", va="center", zorder=3)


def _draw(ax: Axes, panel: str, found: dict[str, list[Limit]]) -> None:
    _existing(ax, panel)
    for name, results in found.items():
        colour = CURVES[name].colour
        mass, lower, island, above = borders(results)
        ax.plot(mass, lower, color=colour, lw=2.0, zorder=2)
        if np.isfinite(above).any():
            ax.fill_between(
                mass, island, above, facecolor="white", edgecolor=colour, hatch="/////", lw=0.9, zorder=1.5
            )
        if name in _PLACES[panel]:
            x, y, rotation = _PLACES[panel][name]
            ax.text(x, y, CURVES[name].label, color=colour, fontsize=8, rotation=rotation, zorder=4)
    ax.set(xscale="log", yscale="log", xlabel=AXES["mass"], ylabel=AXES["coupling"], title=PANELS[panel])
    ax.set(xlim=ENDS, ylim=(1e-8, 1.0))


def figure_5(run: Run) -> None:
    """Four panels of limits, and the paper's sentences about them with a verdict each."""
    found = _limits(run)
    with style.style():
        fig, axes = style.figure(columns=2, rows=2, width=4.3, height=3.8)
        for ax, panel in zip(axes, PANELS, strict=True):
            _draw(ax, panel, found[panel])
        paths = style.save(fig, run.out / "fig5_limits")
    rows = [
        [panel, name, r.mass, low, high]
        for panel, curves in found.items()
        for name, results in curves.items()
        for r in results
        for low, high in r.excluded
    ]
    tables.write_csv(run.out / "fig5_limits.csv", ["panel", "curve", "mass_MeV", "lower", "upper"], rows)
    checked = [_checked(said, found[said.panel]) for said in statements.STATEMENTS]
    run.results["fig5_statements"] = checked
    content = [[" ".join(map(str, v)) if isinstance(v, list) else v for v in row.values()] for row in checked]
    tables.write_csv(run.out / "fig5_statements.csv", list(checked[0]), content)
    run.figures.append((paths[0], _caption()))


def _checked(said: statements.Statement, found: dict[str, list[Limit]]) -> dict[str, Any]:
    """A sentence of the paper, our verdict, and by how much our curve leads."""
    curves = {name: curve_of(results) for name, results in found.items()}
    text, ranges = statements.verdict(said, curves)
    mass, factor = statements.advantage(curves["8B"], [curves[name] for name in said.others])
    inside = factor[(mass >= said.low) & (mass <= said.high)]
    used = [r for name in ("8B", *said.others) for r in found[name]]
    return {
        "panel": said.panel,
        "paper": said.text,
        "compared_with": list(said.others),
        "ranges_MeV": [list(pair) for pair in ranges],
        "smallest_advantage": float(inside.min()),
        "largest_advantage": float(inside.max()),
        "verdict": text,
        "valid": all(r.valid for r in used),
    }


def _caption() -> str:
    return ""
