"""Builders of the tables for COHERENT, the solar neutrinos, electron recoils and TEXONO."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import Table, column, digits, read_rows, require_close, thin

CSI, LAR, RECOILS = "coherent/csi_2110.07730", "coherent/lar_2006.12659", "electron_recoil"
PE_EDGES = np.array([0, 8, 12, 16, 20, 24, 32, 40, 50, 60], dtype=float)
TIME_EDGES = np.array([*(k / 8 for k in range(9)), 2, 4, 6], dtype=float)
TIME_CUT_US, TIME_RATE = 0.52, 0.0494  # time efficiency: 1, then exp(-rate (t - cut))


def count_events(path: Path) -> list[int]:
    """Counts events in the bins of the CsI analysis, lower edges included, PE slow and time fast."""
    pe, time = np.loadtxt(path).T
    row = np.searchsorted(PE_EDGES, pe, side="right") - 1
    col = np.searchsorted(TIME_EDGES, time, side="right") - 1
    inside = (row >= 0) & (row < len(PE_EDGES) - 1) & (col >= 0) & (col < len(TIME_EDGES) - 1)
    counts = np.zeros((len(PE_EDGES) - 1, len(TIME_EDGES) - 1), dtype=int)
    np.add.at(counts, (row[inside], col[inside]), 1)
    return counts.ravel().tolist()


def histogram_integral(path: Path, edges: np.ndarray, timing: bool) -> np.ndarray:
    """Integrates a histogram given at bin centres over other bins, with the time efficiency if it is a timing."""
    centre, content = np.loadtxt(path).T
    width = centre[1] - centre[0]
    grid = np.append(centre - width / 2, centre[-1] + width / 2)

    def accepted(t: np.ndarray) -> np.ndarray:
        late = (1 - np.exp(-TIME_RATE * np.maximum(t - TIME_CUT_US, 0))) / TIME_RATE
        return np.minimum(t, TIME_CUT_US) + late if timing else t

    total = np.zeros(len(edges) - 1)
    for k in range(len(total)):
        lo, hi = np.clip(grid[:-1], edges[k], edges[k + 1]), np.clip(grid[1:], edges[k], edges[k + 1])
        total[k] = np.sum(content / width * (accepted(hi) - accepted(lo)))
    return total


def csi_counts(inputs: Path) -> Table:
    """Counts and neutron backgrounds of the CsI 2021 release in the 99 bins of the analysis."""
    folder = inputs / CSI
    pe, time = np.meshgrid(np.arange(len(PE_EDGES) - 1), np.arange(len(TIME_EDGES) - 1), indexing="ij")
    table: dict[str, list[Any]] = {
        "pe_lo": PE_EDGES[pe.ravel()].tolist(),
        "pe_hi": PE_EDGES[pe.ravel() + 1].tolist(),
        "time_lo_us": TIME_EDGES[time.ravel()].tolist(),
        "time_hi_us": TIME_EDGES[time.ravel() + 1].tolist(),
        "observed": count_events(folder / "dataBeamOnC.txt"),
        "anticoincidence": count_events(folder / "dataBeamOnAC.txt"),
    }
    require_close("CsI events", [sum(table["observed"]), sum(table["anticoincidence"])], [1578, 1295], rtol=0.0)
    for name, events in (("brn", 18.4), ("nin", 5.6)):
        shape = np.outer(
            histogram_integral(folder / f"{name}PE.txt", PE_EDGES, timing=False),
            histogram_integral(folder / f"{name}Trec.txt", TIME_EDGES, timing=True),
        )
        table[name] = digits(events * shape / shape.sum())
    return table


def csi_response(inputs: Path) -> Table:
    """Coefficients of the efficiency and scintillation curves; the release names the two +1 sigma rows alike."""
    curves = {
        "efficiency": ("effCoefficients.txt", ("nominal", "plus", "minus")),
        "scintillation": (
            "scintRespCoefficients.txt",
            ("nominal", "mode0_plus", "mode0_minus", "mode1_plus", "mode1_minus"),
        ),
    }
    table: dict[str, list[Any]] = {key: [] for key in ("curve", "variation", "a", "b", "c", "d")}
    for curve, (file, variations) in curves.items():
        for variation, row in zip(variations, np.loadtxt(inputs / CSI / file), strict=True):
            for key, value in zip(table, (curve, variation, *row.tolist()), strict=True):
                table[key].append(value)
    return table


LAR_FILES = {
    "observed": ("datanobkgsub", 3752),
    "steady_state": ("bkgpdf", 3152),
    "prompt_brn": ("brnpdf", 497),
    "delayed_brn": ("delbrnpdf", 33),
    "cevns": ("cevnspdf", 128),
    "cevns_f90_plus": ("cevnspdf+1sigF90", 128),
    "cevns_f90_minus": ("cevnspdf-1sigF90", 128),
    "cevns_time": ("cevnspdfCEvNSTimingMeanSyst", 128),
    "brn_energy_plus": ("brnpdf+1sigEnergy", 497),
    "brn_energy_minus": ("brnpdf-1sigEnergy", 497),
    "brn_time_plus": ("brnpdf+1sigBRNTimingMean", 523.671),
    "brn_time_minus": ("brnpdf-1sigBRNTimingMean", 497),
    "brn_time_width": ("brnpdfBRNTimingWidthSyst", 497),
}


def lar_bins(inputs: Path) -> Table:
    """Counts and predictions of the LAr 2020 release; every file must have the same bins in the same order."""
    energy, f90, time = np.meshgrid(
        np.arange(5, 120, 10), np.arange(0.525, 0.9, 0.05), np.arange(0.15, 4.9, 0.5), indexing="ij"
    )
    bins = np.column_stack([energy.ravel(), f90.ravel(), time.ravel()])
    table: dict[str, list[Any]] = {}
    for name, (file, total) in LAR_FILES.items():
        rows = np.loadtxt(inputs / LAR / f"{file}.txt")
        require_close(f"bins of {file}", rows[:, :3], bins, rtol=1e-9, atol=1e-9)
        require_close(f"sum of {file}", rows[:, 3].sum(), total, rtol=1e-5)
        if not table:
            table = {key: rows[:, k].tolist() for k, key in enumerate(("energy_keVee", "f90", "time_us"))}
        table[name] = [int(value) for value in rows[:, 3]] if name == "observed" else rows[:, 3].tolist()
    return table


def lar_efficiency(inputs: Path) -> Table:
    """Acceptance of the LAr 2020 analysis."""
    rows = np.loadtxt(inputs / LAR / "CENNS10AnlAEfficiency.txt")
    return {key: rows[:, k].tolist() for k, key in enumerate(("energy_keVee", "recoil_keV", "efficiency"))}


def solar_spectra(inputs: Path) -> Table:
    """Shapes of the continuous solar spectra other than 8B and hep."""
    table: dict[str, list[Any]] = {"source": [], "energy_MeV": [], "density_per_MeV": []}
    for source in ("pp", "n13", "o15", "f17"):
        rows = read_rows(inputs / "solar" / "spectra" / f"{source}.csv")
        energy, density = column(rows, "E_MeV"), column(rows, "lambda_per_MeV")
        require_close(f"area of {source}", np.trapezoid(density, energy), 1.0, rtol=2e-4)
        table["source"] += [source] * len(rows)
        table["energy_MeV"] += energy
        table["density_per_MeV"] += density
    return table


def solar_lines(inputs: Path) -> Table:
    """The 7Be and pep lines."""
    raw = json.loads((inputs / "solar" / "spectra" / "lines.json").read_text(encoding="utf-8"))
    rows = [(name, *line) for name, key in (("be7", "7Be"), ("pep", "pep")) for line in raw[key]]
    return {key: [row[k] for row in rows] for k, key in enumerate(("source", "energy_MeV", "branching"))}


def solar_survival(inputs: Path) -> Table:
    """Survival probability of electron neutrinos; in vacuum it must follow from the mixing angles."""
    rows = read_rows(inputs / "solar" / "pee_adiabatic_b16gs98.csv")
    s12, s13 = 0.308, 0.02215
    vacuum = (1 - s13) ** 2 * (1 - 2 * s12 * (1 - s12)) + s13**2
    names = {"E_MeV": "energy_MeV", "pp": "pp", "7Be": "be7", "8B": "b8", "hep": "hep"}
    table = {new: column(rows, old) for old, new in names.items()}
    require_close("vacuum limit of the survival probability", table["pp"][0], vacuum, rtol=0.0, atol=3e-3)
    return table


def xenon_shells(inputs: Path) -> Table:
    """Shells of the xenon atom."""
    shells = json.loads((inputs / RECOILS / "xenon_shells.json").read_text(encoding="utf-8"))["shells"]
    require_close("xenon electrons", sum(shell[2] for shell in shells), 54, rtol=0.0)
    return {key: [shell[k] for shell in shells] for k, key in enumerate(("shell", "binding_eV", "electrons"))}


SUBSHELLS = ("1s", "2s", "2p1/2", "2p3/2", "3s", "3p1/2", "3p3/2", "3d3/2", "3d5/2",
             "4s", "4p1/2", "4p3/2", "4d3/2", "4d5/2", "5s", "5p1/2", "5p3/2", "6s")  # fmt: skip
BINDING_EV: dict[str, tuple[float, ...]] = {
    "Cs": (35985, 5714, 5359, 5012, 1211, 1071, 1003, 740.5, 726.6, 232.3, 172.4, 161.3, 79.8, 77.5, 22.7, 14.2, 12.1,
           3.9),
    "I": (33169, 5188, 4852, 4557, 1072, 931, 875, 630.8, 619.3, 186, 123, 123, 50.6, 48.9, 14.0, 3.0, 3.0),
}  # fmt: skip


def cesium_iodide_shells(inputs: Path) -> Table:
    """Shells of the caesium and the iodine atom; 5p of iodine has one electron too few."""
    del inputs
    table: dict[str, list[Any]] = {"atom": [], "shell": [], "binding_eV": [], "electrons": []}
    for atom, energies in BINDING_EV.items():
        for shell, energy in zip(SUBSHELLS, energies, strict=False):
            places = {"s": 2, "1/2": 2, "d3/2": 4, "p3/2": 4, "d5/2": 6}
            count = next(n for end, n in places.items() if shell.endswith(end))
            count -= (atom, shell) in (("Cs", "6s"), ("I", "5p3/2"))
            for key, value in zip(table, (atom, shell, float(energy), count), strict=True):
                table[key].append(value)
    for atom, total in (("Cs", 55), ("I", 53)):
        held = [n for a, n in zip(table["atom"], table["electrons"], strict=True) if a == atom]
        require_close(f"electrons of {atom}", sum(held), total, rtol=0.0)
    return table


def plain(file: str, names: dict[str, str], tolerance: float | None = None) -> Callable[[Path], Table]:
    """Makes a builder that renames columns and, with a tolerance, drops points that interpolation gives back."""

    def build(inputs: Path) -> Table:
        rows = read_rows(inputs / RECOILS / file)
        table = {new: column(rows, old) for old, new in names.items()}
        if tolerance is None:
            return table
        x, *curves = table.values()
        keep = thin(x, curves, tolerance)
        return {key: [values[k] for k in keep] for key, values in table.items()}

    return build


def bins(file: str, energy: str, total: int, background: str = "") -> Callable[[Path], Table]:
    """Makes a builder for a binned electron-recoil spectrum with 1 keV bins."""

    def build(inputs: Path) -> Table:
        rows = read_rows(inputs / RECOILS / file)
        table: dict[str, list[Any]] = {
            "energy_lo_keV": column(rows, f"E_lo_{energy}"),
            "energy_hi_keV": column(rows, f"E_hi_{energy}"),
            "observed": [int(row["counts"]) for row in rows],
        }
        require_close(f"counts of {file}", sum(table["observed"]), total, rtol=0.0)
        if background:
            table["background"] = column(rows, background)
        return table

    return build


def xenonnt_bins(inputs: Path) -> Table:
    """Counts and B0 of XENONnT, compared with the event list and with the rate times the exposure."""
    table = bins("xenonnt_sr0_er_1keV_binned.csv", "keV", 433, "B0_counts")(inputs)
    events = column(read_rows(inputs / RECOILS / "xenonnt_sr0_er_unbinned.csv"), "E_keV")
    require_close("XENONnT recoil events", np.histogram(events, np.arange(31))[0], table["observed"], rtol=0.0)
    rate = read_rows(inputs / RECOILS / "xenonnt_sr0_er_B0_total.csv")
    summed = np.array(column(rate, "B0_per_tykeV")).reshape(30, 10).sum(axis=1) * 0.1 * 1.16
    require_close("XENONnT B0", table["background"], summed, rtol=2e-3, atol=2.5e-2)
    return table


def texono(inputs: Path) -> Table:
    """Numbers of the TEXONO measurement that a rate-only likelihood needs."""
    raw = json.loads((inputs / RECOILS / "texono_reactor_flux.json").read_text(encoding="utf-8"))
    measured = "arXiv:0911.1597"
    rows: list[tuple[str, float, float, str, str, str]] = [
        ("ratio", 1.08, 0.0, "1", "published", measured),
        ("ratio_statistical_error", 0.21, 0.0, "1", "published", measured),
        ("ratio_systematic_error", 0.16, 0.0, "1", "published", measured),
        ("recoil_min", 3, 0.0, "MeV", "published", measured),
        ("recoil_max", 8, 0.0, "MeV", "published", measured),
        ("flux", 6.4e12, 0.0, "cm^-2 s^-1", "published", measured),
        ("mass", 187, 0.0, "kg", "published", measured),
        ("exposure_on", 29882, 0.0, "kg day", "published", measured),
        ("exposure_off", 7369, 0.0, "kg day", "published", measured),
        ("antineutrinos_per_fission", 7.2, 0.0, "1", "inferred", "a choice; not a number of TEXONO"),
        ("fission_fraction_U235", 0.55, 0.0, "1", "published", measured),
        ("fission_fraction_U238", 0.07, 0.0, "1", "published", measured),
        ("fission_fraction_Pu239", 0.32, 0.0, "1", "published", measured),
        ("fission_fraction_Pu241", 0.06, 0.0, "1", "published", measured),
    ]
    values = {row[0]: row[1] for row in rows}
    require_close("TEXONO flux", values["flux"], raw["total_flux_cm2_s"], rtol=1e-12)
    for isotope, share in raw["KSNPS_fission_fractions"].items():
        require_close(f"TEXONO share of {isotope}", values[f"fission_fraction_{isotope}"], share, rtol=1e-12)
    keys = ("quantity", "value", "error", "unit", "status", "source")
    return {key: [row[i] for row in rows] for i, key in enumerate(keys)}


def reactor_spectra(inputs: Path) -> Table:
    """Coefficients of the antineutrino spectra per fission."""
    raw = json.loads((inputs / RECOILS / "texono_reactor_flux.json").read_text(encoding="utf-8"))["coefficients"]
    return {"isotope": list(raw), **{f"c{k}": [raw[name][k] for name in raw] for k in range(6)}}


EFFICIENCY = {"E_keV": "energy_keV", "efficiency": "efficiency"}
COMPLEMENTARY: dict[str, Callable[[Path], Table]] = {
    "coherent_csi_2021_counts": csi_counts,
    "coherent_csi_2021_response": csi_response,
    "coherent_lar_2020_bins": lar_bins,
    "coherent_lar_2020_efficiency": lar_efficiency,
    "solar_spectra": solar_spectra,
    "solar_lines": solar_lines,
    "solar_survival": solar_survival,
    "xenon_shells": xenon_shells,
    "cesium_iodide_shells": cesium_iodide_shells,
    "xenon_rrpa_ratio": plain("rrpa_over_stepping.csv", {"T_keV": "recoil_keV", "ratio": "ratio"}),
    "xenonnt_er_2022_bins": xenonnt_bins,
    "xenonnt_er_2022_efficiency": plain(
        "xenonnt_sr0_er_efficiency.csv", {"E_rec_keV": "energy_keV", "efficiency": "efficiency"}, 1e-4
    ),
    "xenonnt_er_2022_events": plain("xenonnt_sr0_er_unbinned.csv", {"E_keV": "energy_keV"}),
    "xenonnt_er_2022_background": plain(
        "xenonnt_sr0_er_B0_total.csv", {"E_rec_keV": "energy_keV", "B0_per_tykeV": "rate_per_tonne_year_keV"}
    ),
    "lz_er_ws2022_bins": bins("lz_WS2022_er_1keV.csv", "keVee", 471, "bkg_fit_counts"),
    "lz_er_ws2022_efficiency": plain("lz_WS2022_er_efficiency.csv", EFFICIENCY),
    "lz_er_ws2024_bins": bins("lz_WS2024_er_1keV.csv", "keVee", 1787, "bkg_fit_counts"),
    "lz_er_ws2024_efficiency": plain("lz_WS2024_er_efficiency.csv", EFFICIENCY),
    "pandax4t_er_run0_bins": bins("pandax4t_run0_er_1keV_2206.02339.csv", "keV", 1058),
    "pandax4t_er_run1_bins": bins("pandax4t_run1_er_1keV.csv", "keVee", 1431, "bkg_total_counts"),
    "pandax4t_er_run1_efficiency": plain(
        "pandax4t_run1_er_efficiency.csv", {"E_keVee": "energy_keV", "efficiency": "efficiency"}
    ),
    "texono_2010": texono,
    "reactor_spectra": reactor_spectra,
}
