"""Texts of the data cards: what each table is, where it comes from and what its columns mean."""

from __future__ import annotations

from borexino import BOREXINO_CARDS
from complementary_cards import COMPLEMENTARY_CARDS
from oscillations import OSCILLATION_CARDS
from reactor import REACTOR_CARDS
from s2only import S2ONLY_CARDS
from text import FACTS, ISOTOPE_COLUMNS, OWN, CardText

ENERGY: tuple[str, str] = ("MeV", "neutrino energy")
DENSITY: tuple[str, str] = ("1/MeV", "probability density, about unit area")
RECOIL: tuple[str, str] = ("keV", "nuclear recoil energy")
BAHCALL = "J. N. Bahcall et al., Standard neutrino spectrum from 8B decay, Phys. Rev. C 54, 411 (1996)"
WINTER = "W. T. Winter et al., 8B neutrino spectrum, Phys. Rev. C 73, 025503 (2006)"
XENON_2024 = "XENON Collaboration, First Search for Light Dark Matter in the Neutrino Fog with XENONnT"
XENON_2026 = "XENON Collaboration, XENONnT solar 8B CEvNS data release, science runs 0-2"
PANDAX = "PandaX Collaboration, first indication of solar 8B CEvNS in PandaX-4T"
PAPER = (
    "V. De Romeri, D. K. Papoulias, C. A. Ternes, Bounds on new neutrino interactions from the first CEvNS "
    "data at direct detection experiments"
)


def _templates(year: int) -> CardText:
    """Card text of one XENONnT template pack."""
    per_bin = "events per tonne-year per bin"
    columns = {
        "run": ("text", "science run"),
        "recoil_keV": ("keV", "recoil energies of the response"),
        "t_yield": ("1", "anchors of t_ly and t_qy, in standard deviations"),
        "exposure_tonne_year": ("tonne year", "exposure of each run"),
        "response": ("1", "probability (run, recoil, t_ly, t_qy, bin) that a recoil is selected in the bin"),
        "neutron": (per_bin, "radiogenic neutron template (run, t_ly, t_qy, bin)"),
        "accidental": (per_bin, "accidental coincidence template (run, bin)"),
        "electronic": (per_bin, "electronic recoil template (run, bin)"),
        "observed": ("events", "observed counts (run, bin), integers"),
        "edges_cs2_PE": ("PE", "cS2 edges (run, 4)"),
        "edges_time_quantile": ("1", "edges of the S2pre/dt quantile (run, 4)"),
        "edges_s1_bdt": ("1", "edges of the S1 BDT score (run, 4)"),
        "edges_s2_bdt": ("1", "edges of the S2 BDT score (run, 4)"),
    }
    order = "The 81 bins run in C order over (cS2, S2pre/dt quantile, S1 BDT, S2 BDT), 3 bins each."
    yields = "Yield anchors t = -1, 0, 1 are published; -2, -3, 2, 3 extrapolate them linearly."
    if year == 2024:
        columns["b8_at_5p25e6"] = (per_bin, "released 8B template at 5.25e6 cm^-2 s^-1, as neutron")
        return CardText(
            "XENONnT response, backgrounds and counts, SR0 and SR1", "published",
            f"{order} {yields} The response was evaluated from the released yield basis on the released "
            "yield curves and re-gridded in recoil energy; its first node is 0.51 keV. Rates are per "
            "tonne-year: multiply by the exposure of the run. 37 observed events (9 and 28). The 2026 "
            "release assumes lower yields: do not mix the two.",
            XENON_2024, "2409.17868", "10.5281/zenodo.14522706", FACTS, columns,
        )  # fmt: skip
    return CardText(
        "XENONnT response, backgrounds and counts, SR0 to SR2", "published",
        f"{order} Rates are per tonne-year: multiply by the exposure of the run. 62 observed events (9, 28 "
        "and 25). The release comes without a statistical model and without 8B templates, and assumes "
        "lower yields than that of 2024: do not mix the two.",
        XENON_2026, "2604.06002", "10.5281/zenodo.20576156", "CC-BY-4.0", columns,
    )  # fmt: skip


def _yield_columns() -> dict[str, tuple[str, str]]:
    """Columns of the XENONnT yield table."""
    columns = {"recoil_keV": RECOIL}
    for key, unit, word in (("ly", "photons/keV", "light"), ("qy", "electrons/keV", "charge")):
        for suffix, shift in zip(("m3", "m2", "m1", "0", "p1", "p2", "p3"), range(-3, 4), strict=True):
            columns[f"{key}_{suffix}"] = (unit, f"{word} yield at t = {shift}")
    return columns


