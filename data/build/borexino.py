"""Tables for Borexino: rates of phase II, spectrum and shapes of phase III; their builders and cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import Table, column, digits, read_rows, require_close
from text import FACTS, CardText

FOLDER = "borexino"
RATES = {"pp": "pp", "pep": "pep", "7Be (both lines)": "be7"}
SHAPES = {
    "pp": "pp", "Be7": "be7", "pep": "pep", "CNO": "cno", "Bi210": "bismuth210", "C11": "carbon11",
    "Kr85": "krypton85", "Ext_Bi214": "external_bismuth214", "Ext_K40": "external_potassium40",
    "Ext_Tl208": "external_thallium208",
}  # fmt: skip
OPEN = "Borexino open data, no licence stated; facts from the cited publication"


def _numbers(inputs: Path) -> dict[str, Any]:
    return json.loads((inputs / FOLDER / "borexino.json").read_text(encoding="utf-8"))


def rates(inputs: Path) -> Table:
    """Rates of phase II with their inverse covariance."""
    raw = _numbers(inputs)["phase2_rates"]
    inverse = np.array(raw["inverse_covariance"], float)
    require_close("symmetry of the inverse covariance", inverse, inverse.T, rtol=0.0)
    sides = np.array([raw["syst_plus"], raw["syst_minus"]], float).mean(axis=0)
    # The covariance of others must be near the errors of the publication, both sides averaged.
    require_close(
        "errors of the rates", np.sqrt(np.diag(np.linalg.inv(inverse))), np.hypot(raw["stat"], sides), rtol=0.12
    )
    return {
        "component": [RATES[name] for name in raw["order"]],
        "rate": [float(x) for x in raw["rates"]],
        "statistical": [float(x) for x in raw["stat"]],
        "systematic_up": [float(x) for x in raw["syst_plus"]],
        "systematic_down": [float(x) for x in raw["syst_minus"]],
        **{f"inverse_{RATES[name]}": inverse[:, k].tolist() for k, name in enumerate(raw["order"])},
    }


def spectrum(inputs: Path) -> Table:
    """Counts of phase III after the threefold coincidence, with the published fit."""
    rows, raw = read_rows(inputs / FOLDER / "phase3_spectrum.csv"), _numbers(inputs)["phase3"]
    counts = np.array(column(rows, "counts"))
    centre, width = np.array(column(rows, "E_centre_keV")), np.array(column(rows, "width_keV"))
    require_close("phase III: bins and events", [counts.size, counts.sum()], [raw["bins"], raw["counts"]], rtol=0.0)
    require_close("phase III: neighbouring bins", np.diff(centre), (width[1:] + width[:-1]) / 2, rtol=0.0, atol=1e-2)
    residual = [row["residual_data_minus_fit_over_sqrt_counts"] for row in rows]
    fit = [float(f"{n - float(r) * n**0.5:.6g}") if n > 0 else -1.0 for n, r in zip(counts, residual, strict=True)]
    require_close("phase III: area of the fit", sum(f for f in fit if f > 0), counts.sum(), rtol=2e-3)
    return {
        "channel": [int(float(row["N_h"])) for row in rows],
        "energy_keV": centre.tolist(),
        "width_keV": width.tolist(),
        "observed": [int(n) for n in counts],
        "fit": fit,
    }


def shapes(inputs: Path) -> Table:
    """Simulated shapes of ten components, per day, 100 t and keV; of unit area where no rate is stated."""
    rows, raw = read_rows(inputs / FOLDER / "phase3_mc_shapes.csv"), _numbers(inputs)["phase3"]
    low, high = np.array(column(rows, "E_low_keV")), np.array(column(rows, "E_high_keV"))
    require_close("phase III: neighbouring bins of the shapes", low[1:], high[:-1], rtol=0.0)
    known = raw["zero_threshold_rates_of_shapes_per_day_100t"]
    table: dict[str, list[Any]] = {"energy_lo_keV": low.tolist(), "energy_hi_keV": high.tolist()}
    for name, mine in SHAPES.items():
        density = np.array(column(rows, f"{name}_per_day_100t_keV"))
        area = float(density @ (high - low))
        if name in known and not 0.3 < area / known[name] < 1:
            raise SystemExit(f"{name}: {area:g} per day and 100 t above 88 keV, {known[name]:g} in all")
        table[mine] = density.tolist() if name in known else digits(density / area, 6)
    return table


def polonium(inputs: Path) -> Table:
    """Drawn curve of 210Po, as a density of unit sum over the channels."""
    rows = read_rows(inputs / FOLDER / "phase2_po210_shape_digitised.csv")
    drawn = np.array(column(rows, "po210_per_day_100t_N_h"))
    return {
        "channel": [int(float(row["N_h"])) for row in rows],
        "energy_keV": column(rows, "E_centre_keV"),
        "density": digits(drawn / drawn.sum(), 6),
    }


def numbers(inputs: Path) -> Table:
    """Exposure, rates that the shapes stand for, calibration, constraints, and published results to compare with."""
    raw = _numbers(inputs)["phase3"]
    own, third = "arXiv:2205.15975", "Newtrinos.jl, fitted to the published fit curve"
    rate = "per day and 100 t"
    fitted = raw["third_party_calibration"]
    rows: list[tuple[str, float, float, str, str, str]] = [
        ("exposure", raw["exposure_days"], 0.0, "day", "published", own),
        ("fiducial_mass", raw["fiducial_mass_t"], 0.0, "t", "published", own),
        ("exposure_kept", raw["exposure_fraction_kept_by_TFC_subtraction"], 0.0, "1", "published", own),
        ("electrons_per_100t", raw["electrons_per_100t"], 0.0, "1", "published", "arXiv:1707.09279"),
    ]
    for name, value in raw["zero_threshold_rates_of_shapes_per_day_100t"].items():
        rows.append((f"shape_rate_{SHAPES[name]}", value, 0.0, rate, "published", "arXiv:2005.12829"))
    for name, value in fitted["rates_per_day_100t"].items():
        rows.append((f"start_rate_{SHAPES.get(name, 'polonium210')}", value, 0.0, rate, "inferred", third))
    limit = raw["Bi210_upper_limit_per_day_100t"]
    rows.append(("bismuth210_limit", limit["value"], limit["sigma"], rate, "published", own))
    widths = raw["third_party_nuisance_widths"]
    choice = "Newtrinos.jl, a choice of its authors"
    rows += [
        ("energy_scale_error", widths["energy_scale"], 0.0, "1", "inferred", choice),
        ("energy_offset_error", widths["energy_offset_keV"], 0.0, "keV", "inferred", choice),
        ("smearing_error", widths["extra_smearing_keV_per_sqrt_MeV"], 0.0, "keV/MeV^0.5", "inferred", choice),
        ("background_error", widths["C11_and_external_rates"], 0.0, "1", "inferred", choice),
    ]
    found = raw["checks"]
    cno = found["CNO_published"]
    rows.append(("published_cno", cno["value"], (cno["plus"] + cno["minus"]) / 2, rate, "published", own))
    for at, value in found["minus_2_delta_lnL_CNO_published"].items():
        rows.append((f"published_cno_delta_chi2_at_{at}", value, 0.0, "1", "published", own))
    names = ("quantity", "value", "error", "unit", "status", "source")
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


BOREXINO: dict[str, Callable[[Path], Table]] = {
    "borexino_phase2_rates": rates,
    "borexino_phase3_numbers": numbers,
    "borexino_phase3_polonium": polonium,
    "borexino_phase3_shapes": shapes,
    "borexino_phase3_spectrum": spectrum,
}

CNO = "Borexino Collaboration, Improved Measurement of Solar Neutrinos from the Carbon-Nitrogen-Oxygen Cycle"
PHASE2 = "Borexino Collaboration, First Simultaneous Precision Spectroscopy of pp, 7Be, and pep Solar Neutrinos"
SENSITIVITY = "Borexino Collaboration, Sensitivity to neutrinos from the solar CNO cycle in Borexino"
DAY = "1/(day 100 t)"

BOREXINO_CARDS = {
    "borexino_phase2_rates": CardText(
        "Borexino phase II: rates of pp, pep and 7Be neutrinos", "published",
        "Counts per day and 100 t of electron recoils from zero energy up, with statistical and systematic errors. "
        "The inverse covariance of the three was published by the Super-Kamiokande Collaboration (arXiv:2312.12907); "
        "its errors are symmetric and up to 9% smaller than those of the publication, both sides averaged.",
        PHASE2, "1707.09279", "10.1103/PhysRevD.100.082004", FACTS,
        {
            "component": ("text", "pp, pep or be7, the sum of both lines"),
            "rate": (DAY, "measured rate"),
            "statistical": (DAY, "statistical error"),
            "systematic_up": (DAY, "upper systematic error, positive"),
            "systematic_down": (DAY, "lower systematic error, positive"),
            **{f"inverse_{name}": (f"({DAY})^-2", f"inverse covariance with {name}") for name in RATES.values()},
        },
    ),
    "borexino_phase3_numbers": CardText(
        "Borexino phase III: exposure, rates, calibration, constraints", "transcribed",
        "What the spectrum and the shapes of phase III are used with, and published results to compare with. The "
        "status column tells published numbers from choices and fits of others. An error of 0 means that none is "
        "stated. The error of published_cno is the mean of +2.0 and -0.8.",
        CNO, "2205.15975", "10.1103/PhysRevLett.129.252701", OPEN,
        {
            "quantity": ("text", "what the row holds"),
            "value": ("see unit", "value"),
            "error": ("see unit", "standard deviation, 0 where none is stated"),
            "unit": ("text", "unit of value and error"),
            "status": ("text", "published or inferred"),
            "source": ("text", "where the number stands, or how it follows"),
        },
    ),
    "borexino_phase3_polonium": CardText(
        "Borexino: shape of 210Po", "digitised",
        "The shape file of phase III was not obtainable: this is the curve of 210Po drawn in Fig. 6a of the "
        "publication of phase II, digitised by others, of unit sum over the channels.",
        PHASE2, "1707.09279", "10.1103/PhysRevD.100.082004", OPEN,
        {
            "channel": ("1", "hits, N_h"),
            "energy_keV": ("keV", "middle of the channel, reconstructed energy"),
            "density": ("1", "share of all events in this channel"),
        },
    ),
    "borexino_phase3_shapes": CardText(
        "Borexino: simulated shapes of ten components", "transcribed",
        "Densities in reconstructed energy. pp, be7, pep, cno and bismuth210 stand for the rates of "
        "borexino_phase3_numbers from zero energy up; the others have unit area above 87.6 keV.",
        SENSITIVITY, "2005.12829", "10.1140/epjc/s10052-020-08534-2", OPEN,
        {
            "energy_lo_keV": ("keV", "lower edge, reconstructed energy"),
            "energy_hi_keV": ("keV", "upper edge"),
            **{name: ("1/(day 100 t keV)", f"neutrinos, {name}") for name in ("pp", "be7", "pep", "cno")},
            "bismuth210": ("1/(day 100 t keV)", "beta decay of 210Bi in the scintillator"),
            **{name: ("1/keV", name.replace("_", ", ")) for name in list(SHAPES.values())[5:]},
        },
    ),
    "borexino_phase3_spectrum": CardText(
        "Borexino phase III: spectrum and published fit", "transcribed",
        "Counts per channel of hits after subtraction of 11C by the threefold coincidence, 137 to 953 hits. The fit "
        "is the curve of the publication, from counts and residuals: counts - residual sqrt(counts); -1 in the five "
        "channels without counts, which have no residual.",
        CNO, "2205.15975", "10.1103/PhysRevLett.129.252701", OPEN,
        {
            "channel": ("1", "hits, N_h"),
            "energy_keV": ("keV", "middle of the channel, reconstructed energy"),
            "width_keV": ("keV", "width of the channel"),
            "observed": ("events", "counts"),
            "fit": ("events", "published fit"),
        },
    ),
}  # fmt: skip
