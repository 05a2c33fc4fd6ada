"""Fig. 5: our limits on four mediators over those of other experiments, and what the paper says about them."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from jcevns import datasets
from jcevns.files import write_csv
from jcevns.fit.batch import prepare
from jcevns.likelihood.likelihood import Likelihood, arranged
from jcevns.paper import statements
from jcevns.paper.exclusion import AXES, mediator_limits
from jcevns.paper.run import Run
from jcevns.plot import style
from jcevns.plot.exclusion import borders
from jcevns.statistics.limits import Limit

__all__ = ["CURVES", "ENDS", "ON_ELECTRONS", "PANELS", "Probe", "curve_of", "figure_5"]

PANELS = {"scalar": "scalar", "axial": "axial vector", "b-l": r"vector ($B-L$)", "vector": "vector (universal)"}
"""Panels and their titles."""

ENDS = (1e-2, 1e5)  # MeV
_SPIN = ("coherent-csi-2021",)


@dataclasses.dataclass(frozen=True)
class Probe:
    """Where one of our curves comes from.

    Attributes:
        experiments: names; empty for the paper's combination of XENONnT and PandaX-4T.
        bend: masses in MeV between which the limit is neither flat nor proportional to the mass.
        colour: of the line and its label.
        label: beside the line.
        legend: in the legend.
        per_decade: masses where the limit bends.
    """

    experiments: tuple[str, ...]
    bend: tuple[float, float]
    colour: str
    label: str
    legend: str
    per_decade: int = 12

    def masses(self) -> np.ndarray:
        """Where the limit is computed: closely where it bends, and at the ends of the axis."""
        low, high = self.bend
        close = np.geomspace(low, high, round(self.per_decade * np.log10(high / low)) + 1)
        return np.unique(np.concatenate([[ENDS[0]], close, [ENDS[1]]]))


_DETECTORS = ("coherent-csi-2021", "coherent-lar-2020"), ("xenonnt-er-2022", "lz-er-ws2022")
CURVES = {
    "8B": Probe((), (0.5, 500.0), "#D55E00", r"$^8$B", r"$^8$B: XENONnT + PandaX-4T US2 (reconstructed)"),
    "COHERENT": Probe(_DETECTORS[0], (1e-2, 1.5e3), "#0072B2", "COHERENT", "COHERENT CsI + LAr (axial: CsI)", 7),
    "electron recoils": Probe(
        _DETECTORS[1], (1e-2, 5.0), "#009E73", "electron recoils", "electron recoils: XENONnT + LZ"
    ),
    "TEXONO": Probe(("texono-2010",), (0.1, 100.0), "#CC79A7", "TEXONO", r"TEXONO ($\bar\nu_e e$)"),
}
"""Our curves, in every panel."""

ON_ELECTRONS = ("electron recoils", "TEXONO")
"""Curves from scattering on electrons alone."""


def curve_of(found: Sequence[Limit]) -> statements.Curve:
    """Smallest excluded coupling against mass."""
    lower = [r.excluded[0][0] if r.excluded else np.nan for r in found]
    return np.array([r.at["mass"] for r in found]), np.array(lower)


def _limits(run: Run) -> dict[str, dict[str, list[Limit]]]:
    """All curves, by panel; two at a time, since compilation and root finding both leave cores idle."""
    # 40Ar has no spin: axial limits of COHERENT come from CsI.
    held = {
        (p, n): _SPIN if (p, n) == ("axial", "COHERENT") else CURVES[n].experiments for n in CURVES for p in PANELS
    }
    built = {names: Likelihood(run.complementary(*names)) for names in dict.fromkeys(held.values()) if names}
    built[()] = run.likelihood("combined")  # as in Fig. 4
    # Electrons have the same charge under B-L and the universal vector: one computation serves both.
    chosen = {(p, n): built[names] for (p, n), names in held.items() if p != "vector" or n not in ON_ELECTRONS}
    for likelihood in built.values():
        prepare(arranged(likelihood))

    def one(key: tuple[str, str]) -> list[Limit]:
        return mediator_limits(chosen[key], key[0], CURVES[key[1]].masses())

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(chosen, pool.map(one, chosen), strict=True))
    done |= {("vector", n): done["b-l", n] for n in ON_ELECTRONS}
    return {panel: {name: done[panel, name] for name in CURVES} for panel in PANELS}


_COMMON = {"NA64": (55, 1.7e-5, 0), "Borexino": (0.33, 2e-2, 90), "beam dumps": (12, 3e-7, 0)}
_SHADED = {
    "b-l": _COMMON | {"BaBar": (2.5e3, 1.7e-4, 0), "LHCb": (3e4, 6e-4, 0), "CHARM-II": (190, 5e-5, 0)},
    "vector": _COMMON | {"BaBar": (2.5e3, 2.5e-4, 0), "LHCb": (3e4, 3e-4, 0), "NA64": (75, 1.1e-5, 0)},
    "axial": _COMMON | {"BaBar": (2.5e3, 1.7e-4, 0), "LHCb": (3e4, 2e-4, 0), "CHARM-II": (190, 4e-5, 0)},
}
"""Labels of the shaded regions: mass, coupling and rotation, at the border that each is alone to give."""

_BELOW = {"electron recoils": set(PANELS), "TEXONO": set(PANELS), "8B": {"scalar", "axial"}}
"""Curves and the panels in which their label is below the line, at its left end."""
_PLACE = {("scalar", "8B"): 12.0, ("b-l", "COHERENT"): 0.5, ("vector", "COHERENT"): 0.3, ("axial", "COHERENT"): 0.2}
"""Labels that stand elsewhere, by mass in MeV."""
_ENDING = {("axial", "COHERENT")}
"""Labels that end at their place, where the line is steep."""


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
    for text, (mass, coupling, rotation) in _SHADED.get(panel, {}).items():
        ax.text(mass, coupling, text, fontsize=7, color="#555555", ha="center", va="center", rotation=rotation)


def _draw(ax: Axes, panel: str, found: dict[str, list[Limit]]) -> None:
    """One panel: regions of others, our lines, allowed bands hatched."""
    _existing(ax, panel)
    for name, results in found.items():
        colour = CURVES[name].colour
        mass, lower, island, above = borders(results)
        ax.plot(mass, lower, color=colour, lw=2.0, label=CURVES[name].legend)
        ax.plot(mass, above, color=colour, lw=0.9)
        ax.fill_between(mass, island, above, facecolor="none", edgecolor=colour, hatch="/////", lw=0.9)
        below, at = panel in _BELOW.get(name, ()), _PLACE.get((panel, name), ENDS[0])
        place, va = (at, lower[np.searchsorted(mass, at)]), "top" if below else "bottom"
        ha, aside = ("right", -4) if (panel, name) in _ENDING else ("left", 4)
        ax.annotate(
            *(CURVES[name].label, place, (aside, -4 if below else 3)),
            **{"textcoords": "offset points", "ha": ha, "va": va, "color": colour, "fontsize": 8},
        )
    ax.set(xscale="log", yscale="log", xlabel=AXES[0], ylabel=AXES[1], title=PANELS[panel])
    ax.set(xlim=ENDS, ylim=(2e-8, 1.0))


def figure_5(run: Run) -> None:
    """Four panels of limits, and the paper's sentences about them with a verdict each."""
    found = _limits(run)
    with style.style():
        fig, axes = style.figure(columns=2, rows=2, width=4.3, height=3.8)
        for ax, panel in zip(axes, PANELS, strict=True):
            _draw(ax, panel, found[panel])
        handles, labels = axes[0].get_legend_handles_labels()
        handles.append(Patch(facecolor="#EAEAEA", edgecolor="#AAAAAA"))
        fig.legend(handles, [*labels, "other experiments (DarkCast)"], loc="outside upper center", ncols=3)
        paths = style.save(fig, run.out / "fig5_limits")
    rows = [
        [panel, name, r.at["mass"], low, high]
        for panel, curves in found.items()
        for name, results in curves.items()
        for r in results
        for low, high in r.excluded
    ]
    write_csv(run.out / "fig5_limits.csv", ["panel", "curve", "mass_MeV", "lower", "upper"], rows)
    checked = [_checked(said, found[said.panel]) for said in statements.STATEMENTS]
    run.results["fig5_statements"] = checked
    content = [[" ".join(map(str, v)) if isinstance(v, list) else v for v in row.values()] for row in checked]
    write_csv(run.out / "fig5_statements.csv", list(checked[0]), content)
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
    """What the figure shows, whom to credit, and what it lacks."""
    table = datasets.read_table("existing_limits")
    papers = dict(zip(table["limit"], table["reference"], strict=True))
    return (
        "Fig. 5. Coloured: limits of this package at 90% CL, one parameter (Delta chi2 = 2.71 from the minimum over "
        "mass and coupling, as in Fig. 4); excluded is what lies above a line, but for the hatched bands, which are "
        "allowed. 8B: XENONnT (arXiv:2408.02877) and PandaX-4T US2 (arXiv:2407.10892) combined; the PandaX-4T US2 "
        "counts are a reconstruction. COHERENT: CEvNS in CsI (arXiv:2110.07730) and LAr (arXiv:2003.10630), in the "
        'axial panel CsI alone since 40Ar has no spin; shapes="none", that is without their shape systematics; in '
        "CsI with scattering on electrons. Electron recoils: XENONnT (arXiv:2207.11330) and LZ (arXiv:2207.03764; "
        "background digitised). TEXONO: rate of reactor neutrinos on electrons (arXiv:0911.1597). Grey: limits of "
        "other experiments on vectors and axial vectors, recast by DarkCast (arXiv:1801.04847), at the masses for "
        f"which it gives them: {'; '.join(f'{label}: {paper}' for label, paper in papers.items())}. Not obtained and "
        "so not drawn: limits of others on scalars; COHERENT, CONUS and CONNIE limits of others; contours from N_eff "
        "and SN1987A. PandaX-4T electron recoils are left out: the data are incomplete."
    )