CARDS: dict[str, CardText] = {
    "b8_spectrum_bahcall1996": CardText(
        "8B neutrino spectrum, Bahcall 1996", "published",
        "Shape of the 8B neutrino spectrum at production, re-gridded to steps of 0.1 MeV; interpolate "
        "linearly. Default shape of the package.",
        BAHCALL, "nucl-th/9601044", "10.1103/PhysRevC.54.411", FACTS,
        {"energy_MeV": ENERGY, "density_per_MeV": DENSITY},
    ),
    "b8_spectrum_winter2006": CardText(
        "8B neutrino spectrum, Winter 2006", "published",
        "Shape of the 8B neutrino spectrum at production with its experimental shape uncertainty. The shift "
        "is signed and fully correlated: add k times the column for a move of k standard deviations.",
        WINTER, "nucl-ex/0406019", "10.1103/PhysRevC.73.025503", FACTS,
        {
            "energy_MeV": ENERGY,
            "density_per_MeV": DENSITY,
            "shift_per_MeV": ("1/MeV", "change of the density for one standard deviation"),
        },
    ),
    "hep_spectrum": CardText(
        "hep neutrino spectrum", "published",
        "Shape of the hep neutrino spectrum at production, linearly re-gridded to 241 points.",
        "J. N. Bahcall, Gallium solar neutrino experiments, Phys. Rev. C 56, 3391 (1997)",
        "hep-ph/9710491", "10.1103/PhysRevC.56.3391", FACTS,
        {"energy_MeV": ENERGY, "density_per_MeV": DENSITY},
    ),
    "solar_fluxes_b16": CardText(
        "B16 standard solar model fluxes", "published",
        "Total neutrino fluxes at the Earth for the high (GS98) and low (AGSS09met) metallicity models. The "
        "two 7Be lines share one row: 89.7% at 0.862 MeV, 10.3% at 0.384 MeV.",
        "N. Vinyoles et al., A new generation of standard solar models, Astrophys. J. 835, 202 (2017)",
        "1611.09867", "10.3847/1538-4357/835/2/202", FACTS,
        {
            "source": ("text", "reaction or decay"),
            "endpoint_MeV": ("MeV", "highest neutrino energy, or the line energy"),
            "gs98_cm2_s": ("cm^-2 s^-1", "flux, GS98"),
            "gs98_relative_error": ("1", "relative standard deviation, GS98"),
            "agss09met_cm2_s": ("cm^-2 s^-1", "flux, AGSS09met"),
            "agss09met_relative_error": ("1", "relative standard deviation, AGSS09met"),
        },
    ),
    "xenon_isotopes": CardText(
        "Isotopes of natural xenon", "published",
        "Masses, mole fractions and ground-state spins. The nuclear mass is the atomic mass less 54 electron "
        "masses; electron binding (below 0.4 MeV) is neglected.",
        "AME2020 atomic masses (Chinese Phys. C 45, 030003); CIAAW isotopic abundances",
        "", "10.1088/1674-1137/abddaf", FACTS,
        ISOTOPE_COLUMNS,
    ),
    "spin_multipoles": CardText(
        "Spin multipoles of the isotopes with spin in xenon and caesium iodide", "computed",
        "F_L(u) = exp(-u/2) sum_k c_k u^k, u = (q b)^2/2, of the transverse (Sigma') and longitudinal (Sigma'') spin "
        "responses, from one-body densities of the shell model (GCN5082 interaction). 129Xe is scaled to S00(0) of "
        "arXiv:1304.7684, and so is 127I; 131Xe needs no scaling. 133Cs is a stand-in: a single-particle 0g7/2 "
        "proton rescaled to <S_p> = -0.343 as recalled from the literature, unverified; its neutron part is zero. "
        "Normalised as in arXiv:2007.08529: S00 = sum_L (F_p + F_n)^2.",
        "Densities: dmscatter (github.com/ogorton/dmscatter); Klos, Menendez, Gazit, Schwenk, PRD 88, 083516; "
        "Hoferichter, Menendez, Schwenk, PRD 102, 074018",
        "1304.7684", "10.1103/PhysRevD.88.083516", FACTS,
        {
            "isotope": ("text", "mass number and symbol"),
            "L": ("1", "multipole order"),
            "response": ("text", "transverse (Sigma') or longitudinal (Sigma'')"),
            "nucleon": ("text", "proton or neutron"),
            "oscillator_fm": ("fm", "oscillator length b"),
            **{f"c{k}": ("1", f"coefficient of u^{k}") for k in range(8)},
        },
    ),
    "xenonnt_2024_templates": _templates(2024),
    "xenonnt_2026_templates": _templates(2026),
    "xenonnt_2024_s2_bins": CardText(
        "XENONnT counts per cS2 bin, SR0 and SR1", "published",
        "The 2024 templates at nominal yields times exposure, summed over all axes but cS2. Counts are "
        "events of one run, not rates; the cS2 edges differ between the runs.",
        XENON_2024, "2409.17868", "10.5281/zenodo.14522706", FACTS,
        {
            "run": ("text", "science run"),
            "bin": ("1", "cS2 bin"),
            "cs2_lo_PE": ("PE", "lower edge"),
            "cs2_hi_PE": ("PE", "upper edge"),
            "observed": ("events", "observed counts"),
            "accidental": ("events", "expected accidental coincidences"),
            "electronic": ("events", "expected electronic recoils"),
            "neutron": ("events", "expected radiogenic neutrons"),
            "b8_at_5p25e6": ("events", "released 8B template at a flux of 5.25e6 cm^-2 s^-1"),
        },
    ),
    "xenonnt_2024_efficiency": CardText(
        "XENONnT efficiency, SR0 and SR1", "computed",
        "Probability that a recoil is selected in any of the 81 bins, at nominal yields: the sum over bins "
        "of the 2024 response.",
        XENON_2024, "2409.17868", "10.5281/zenodo.14522706", FACTS,
        {"recoil_keV": RECOIL, "sr0": ("1", "efficiency in SR0"), "sr1": ("1", "efficiency in SR1")},
    ),
    "xenonnt_2024_yields": CardText(
        "Light and charge yields of the XENONnT 2024 release", "published",
        "Yields behind the 2024 response. t = -1, 0, 1 are published; t = -2, -3, 2, 3 extrapolate each side "
        "linearly and are clipped to the range 1 to 10 per keV, which bites below about 1 keV and in the "
        "light yield also at high energy.",
        XENON_2024, "2409.17868", "10.5281/zenodo.14522706", FACTS,
        _yield_columns(),
    ),
    "pandax4t_us2_bins": CardText(
        "PandaX-4T US2 bins, five reconstructions", "reconstructed",
        "NOT DATA. The publication's per-bin numbers were not obtainable; every per-bin value is constructed "
        "from published totals. All five tables have 332 observed events (published). Expected background: "
        "251 events (published) in T0, T2 and T4; 257 = 332 - 75 in T1 and T3. Signal: 48.85 events at a "
        "flux of 5.46e6 cm^-2 s^-1, spread over the bins with a NEST charge yield and binomial quanta. "
        "Background shapes are flat or exponential, with assumed cathode shares: T0 50%, T1 70%, T2 60%, "
        "T3 12%, T4 80%. The integer counts were chosen such that the fit of eq. 17 gives the flux of 7.7e6 "
        "cm^-2 s^-1 of arXiv:2411.11749; T1 to T4 reproduce its eqs. 18 and 21, so agreement there is by "
        "construction and tests nothing.",
        PANDAX, "2407.10892", "10.1103/PhysRevLett.133.191001", FACTS,
        {
            "table": ("text", "reconstruction, T0 to T4; T1 is the default"),
            "ne_lo": ("electrons", "lower edge"),
            "ne_hi": ("electrons", "upper edge"),
            "signal_at_5p46e6": ("events", "constructed 8B signal at 5.46e6 cm^-2 s^-1"),
            "cathode": ("events", "constructed cathode background"),
            "microdischarge": ("events", "constructed micro-discharge background"),
            "observed": ("events", "constructed counts"),
        },
    ),
    "pandax4t_us2_totals": CardText(
        "PandaX-4T US2 totals", "published",
        "Totals of the US2 search and the settings of its re-analysis in arXiv:2411.11749. The status column "
        "tells published numbers from inferred ones. An error of 0 means that none is stated.",
        PANDAX, "2407.10892", "10.1103/PhysRevLett.133.191001", FACTS,
        {
            "quantity": ("text", "what the row holds"),
            "value": ("see unit", "value"),
            "error": ("see unit", "symmetric standard deviation, 0 where none is stated"),
            "unit": ("text", "unit of value and error"),
            "status": ("text", "published or inferred"),
            "source": ("text", "where the number stands, or how it follows"),
        },
    ),
    "pandax4t_charge_yield": CardText(
        "NEST v2 charge yield of nuclear recoils in PandaX-4T", "computed",
        "Mean charge yield in the closed form of NEST v2 for a density of 2.862 g/cm^3 and the drift fields "
        "of PandaX-4T runs 0 (93 V/cm) and 1 (84 V/cm). Electron counts of 4 and 8 map to recoils of 0.66 "
        "and 1.19 keV. The simulation code returns zero at 0.2 keV and below, the closed form does not.",
        "M. Szydagis et al., NEST, noble element simulation technique, version 2",
        "", "10.5281/zenodo.1314669", OWN,
        {
            "recoil_keV": RECOIL,
            "qy_93_V_per_cm": ("electrons/keV", "charge yield at 93 V/cm"),
            "qy_84_V_per_cm": ("electrons/keV", "charge yield at 84 V/cm"),
        },
    ),
    "paper_results": CardText(
        "Flux and weak mixing angle of arXiv:2411.11749", "published",
        "Best fits and Delta chi2 = 1 intervals of eqs. 18 to 23, the reference for this package's own fits.",
        PAPER, "2411.11749", "", FACTS,
        {
            "equation": ("1", "equation number"),
            "quantity": ("text", "flux (8B) or sin2w (weak mixing angle at low energy)"),
            "dataset": ("text", "pandax4t, xenonnt or combined"),
            "value": ("see unit", "best fit"),
            "error_up": ("see unit", "upper error, positive"),
            "error_down": ("see unit", "lower error, positive"),
            "unit": ("text", "unit of the three numbers"),
        },
    ),
    **COMPLEMENTARY_CARDS,
    **OSCILLATION_CARDS,
    **BOREXINO_CARDS,
    **S2ONLY_CARDS,
    **REACTOR_CARDS,
}  # fmt: skip
