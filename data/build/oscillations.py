"""Tables for the oscillations of solar neutrinos: parameters, the Sun, the Earth; their builders and cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tables import Table, column, digits, read_rows, require_close
from text import FACTS, CardText

SOURCES = {
    "pp": "pp", "pep": "pep", "hep": "hep", "7Be": "be7", "8B": "b8", "13N": "n13", "15O": "o15", "17F": "f17",
}  # fmt: skip
STEP = 5  # of the rows of the B23 model that are kept: 0.005 in r/R
EDGE = 0.5  # r/R, beyond which nothing is produced


def parameters(inputs: Path) -> Table:
    """Oscillation parameters in both orderings."""
    stored = json.loads((inputs / "solar" / "nufit60.json").read_text(encoding="utf-8"))
    units = {"delta_CP_deg": "deg", "dm2_21_eV2": "eV^2", "dm2_31_eV2": "eV^2", "dm2_32_eV2": "eV^2"}
    rows = [
        (ordering, name, found["value"], found["plus"], found["minus"])
        for ordering in ("normal", "inverted")
        for name, found in stored[f"{ordering}_ordering"].items()
    ]
    return {
        "ordering": [row[0] for row in rows],
        "parameter": [row[1].removesuffix("_deg").removesuffix("_eV2") for row in rows],
        "value": [float(row[2]) for row in rows],
        "error_up": [float(row[3]) for row in rows],
        "error_down": [float(row[4]) for row in rows],
        "unit": [units.get(row[1], "1") for row in rows],
    }


def production(inputs: Path) -> Table:
    """Electron density and the places of production."""
    rows = read_rows(inputs / "solar" / "solar_model_b16_gs98.csv")
    radius = column(rows, "r_over_R")
    table = {"radius": radius, "log10_electron_density": column(rows, "log10_n_e_NA_per_cm3")}
    for raw, name in SOURCES.items():
        table[name] = digits(column(rows, f"dN_dr_{raw}_per_R"), 7)
        require_close(f"production of {raw}", np.trapezoid(table[name], radius), 1.0, rtol=2e-4)
    return table


def composition(inputs: Path) -> Table:
    """Neutrons per electron; hydrogen and isotopes with as many neutrons as protons give nearly the same."""
    rows = [row for row in read_rows(inputs / "solar" / "solar_model_b23_gs98.csv") if float(row["r_over_R"]) <= EDGE]
    electrons = 10 ** np.array(column(rows, "log10_n_e_NA_per_cm3"))
    ratio = np.array(column(rows, "n_n_NA_per_cm3_computed")) / electrons
    hydrogen = np.array(column(rows, "X_H"))
    require_close("neutrons per electron", ratio, (1 - hydrogen) / (1 + hydrogen), rtol=1e-2)
    return {"radius": column(rows, "r_over_R")[::STEP], "neutrons_per_electron": digits(ratio[::STEP], 6)}


def earth(inputs: Path) -> Table:
    """Shells of the Earth."""
    rows = read_rows(inputs / "solar" / "prem_25_shells.csv")
    density, fraction = np.array(column(rows, "mean_density_g_per_cm3")), np.array(column(rows, "Y_e"))
    require_close("electron density of the Earth", density * fraction, column(rows, "n_e_NA_per_cm3"), rtol=1e-4)
    edges = column(rows, "r_outer_km")
    require_close("edges of the shells", column(rows, "r_inner_km"), [0.0, *edges[:-1]], rtol=0.0)
    return {
        "radius_outer_km": edges,
        "density_g_per_cm3": [float(x) for x in density],
        "electron_fraction": [float(x) for x in fraction],
    }


def earth_density(inputs: Path) -> Table:
    """Electron density of the Earth as polynomials; it must be near that of the shells, but for the crust."""
    rows = read_rows(inputs / "solar" / "earth_n_e_even_powers.csv")
    names = {"outer_radius_over_R": "radius_outer", "alpha_NA_per_cm3": "alpha", "beta_NA_per_cm3": "beta"}
    table = {new: column(rows, old) for old, new in {**names, "gamma_NA_per_cm3": "gamma"}.items()}
    shells = read_rows(inputs / "solar" / "prem_25_shells.csv")
    edges = np.array([column(shells, "r_inner_km"), column(shells, "r_outer_km")])
    deep = edges[1] < 5700
    square = (edges.mean(axis=0)[deep] / 6371) ** 2
    layer = np.searchsorted(table["radius_outer"], np.sqrt(square))
    alpha, beta, gamma = (np.array(table[key])[layer] for key in ("alpha", "beta", "gamma"))
    found = alpha + beta * square + gamma * square**2
    require_close("electron density of the Earth", found, np.array(column(shells, "n_e_NA_per_cm3"))[deep], rtol=2e-2)
    return table


OSCILLATIONS: dict[str, Callable[[Path], Table]] = {
    "oscillation_parameters_nufit60": parameters,
    "solar_production_b16": production,
    "solar_composition_b23": composition,
    "earth_electron_density": earth_density,
    "earth_shells_prem": earth,
}

OSCILLATION_CARDS = {
    "oscillation_parameters_nufit60": CardText(
        "Neutrino oscillation parameters, NuFIT 6.0", "published",
        "Best fits and one-dimensional 1 sigma errors with the atmospheric data of Super-Kamiokande and IceCube, per "
        "mass ordering. The numbers were typed in and not compared with a machine-readable release.",
        "I. Esteban et al., NuFit-6.0: updated global analysis of three-flavor neutrino oscillations, JHEP 12 (2024) "
        "216", "2410.05380", "10.1007/JHEP12(2024)216", FACTS,
        {
            "ordering": ("text", "normal or inverted"),
            "parameter": ("text", "sin^2 of a mixing angle, CP phase, or difference of squared masses"),
            "value": ("see unit", "best fit"),
            "error_up": ("see unit", "upper error, positive"),
            "error_down": ("see unit", "lower error, positive"),
            "unit": ("text", "unit of the three numbers"),
        },
    ),
    "solar_production_b16": CardText(
        "Electron density and neutrino production in the Sun, B16-GS98", "published",
        "Electron density in moles per cm^3 (its logarithm is given to three decimals) and, per source, the "
        "density of the place of production in the radius, of unit integral; nothing beyond half the radius.",
        "N. Vinyoles et al., Astrophys. J. 835, 202 (2017)", "1611.09867", "10.3847/1538-4357/835/2/202", FACTS,
        {
            "radius": ("R_sun", "distance from the centre"),
            "log10_electron_density": ("log10(mol/cm^3)", "electron density"),
            **{name: ("1/R_sun", f"production of {raw} neutrinos") for raw, name in SOURCES.items()},
        },
    ),
    "solar_composition_b23": CardText(
        "Neutrons per electron in the Sun, B23-GS98", "computed",
        "Neutrons in nuclei per electron, from the composition of the model, every fifth row. Only the ratio is "
        "used; the electron density is that of the card solar_production_b16.",
        "Y. Herrera and A. Serenelli, Standard Solar Models B23 / SF-III, Zenodo (2023)", "",
        "10.5281/zenodo.10822316", "CC-BY-4.0, computed from the release of that licence",
        {
            "radius": ("R_sun", "distance from the centre"),
            "neutrons_per_electron": ("1", "neutron density over electron density"),
        },
    ),
    "earth_electron_density": CardText(
        "Electron density of the Earth as polynomials", "published",
        "n_e = alpha + beta x^2 + gamma x^4 in five layers, x the distance from the centre over the Earth's radius: "
        "PREM for neutrinos, with the mantle's density up to the surface instead of crust and ocean.",
        "E. Lisi and D. Montanino, Earth regeneration effect in solar neutrino oscillations: An analytic approach, "
        "Phys. Rev. D 56, 1792 (1997)", "hep-ph/9702343", "10.1103/PhysRevD.56.1792", FACTS,
        {
            "radius_outer": ("R_earth", "outer radius of the layer"),
            "alpha": ("mol/cm^3", "constant term"),
            "beta": ("mol/cm^3", "coefficient of x^2"),
            "gamma": ("mol/cm^3", "coefficient of x^4"),
        },
    ),
    "earth_shells_prem": CardText(
        "Density of the Earth in 25 shells, PREM", "computed",
        "Density of the preliminary reference Earth model, averaged along the radius in each shell; the shells keep "
        "its jumps. The electron fractions are not part of PREM: 0.467 in the core, 0.495 in mantle and crust, "
        "0.5556 (water) in the ocean.",
        "A. M. Dziewonski and D. L. Anderson, Phys. Earth Planet. Inter. 25, 297 (1981)", "",
        "10.1016/0031-9201(81)90046-7", FACTS,
        {
            "radius_outer_km": ("km", "outer radius of the shell"),
            "density_g_per_cm3": ("g/cm^3", "mean density"),
            "electron_fraction": ("mol/g", "moles of electrons per gram: protons over nucleons"),
        },
    ),
}  # fmt: skip
