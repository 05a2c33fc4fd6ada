"""Tables of the XENONnT search with ionisation signals alone, science runs 0 to 2; their builders and cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import Table, column, read_rows, require_close
from text import CardText

RUNS = ("sr0", "sr1", "sr2")
NOMINAL = 3  # index of t = 0
COMPONENTS = {"cathode": "cathode", "de": "delayed_electrons", "ae": "accidentals"}
MODELS = {"wimp_si": "limit_wimp_si.csv", "wimp_si_light_mediator": "limit_wimp_si_light_mediator.csv"}
REFERENCE = "XENON Collaboration, XENONnT search with ionisation signals alone, data release, science runs 0-2"
LICENCE = (
    "none stated: no licence file, the Zenodo metadata of the release say MIT; shipped as our re-gridded numbers"
)
COMMIT = "Commit dd00e04597a23c07324d41bc9773c0c59ed01337 of the release."


def _model(inputs: Path) -> dict[str, Any]:
    return json.loads((inputs / "xenonnt_s2only" / "model.json").read_text(encoding="utf-8"))


def templates(inputs: Path) -> dict[str, np.ndarray]:
    """Response, templates and counts."""
    with np.load(inputs / "xenonnt_s2only" / "xenonnt_s2only_2026.npz", allow_pickle=False) as pack:
        raw = {key: pack[key] for key in pack.files}
    exposure, edges = raw["exposure_t_y"], raw["cs2_edges_PE"]
    rows = read_rows(inputs / "xenonnt_s2only" / "events.csv")
    for i, run in enumerate(RUNS):
        events = [float(r["cS2_without_lifetime_correction_PE"]) for r in rows if r["run"] == run.upper()]
        counts, _ = np.histogram(events, edges)
        require_close(f"S2-only {run}: event list and counts", counts, raw["observed"][i], rtol=0.0)
        livetime = _model(inputs)["parameters"][f"livetime_{run}"]["nominal"]
        require_close(f"S2-only {run}: exposure", livetime, exposure[i], rtol=0.0)
    cathode = raw["cathode"].sum(axis=2)
    require_close("S2-only: cathode totals over t_sys", cathode, cathode[:, :1] * np.ones(7), rtol=1e-9)
    require_close("S2-only: accidentals of sr2", raw["accidentals"][2], np.zeros(7), rtol=0.0, atol=1e-9)
    require_close("S2-only: 8B events", raw["b8"][:, NOMINAL].sum(axis=1) * exposure, [20.6, 29.4, 32.3], rtol=2e-3)
    return {
        "run": np.array(RUNS),
        "recoil_keV": raw["energy_keV"],
        "t_qy": raw["t_qy"],
        "t_sys": raw["t_sys"],
        "exposure_tonne_year": exposure,
        "response": raw["response"],
        "b8_at_5p25e6": raw["b8"],
        "cathode": raw["cathode"],
        "delayed_electrons": raw["delayed_electrons"],
        "accidentals": raw["accidentals"],
        "wimp_si_6GeV_1e45": raw["wimp_si_6GeV_1e45"],
        "observed": raw["observed"].astype(np.int64),
        "edges_cs2_PE": edges,
    }


def widths(inputs: Path) -> Table:
    """What the release fits besides the strength of the signal, with widths and bounds."""
    parameters = _model(inputs)["parameters"]
    names = {"cevns_rate_multiplier": "b8"}
    names |= {f"{short}_{run}_rate_multiplier": f"{long}_{run}" for short, long in COMPONENTS.items() for run in RUNS}
    rows = [
        (names.get(name, name), record["kind"], *map(float, (record["nominal"], record["width"], *record["bounds"])))
        for name, record in parameters.items()
        if record["fitted"] and record["width"] is not None
    ]
    keys = ("parameter", "kind", "nominal", "width", "lower", "upper")
    return {key: [row[i] for row in rows] for i, key in enumerate(keys)}


def published_limits(inputs: Path) -> Table:
    """Limits and expected limits of the release."""
    bands = {
        "limit_cm2": "limit_after_power_constraint_cm2",
        "minus_2_sigma_cm2": "minus_2sigma_cm2",
        "minus_1_sigma_cm2": "minus_1sigma_cm2",
        "median_cm2": "median_sensitivity_cm2",
        "plus_1_sigma_cm2": "plus_1sigma_cm2",
        "plus_2_sigma_cm2": "plus_2sigma_cm2",
    }
    found: dict[str, list[Any]] = {"model": [], "mass_GeV": [], **{name: [] for name in bands}}
    for model, file in MODELS.items():
        rows = read_rows(inputs / "xenonnt_s2only" / file)
        found["model"] += [model] * len(rows)
        found["mass_GeV"] += column(rows, "mass_GeV")
        for name, old in bands.items():
            found[name] += column(rows, old)
    return found


S2ONLY: dict[str, Callable[[Path], Any]] = {
    "xenonnt_s2only_2026_templates": templates,
    "xenonnt_s2only_2026_widths": widths,
    "xenonnt_s2only_2026_limits": published_limits,
}

_PER_BIN = "events per tonne-year per bin"

S2ONLY_CARDS = {
    "xenonnt_s2only_2026_templates": CardText(
        "XENONnT ionisation signals alone: response, templates and counts, SR0 to SR2", "published",
        "Seven bins of S2, corrected but for the electron lifetime, per run. Rates are per tonne-year: multiply by "
        "the exposure of the run. 2554 observed events (583, 864 and 1107). The response was re-gridded in recoil "
        "energy, begins at 0.5 keV and has a floor of 1e-10; the released 8B template has recoils below 0.5 keV too. "
        "That the 8B template is at 5.25e6 cm^-2 s^-1 is inferred: its width, 3.81%, is 0.20/5.25, and the folded "
        "spectrum agrees. The total of the cathode template does not change with t_sys. The release counts no "
        f"accidentals in SR2. {COMMIT}",
        REFERENCE, "2601.11296", "", LICENCE,
        {
            "run": ("text", "science run"),
            "recoil_keV": ("keV", "recoil energies of the response"),
            "t_qy": ("1", "anchors of the charge yield, in standard deviations"),
            "t_sys": ("1", "anchors of the shape of the cathode background, in standard deviations"),
            "exposure_tonne_year": ("tonne year", "exposure of each run"),
            "response": ("1", "probability (run, t_qy, recoil, bin) that a recoil is selected in the bin"),
            "b8_at_5p25e6": (_PER_BIN, "8B template (run, t_qy, bin)"),
            "cathode": (_PER_BIN, "cathode template (run, t_sys, bin)"),
            "delayed_electrons": (_PER_BIN, "delayed-electron template (run, bin)"),
            "accidentals": (_PER_BIN, "accidental template (run, bin)"),
            "wimp_si_6GeV_1e45": (
                _PER_BIN,
                "WIMP of 6 GeV, spin-independent, 1e-45 cm^2 (run, t_qy, bin); a check, not used by the likelihood",
            ),
            "observed": ("events", "observed counts (run, bin), integers"),
            "edges_cs2_PE": ("PE", "edges of the bins"),
        },
    ),
    "xenonnt_s2only_2026_widths": CardText(
        "XENONnT ionisation signals alone: nuisances", "published",
        "What the release fits besides the strength of the signal. Rates and efficiencies are factors with relative "
        f"widths; shapes are in standard deviations. {COMMIT}",
        REFERENCE, "2601.11296", "", LICENCE,
        {
            "parameter": ("text", "background and run, efficiency, or shape; b8 is the rate of 8B neutrinos"),
            "kind": ("text", "rate, efficiency or shape"),
            "nominal": ("1", "centre of its Gaussian constraint"),
            "width": ("1", "1 sigma width"),
            "lower": ("1", "smallest value"),
            "upper": ("1", "largest value"),
        },
    ),
    "xenonnt_s2only_2026_limits": CardText(
        "XENONnT ionisation signals alone: limits on WIMPs", "published",
        "90% limits on the WIMP-nucleon cross section, for checks. `limit_cm2` is after the power constraint: at "
        f"some masses it equals the -1 sigma expected limit, and the data alone would give less. {COMMIT}",
        REFERENCE, "2601.11296", "", LICENCE,
        {
            "model": ("text", "spin-independent, or the same with a light mediator"),
            "mass_GeV": ("GeV", "mass of the WIMP"),
            "limit_cm2": ("cm^2", "observed, after the power constraint"),
            "minus_2_sigma_cm2": ("cm^2", "expected without signal, -2 sigma"),
            "minus_1_sigma_cm2": ("cm^2", "expected, -1 sigma"),
            "median_cm2": ("cm^2", "expected, median"),
            "plus_1_sigma_cm2": ("cm^2", "expected, +1 sigma"),
            "plus_2_sigma_cm2": ("cm^2", "expected, +2 sigma"),
        },
    ),
}  # fmt: skip
