"""Builders of the recast limits and of the weak mixing angle against scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import Rows, Table, column, digits, read_rows, thin

NO_LIMIT = 1e5  # stands for "no upper end" or "no limit": a table holds finite numbers only
POINTS = 60
MASS_RANGE = (0.01, 1e5)  # MeV
GAP = 1.03  # ratio of neighbouring masses from which a scan has a hole: a resonance that was cut out
MODELS = {"b-l": "B-L_boson", "vector": "universal_vector", "axial": "universal_axial"}
EXPERIMENTS = {  # key: (label, reference)
    "E141_Riordan1987aw": ("E141", "Riordan et al. 1987"),
    "E137_Bjorken2009mm": ("E137 2009", "Bjorken et al. 2009"),
    "E137_Andreas2012mt": ("E137 2012", "Andreas et al. 2012"),
    "E774_Bross1989mp": ("E774", "Bross et al. 1989"),
    "KEK_Konaka1986cb": ("KEK", "Konaka et al. 1986"),
    "Orsay_Davier1989wz": ("Orsay", "Davier and Nguyen Ngoc 1989"),
    "NuCAL_Blumlein1990ay": ("NuCAL 1990", "Bluemlein et al. 1990"),
    "NuCAL_Blumlein1991xh": ("NuCAL 1991", "Bluemlein et al. 1991"),
    "NuCAL_Tsai2019mtm": ("NuCAL 2019", "Tsai et al. 2019"),
    "CHARM_Bergsma1985qz": ("CHARM 1985", "Bergsma et al. 1985"),
    "CHARM_Tsai2019mtm": ("CHARM 2019", "Tsai et al. 2019"),
    "NOMAD_Astier2001ck": ("NOMAD", "Astier et al. 2001"),
    "PS191_Bernardi1985ny": ("PS191", "Bernardi et al. 1985"),
    "A1_Merkel2011ze": ("A1 2011", "Merkel et al. 2011"),
    "A1_Merkel2014avp": ("A1 2014", "Merkel et al. 2014"),
    "APEX_Abrahamyan2011gv": ("APEX", "Abrahamyan et al. 2011"),
    "BaBar_Lees2014xha": ("BaBar 2014", "Lees et al. 2014"),
    "BaBar_Lees2017lec": ("BaBar 2017", "Lees et al. 2017"),
    "LHCb_Aaij2017rft_prompt": ("LHCb 2017", "Aaij et al. 2017"),
    "LHCb_Aaij2019bvg_prompt": ("LHCb 2019", "Aaij et al. 2019"),
    "NA64_Banerjee2016tad": ("NA64 2016", "Banerjee et al. 2016"),
    "NA64_Banerjee2017hhz": ("NA64 2017", "Banerjee et al. 2017"),
    "NA64_Banerjee2018vgk": ("NA64 2018", "Banerjee et al. 2018"),
    "NA64_Banerjee2019hmi": ("NA64 2019 visible", "Banerjee et al. 2019"),
    "NA64_NA642019imj": ("NA64 2019 invisible", "NA64 Collaboration 2019"),
    "Texono_Bauer2018onh": ("TEXONO", "Bauer et al. 2018"),
    "Borexino_Bauer2018onh": ("Borexino", "Bauer et al. 2018"),
    "CHARMII_Bauer2018onh": ("CHARM-II", "Bauer et al. 2018"),
    "KLOE_Anastasi2018azp_combined": ("KLOE", "Anastasi et al. 2018"),
    "NA48_Batley2015lha": ("NA48/2", "Batley et al. 2015"),
}
SCANS = {  # searches for a narrow line: the weakest limit of each mass bin is kept
    "A1_Merkel2011ze",
    "A1_Merkel2014avp",
    "APEX_Abrahamyan2011gv",
    "BaBar_Lees2014xha",
    "BaBar_Lees2017lec",
    "LHCb_Aaij2017rft_prompt",
    "LHCb_Aaij2019bvg_prompt",
    "KLOE_Anastasi2018azp_combined",
    "NA48_Batley2015lha",
}
HOLES = {"BaBar_Lees2014xha", "LHCb_Aaij2017rft_prompt", "LHCb_Aaij2019bvg_prompt"}
Contour = list[tuple[float, float, float]]


def contour(key: str, rows: Rows) -> Contour:
    """Returns the points (mass in MeV, lower end, upper end) of one limit, thinned."""
    mass = np.array(digits(np.array(column(rows, "mass_GeV")) * 1e3, 6))
    low = np.array(column(rows, "g_lo"))
    high = np.array([float(row["g_hi"] or NO_LIMIT) for row in rows])
    inside = (mass >= MASS_RANGE[0]) & (mass <= MASS_RANGE[1])
    mass, low, high = mass[inside], low[inside], high[inside]
    if key in SCANS:
        return envelope(mass, low, holes=key in HOLES)
    keep = thin(np.log(mass), [np.log(low), np.log(high)], tolerance=0.02, limit=POINTS)
    return [(float(mass[k]), float(low[k]), float(high[k])) for k in keep]


def envelope(mass: np.ndarray, low: np.ndarray, holes: bool) -> Contour:
    """Returns the weakest limit per mass bin; bins are of equal width in log mass and do not cross holes.

    A hole is framed by two points without a limit, so that no line is drawn across it.
    """
    cuts = (np.flatnonzero(mass[1:] / mass[:-1] > GAP) + 1).tolist() if holes else []
    points: Contour = []
    width = np.log(mass[-1] / mass[0]) / (POINTS - 10 if holes else POINTS)
    for start, stop in zip([0, *cuts], [*cuts, len(mass)], strict=True):
        if points:
            edges = digits([points[-1][0] * 1.0001, mass[start] / 1.0001], 6)
            points += [(edge, NO_LIMIT, NO_LIMIT) for edge in edges]
        m, g = mass[start:stop], low[start:stop]
        index = np.floor(np.log(m / m[0]) / width * (1 - 1e-9)).astype(int)
        bins = [(m[index == k], g[index == k].max()) for k in np.unique(index)]
        segment = [(float(np.sqrt(x[0] * x[-1])), float(top)) for x, top in bins]
        first, last = (float(m[0]), segment[0][1]), (float(m[-1]), segment[-1][1])
        segment = [first, *segment[1:-1], last] if len(m) > 1 else [first]
        points += [(digits([x], 6)[0], top, NO_LIMIT) for x, top in segment]
    return points


def existing_limits(inputs: Path) -> Table:
    """Limits of earlier experiments on the three vector and axial mediators."""
    names = ("interaction", "limit", "key", "reference", "mass_MeV", "coupling_lo", "coupling_hi")
    table: dict[str, list[Any]] = {name: [] for name in names}
    for interaction, file in MODELS.items():
        rows = read_rows(inputs / "limits" / f"darkcast_{file}_all.csv")
        found = dict.fromkeys(row["limit"] for row in rows)
        for key in found:
            label, reference = EXPERIMENTS[key]
            for point in contour(key, [row for row in rows if row["limit"] == key]):
                for name, value in zip(names, (interaction, label, key, reference, *point), strict=True):
                    table[name].append(value)
    return table


# Effective leptonic angle at the Z pole less this is the MS-bar angle; the ratio turns the on-shell angle into it.
EFFECTIVE_TO_MSBAR, ONSHELL_TO_MSBAR = 0.00032, 1.0348


def weak_mixing_angle(inputs: Path) -> Table:
    """Literature values of the weak mixing angle; the raw inputs have none, so they stand here."""
    del inputs
    z_pole = 91187.6
    shift, scale = EFFECTIVE_TO_MSBAR, ONSHELL_TO_MSBAR
    rows = [
        ("APV (Cs)", 2.4, 0.2367, 0.0018, "Wood et al. 1997; Dzuba et al. 2012", "1207.5864"),
        ("Qweak", 157.5, 0.2383, 0.0011, "Qweak Collaboration 2018", "1905.08283"),
        ("E158", 161.2, 0.2397, 0.0013, "SLAC E158 Collaboration 2005", "hep-ex/0504049"),
        ("PVDIS", 1220.0, 0.2299, 0.0043, "JLab PVDIS Collaboration 2014", "1411.3200"),
        ("NuTeV", 4500.0, 0.2277 * scale, 0.0016 * scale, "NuTeV Collaboration 2002", "hep-ex/0110059"),
        ("LEP1", z_pole, 0.23188 - shift, 0.00021, "ALEPH et al. 2006", "hep-ex/0509008"),
        ("SLC", z_pole, 0.23098 - shift, 0.00026, "SLD Collaboration 2001", "hep-ex/0010015"),
        ("Tevatron", z_pole, 0.23148 - shift, 0.00033, "CDF and D0 Collaborations 2018", "1801.06283"),
        ("LHC (CMS)", z_pole, 0.23152 - shift, 0.00031, "CMS Collaboration 2024", "2408.07622"),
    ]
    keys = ("label", "scale_MeV", "value", "error", "reference", "arxiv")
    table: dict[str, list[Any]] = {key: [row[k] for row in rows] for k, key in enumerate(keys)}
    table["value"], table["error"] = digits(table["value"], 5), digits(table["error"], 2)
    return table


LOW_ANGLE, Z_ANGLE = 0.23857, 0.23122
W_MASS, Z_MASS = 80377.0, 91187.6  # MeV
FERMIONS = (  # (threshold in MeV, or 0 for the fitted one; colours; charge; third component of weak isospin)
    (0.51099895, 1, -1, -0.5), (105.6583755, 1, -1, -0.5), (1776.86, 1, -1, -0.5),
    (0.0, 3, 2 / 3, 0.5), (0.0, 3, -1 / 3, -0.5), (0.0, 3, -1 / 3, -0.5),
    (1270.0, 3, 2 / 3, 0.5), (4180.0, 3, -1 / 3, -0.5), (172570.0, 3, 2 / 3, 0.5),
)  # fmt: skip


def running(scales: np.ndarray, light: float) -> np.ndarray:
    """Runs the angle at one loop from below the electron mass, where it is constant, to each scale in MeV.

    Per unit of ln(scale), with sums over the fermions lighter than the scale:
    d(1/alpha) = -2/(3 pi) sum N Q^2, d(1/alpha_2) = -2/(3 pi) sum N T3 Q/2, and above the W mass
    +7/(2 pi) and +43/(12 pi) besides. Both inverse couplings are then piecewise linear.

    Args:
        scales: Scales.
        light: Threshold of the u, d and s quarks.
    """
    nodes = sorted({mass or light for mass, *_ in FERMIONS} | {W_MASS})
    electric, weak = 137.035999, LOW_ANGLE * 137.035999
    x, inverse, inverse_weak = [np.log(1e-3)], [electric], [weak]
    for k, node in enumerate(nodes):
        x.append(np.log(node))
        inverse.append(electric)
        inverse_weak.append(weak)
        top = np.log(nodes[k + 1]) if k + 1 < len(nodes) else np.log(1e9)
        active = [f for f in FERMIONS if (f[0] or light) <= node]
        bosons = node >= W_MASS
        slope = -2 / (3 * np.pi) * sum(n * q**2 for _, n, q, _ in active) + 7 / (2 * np.pi) * bosons
        slope_weak = -1 / (3 * np.pi) * sum(n * q * t for _, n, q, t in active) + 43 / (12 * np.pi) * bosons
        electric += slope * (top - np.log(node))
        weak += slope_weak * (top - np.log(node))
    x.append(np.log(1e9))
    inverse.append(electric)
    inverse_weak.append(weak)
    at = np.log(scales)
    return np.interp(at, x, inverse_weak) / np.interp(at, x, inverse)


def light_threshold() -> float:
    """Finds the threshold of the light quarks for which the angle at the Z mass has its value, by bisection."""
    lo, hi = 1.0, 1200.0
    for _ in range(60):
        middle = np.sqrt(lo * hi)
        too_low = running(np.array([Z_MASS]), middle)[0] < Z_ANGLE
        lo, hi = (middle, hi) if too_low else (lo, middle)
    if not 1.1 < lo < 1100:
        raise SystemExit(f"weak mixing angle: no light-quark threshold joins the anchors ({lo} MeV)")
    return float(lo)


def weak_mixing_running(inputs: Path) -> Table:
    """The angle on 60 scales of equal spacing in the logarithm, with the W and Z masses in between."""
    del inputs
    scales = np.sort(np.append(np.geomspace(0.1, 1e6, POINTS), [W_MASS, Z_MASS]))
    return {"scale_MeV": digits(scales, 7), "sin2w": digits(running(scales, light_threshold()), 7)}


LIMITS: dict[str, Callable[[Path], Table]] = {
    "existing_limits": existing_limits,
    "weak_mixing_angle": weak_mixing_angle,
    "weak_mixing_running": weak_mixing_running,
}
