"""Card texts of the tables for COHERENT, the solar neutrinos, electron recoils, TEXONO and earlier limits."""

from __future__ import annotations

from text import FACTS, ISOTOPE_COLUMNS, OWN, CardText

Columns = dict[str, tuple[str, str]]
CSI = "COHERENT Collaboration, Measurement of the coherent elastic neutrino-nucleus scattering cross section on CsI"
LAR = "COHERENT Collaboration, data release from the first detection of CEvNS on argon"
BAHCALL = (
    "J. N. Bahcall, Phys. Rev. C 56, 3391 (1997); J. N. Bahcall and R. K. Ulrich, Rev. Mod. Phys. 60, 297 (1988)"
)
XENONNT = "XENON Collaboration, Search for New Physics in Electronic Recoil Data from XENONnT"
LZ = "LZ Collaboration, Search for New Physics via Low-Energy Electron Recoils with a 4.2 Tonne x Year Exposure"
RUN0 = "PandaX Collaboration, A Search for Light Fermionic Dark Matter Absorption on Electrons in PandaX-4T"
RUN1 = "PandaX Collaboration, Exploring New Physics with PandaX-4T Low Energy Electronic Recoil Data"
RRPA = "J.-W. Chen et al., Low-energy electronic recoil in xenon detectors by solar neutrinos"
TEXONO = "TEXONO Collaboration, Measurement of nu_e-bar electron scattering with a CsI(Tl) array at Kuo-Sheng"
DIGITISED = "digitised from the figure of the publication by the authors of SNuDD (arXiv:2302.12846)"
DOI_XENONNT, DOI_CSI = "10.1103/PhysRevLett.129.161805", "10.1103/PhysRevLett.129.081801"
DOI_LAR = "10.5281/zenodo.3903810"
ER_ENERGY = ("keV", "electron-recoil energy")
EFFICIENCY = ("1", "detection efficiency")


def _bins(background: str = "") -> Columns:
    """Columns of a binned electron-recoil spectrum."""
    columns = {
        "energy_lo_keV": ("keV", "lower edge, reconstructed energy"),
        "energy_hi_keV": ("keV", "upper edge, reconstructed energy"),
        "observed": ("events", "observed counts"),
    }
    return columns | ({"background": ("events", background)} if background else {})


def _quantities() -> Columns:
    """Columns of a list of named numbers."""
    return {
        "quantity": ("text", "what the row holds"),
        "value": ("see unit", "value"),
        "error": ("see unit", "symmetric standard deviation, 0 where none is stated"),
        "unit": ("text", "unit of value and error"),
        "status": ("text", "published or inferred"),
        "source": ("text", "where the number stands, or how it follows"),
    }


NUCLEI: dict[str, CardText] = {
    "cesium_iodide_isotopes": CardText(
        "Isotopes of caesium iodide", "published",
        "Masses, mole fractions and ground-state spins; half of the atoms are caesium, half iodine. The nuclear mass "
        "is the atomic mass less the electron masses; electron binding (below 0.4 MeV) is neglected. The sodium "
        "doping of the COHERENT crystal is left out.",
        "AME2020 atomic masses (Chinese Phys. C 45, 030003)", "", "10.1088/1674-1137/abddaf", FACTS, ISOTOPE_COLUMNS,
    ),
    "argon_isotopes": CardText(
        "Isotopes of natural argon", "published",
        "Masses, mole fractions and ground-state spins (all zero). The abundances are the standard terrestrial ones "
        "and were not compared with the evaluation. Argon from underground wells has other fractions of the rare "
        "isotopes.",
        "AME2020 atomic masses (Chinese Phys. C 45, 030003); standard isotopic abundances",
        "", "10.1088/1674-1137/abddaf", FACTS, ISOTOPE_COLUMNS,
    ),
}  # fmt: skip

COHERENT: dict[str, CardText] = {
    "coherent_csi_2021_counts": CardText(
        "COHERENT CsI 2021: counts and neutron backgrounds", "published",
        "99 bins, PE slow and time fast, an event on an edge belongs to the bin above. 1578 coincidence and 1295 "
        "anti-coincidence events (the steady-state background) with PE < 60 and t < 6 us, counted from the released "
        "event lists. brn and nin are the released PE and time shapes integrated over the bins, with the time "
        "efficiency applied (1 up to 0.52 us, then exp(-0.0494 (t - 0.52 us))), scaled to the published 18.4 and 5.6 "
        "events in the sum of all bins. Uncertainties: steady state 2.1%, brn 25%, nin 36%.",
        CSI, "2110.07730", DOI_CSI, FACTS,
        {
            "pe_lo": ("PE", "lower edge, photoelectrons"),
            "pe_hi": ("PE", "upper edge, photoelectrons"),
            "time_lo_us": ("us", "lower edge, time after the beam trigger"),
            "time_hi_us": ("us", "upper edge, time after the beam trigger"),
            "observed": ("events", "beam on, coincidence"),
            "anticoincidence": ("events", "beam on, anti-coincidence"),
            "brn": ("events", "expected beam-related neutrons"),
            "nin": ("events", "expected neutrino-induced neutrons"),
        },
    ),
    "coherent_csi_2021_response": CardText(
        "COHERENT CsI 2021: efficiency and scintillation curves", "published",
        "Efficiency at x photoelectrons: a / (1 + exp(-b (x - c))) + d. Scintillation: E_ee = a T + b T^2 + c T^3 + "
        "d T^4, both energies in MeV. The release labels both efficiency variations +1 sigma; here the first, with "
        "the higher efficiency, is called plus and the second minus. mode0 and mode1 are the two principal shape "
        "variations of one standard deviation.",
        CSI, "2110.07730", DOI_CSI, FACTS,
        {
            "curve": ("text", "efficiency or scintillation"),
            "variation": ("text", "nominal, plus, minus, mode0_plus, mode0_minus, mode1_plus or mode1_minus"),
            **{key: ("see description", f"coefficient {key}") for key in "abcd"},
        },
    ),
    "coherent_lar_2020_bins": CardText(
        "COHERENT LAr 2020: counts, predictions and their variations", "published",
        "Analysis A. 12 x 8 x 10 bins, energy slow and time fast; energy 0 to 120 keVee by 10, F90 0.5 to 0.9 by "
        "0.05, time -0.1 to 4.9 us by 0.5. 3752 observed events. Sums of the predictions: steady state 3152 +- 0.8% "
        "(the release quotes 3154 as normalisation), prompt neutrons 497 +- 32%, delayed neutrons 33 +- 100%, CEvNS "
        "128 +- 13%. The last eight columns are alternative shapes of the CEvNS and prompt-neutron predictions; all "
        "have the nominal sum but brn_time_plus, whose file sums to 523.7: compare shapes, not sums.",
        LAR, "2006.12659", DOI_LAR, FACTS,
        {
            "energy_keVee": ("keV", "bin centre, electron-equivalent energy"),
            "f90": ("1", "bin centre, share of light in the first 90 ns"),
            "time_us": ("us", "bin centre, time after the beam trigger"),
            "observed": ("events", "observed counts"),
            "steady_state": ("events", "steady-state background"),
            "prompt_brn": ("events", "prompt beam-related neutrons"),
            "delayed_brn": ("events", "delayed beam-related neutrons"),
            "cevns": ("events", "CEvNS signal"),
            "cevns_f90_plus": ("events", "CEvNS, F90 shape +1 sigma"),
            "cevns_f90_minus": ("events", "CEvNS, F90 shape -1 sigma"),
            "cevns_time": ("events", "CEvNS, mean time shifted"),
            "brn_energy_plus": ("events", "prompt neutrons, energy shape +1 sigma"),
            "brn_energy_minus": ("events", "prompt neutrons, energy shape -1 sigma"),
            "brn_time_plus": ("events", "prompt neutrons, mean time +1 sigma"),
            "brn_time_minus": ("events", "prompt neutrons, mean time -1 sigma"),
            "brn_time_width": ("events", "prompt neutrons, time width varied"),
        },
    ),
    "coherent_lar_2020_efficiency": CardText(
        "COHERENT LAr 2020: acceptance", "published",
        "Acceptance of analysis A at bin centres of 0.5 keVee, with the nuclear recoil energy of each.",
        LAR, "2006.12659", DOI_LAR, FACTS,
        {
            "energy_keVee": ("keV", "electron-equivalent energy"),
            "recoil_keV": ("keV", "nuclear recoil energy"),
            "efficiency": ("1", "acceptance"),
        },
    ),
}  # fmt: skip

SOLAR: dict[str, CardText] = {
    "solar_spectra": CardText(
        "pp, 13N, 15O and 17F neutrino spectra", "published",
        "Shapes at production, linearly re-gridded to 241 points each; pp from the paper of 1997, the others from "
        "that of 1988.",
        BAHCALL, "hep-ph/9710491", "10.1103/PhysRevC.56.3391", FACTS,
        {
            "source": ("text", "pp, n13, o15 or f17"),
            "energy_MeV": ("MeV", "neutrino energy"),
            "density_per_MeV": ("1/MeV", "probability density, unit area"),
        },
    ),
    "solar_lines": CardText(
        "7Be and pep neutrino lines", "published",
        "Line energies and shares. The 7Be shares come from the level scheme of 7Li; older solar work, and the card "
        "solar_fluxes_b16, rounds them to 10.3% and 89.7%. Line widths are neglected.",
        "J. N. Bahcall, The 7Be solar neutrino line, Phys. Rev. D 49, 3923 (1994); nuclear data for the shares",
        "astro-ph/9401024", "", FACTS,
        {
            "source": ("text", "be7 or pep"),
            "energy_MeV": ("MeV", "line energy"),
            "branching": ("1", "share of the neutrinos of the source"),
        },
    ),
    "solar_survival": CardText(
        "Survival probability of solar electron neutrinos", "computed",
        "Adiabatic LMA-MSW by day, averaged over the production regions of the B16-GS98 model: P = c13^4 <(1 + cos "
        "2theta12 cos 2theta12m)/2> + s13^4. sin^2 theta12 = 0.308, sin^2 theta13 = 0.02215, dm21^2 = 7.49e-5 eV^2. "
        "Tree-level CEvNS does not see flavour; electron scattering does.",
        "Production regions: N. Vinyoles et al., Astrophys. J. 835, 202 (2017)", "1611.09867",
        "10.3847/1538-4357/835/2/202", OWN,
        {
            "energy_MeV": ("MeV", "neutrino energy"),
            "pp": ("1", "survival probability, pp"),
            "be7": ("1", "survival probability, 7Be"),
            "b8": ("1", "survival probability, 8B"),
            "hep": ("1", "survival probability, hep"),
        },
    ),
    "xenon_shells": CardText(
        "Shells of the xenon atom", "published",
        "Binding energies and electrons per shell: an electron recoil frees the electrons that are bound by less.",
        RRPA, "1610.04177", "", FACTS,
        {
            "shell": ("text", "shell"),
            "binding_eV": ("eV", "binding energy"),
            "electrons": ("1", "electrons"),
        },
    ),
    "cesium_iodide_shells": CardText(
        "Shells of the caesium and the iodine atom", "published",
        "Binding energies and electrons per shell, as for xenon. Values of the X-Ray Data Booklet (table 1-1) as "
        "tabulated by Elam et al.; the outermost shell of caesium is the ionisation energy. Shells bound by less "
        "than 50 eV are of no consequence to a detector with a threshold of 0.5 keV.",
        "W. T. Elam et al., Radiat. Phys. Chem. 63, 121 (2002); G. P. Williams, X-Ray Data Booklet",
        "", "10.1016/S0969-806X(01)00227-4", FACTS,
        {
            "atom": ("text", "chemical symbol"),
            "shell": ("text", "shell"),
            "binding_eV": ("eV", "binding energy"),
            "electrons": ("1", "electrons"),
        },
    ),
    "xenon_rrpa_ratio": CardText(
        "Many-body over step-function rate of electron recoils in xenon", "digitised",
        "Ratio of the solar neutrino-electron rate of the relativistic random-phase approximation (RRPA) to that of "
        "free electrons above their binding energy, from curves digitised from the figure of the publication by the "
        "authors of SNuDD (arXiv:2302.12846). Take 1 outside the table.",
        RRPA, "1610.04177", "", FACTS,
        {"recoil_keV": ER_ENERGY, "ratio": ("1", "RRPA rate over step-function rate")},
    ),
}  # fmt: skip

RECOILS: dict[str, CardText] = {
    "xenonnt_er_2022_bins": CardText(
        "XENONnT SR0 electron recoils in 1 keV bins", "published",
        "433 events below 30 keV of the release, binned, and the best-fit background B0 times the exposure of 1.16 "
        "tonne-year. B0 has solar neutrinos, efficiency and resolution in it; sigma = 0.31 sqrt(E keV) + 0.0037 E.",
        XENONNT, "2207.11330", DOI_XENONNT, FACTS, _bins("B0, solar neutrinos included"),
    ),
    "xenonnt_er_2022_efficiency": CardText(
        "XENONnT SR0 efficiency of electron recoils", "published",
        "Total efficiency against reconstructed energy; interpolate linearly. Points that interpolation gives back "
        "within 1e-4 were dropped.",
        XENONNT, "2207.11330", DOI_XENONNT, FACTS, {"energy_keV": ER_ENERGY, "efficiency": EFFICIENCY},
    ),
    "xenonnt_er_2022_events": CardText(
        "XENONnT SR0 electron-recoil events", "published",
        "Reconstructed energies of the 433 events below 30 keV; 1.16 tonne-year.",
        XENONNT, "2207.11330", DOI_XENONNT, FACTS, {"energy_keV": ("keV", "reconstructed energy")},
    ),
    "xenonnt_er_2022_background": CardText(
        "XENONnT SR0 background B0", "published",
        "Best-fit total: solar neutrinos, efficiency and resolution included. Multiply by 1.16 tonne-year.",
        XENONNT, "2207.11330", DOI_XENONNT, FACTS,
        {
            "energy_keV": ("keV", "reconstructed energy"),
            "rate_per_tonne_year_keV": ("1/(tonne year keV)", "rate"),
        },
    ),
    "lz_er_ws2022_bins": CardText(
        "LZ WS2022 electron recoils in 1 keV bins", "digitised",
        f"471 counts of the one-dimensional search. The background is the total of the fit, solar neutrinos "
        f"included, {DIGITISED}. 0.904 tonne-year; sigma = 0.323 sqrt(E keV). First published in arXiv:2207.03764. "
        "37Ar makes the peak at 2.8 keV.",
        LZ, "2511.17350", "", FACTS, _bins("total of the fit, digitised"),
    ),
    "lz_er_ws2022_efficiency": CardText(
        "LZ WS2022 efficiency of electron recoils", "published",
        "Efficiency of the one-dimensional search against true energy, as packaged with SNuDD (arXiv:2302.12846).",
        LZ, "2511.17350", "", FACTS, {"energy_keV": ER_ENERGY, "efficiency": EFFICIENCY},
    ),
    "lz_er_ws2024_bins": CardText(
        "LZ WS2024 electron recoils in 1 keV bins", "digitised",
        f"1787 counts of the one-dimensional search. The background is the total of the fit, solar neutrinos "
        f"included, {DIGITISED}. 3.3 tonne-year; sigma = 0.323 sqrt(E keV).",
        LZ, "2511.17350", "", FACTS, _bins("total of the fit, digitised"),
    ),
    "lz_er_ws2024_efficiency": CardText(
        "LZ WS2024 efficiency of electron recoils", "published",
        "Efficiency of the one-dimensional search against true energy, as packaged with SNuDD (arXiv:2302.12846).",
        LZ, "2511.17350", "", FACTS, {"energy_keV": ER_ENERGY, "efficiency": EFFICIENCY},
    ),
    "pandax4t_er_run0_bins": CardText(
        "PandaX-4T Run0 electron recoils in 1 keV bins", "digitised",
        "1058 counts, read from the vector graphics of figure 3 of the publication by a third party; their sum is "
        "the published one. 0.63 tonne-year; sigma = 0.073 + 0.173 E - 6.5e-3 E^2 + 1.1e-4 E^3 in keV. Efficiency "
        "and background per bin were not obtainable: not fit for a likelihood as it stands.",
        RUN0, "2206.02339", "10.1103/PhysRevLett.129.161804", FACTS, _bins(),
    ),
    "pandax4t_er_run1_bins": CardText(
        "PandaX-4T Run1 electron recoils in 1 keV bins", "digitised",
        f"Counts and total background {DIGITISED}; the counts, 1431 in all, are rounded to integers (by less than "
        "0.1). The exposure of Run1 is not published with this search: a rate needs an assumption (about 1 "
        "tonne-year).",
        RUN1, "2408.07641", "", FACTS, _bins("total background, digitised"),
    ),
    "pandax4t_er_run1_efficiency": CardText(
        "PandaX-4T Run1 efficiency of electron recoils", "digitised",
        f"Efficiency {DIGITISED}. The exposure of Run1 is not published with this search.",
        RUN1, "2408.07641", "", FACTS, {"energy_keV": ER_ENERGY, "efficiency": EFFICIENCY},
    ),
    "texono_2010": CardText(
        "TEXONO antineutrino-electron scattering: totals", "published",
        "What a likelihood of the total rate needs: measured over Standard Model rate, energy window, flux, fission "
        "shares. The status column tells published numbers from inferred ones; counts per bin were not obtainable. "
        "An error of 0 means that none is stated.",
        TEXONO, "0911.1597", "10.1103/PhysRevD.81.072001", FACTS, _quantities(),
    ),
    "reactor_spectra": CardText(
        "Reactor antineutrino spectra per fission", "published",
        "Antineutrinos per MeV and fission: exp(sum_k c_k E^k), E in MeV, 2 to 8 MeV. U235, Pu239 and Pu241 of "
        "Huber, U238 of Mueller et al.",
        "P. Huber, Phys. Rev. C 84, 024617 (2011); T. A. Mueller et al., Phys. Rev. C 83, 054615 (2011)",
        "1106.0687", "10.1103/PhysRevC.84.024617", FACTS,
        {
            "isotope": ("text", "fissile isotope"),
            **{f"c{k}": (f"MeV^-{k}" if k else "1", f"coefficient of E^{k}") for k in range(6)},
        },
    ),
}  # fmt: skip

LIMIT_CARDS: dict[str, CardText] = {
    "existing_limits": CardText(
        "Earlier limits on vector and axial mediators", "computed",
        "Limits of the named experiments, recast with DarkCast v2 (P. Ilten, Y. Soreq, M. Williams, W. Xue; "
        "GPLv2 or later) for B-L, universal vector and universal axial couplings; give credit to DarkCast and to "
        "each experiment. Excluded: coupling_lo < g < coupling_hi; coupling_hi = 1e5 means no upper end. 0.01 to 1e5 "
        "MeV. Points are thinned to 2% in the coupling. Line searches (A1, APEX, BaBar, KLOE, LHCb, NA48/2) have "
        "thousands of points: per bin of mass the weakest limit, hence the largest coupling_lo, is kept, which is "
        "conservative. Where BaBar and LHCb cut out a resonance, two rows with both couplings 1e5 say that nothing "
        "is excluded. There are no scalar limits, no COHERENT, CONUS or CONNIE limits and no bounds from cosmology "
        "or supernovae here.",
        "P. Ilten, Y. Soreq, M. Williams, W. Xue, Serendipity in dark photon searches (DarkCast); the experiments in "
        "the column reference",
        "1801.04847", "", FACTS,
        {
            "interaction": ("text", "b-l, vector or axial"),
            "limit": ("text", "short label"),
            "key": ("text", "name of the limit in DarkCast"),
            "reference": ("text", "publication of the limit"),
            "mass_MeV": ("MeV", "mediator mass"),
            "coupling_lo": ("1", "lower end of the excluded couplings"),
            "coupling_hi": ("1", "upper end of the excluded couplings, 1e5 if there is none"),
        },
    ),
    "weak_mixing_angle": CardText(
        "Weak mixing angle from earlier experiments", "published",
        "Values to set beside the running MS-bar angle. Compared with an abstract of the source: E158 (0.2397 +- "
        "0.0010 +- 0.0008, an effective angle at its own scale), NuTeV (on-shell 0.2277 +- 0.0013 +- 0.0009), SLC, "
        "Tevatron, CMS. Recalled from the review of the Particle Data Group and the papers, not compared with a "
        "source: APV, Qweak, PVDIS, LEP1, and the momentum scales other than that of Qweak and E158 (Q^2 = 0.0248 "
        "and 0.026 GeV^2). The four angles at the Z pole are the effective leptonic ones less 0.00032; NuTeV is the "
        "on-shell value times 1.0348 and is known to shift with nuclear corrections. Both conversions are those of "
        "the Standard Model, recalled.",
        "The publication in the column reference; J. Erler and A. Freitas, Electroweak model and constraints on new "
        "physics, Review of Particle Physics",
        "", "", FACTS,
        {
            "label": ("text", "experiment"),
            "scale_MeV": ("MeV", "momentum transfer, or the Z mass"),
            "value": ("1", "sin^2 theta_W, MS-bar or as described"),
            "error": ("1", "standard deviation"),
            "reference": ("text", "publication"),
            "arxiv": ("text", "arXiv number"),
        },
    ),
    "weak_mixing_running": CardText(
        "Running of the weak mixing angle, MS-bar, one loop", "computed",
        "sin^2 theta_W = alpha/alpha_2, with both couplings run at one loop from below the electron mass, where "
        "1/alpha = 137.036 and sin^2 theta_W = 0.23857. Each fermion enters at its mass: c 1.27, b 4.18, t 172.57 "
        "GeV, charged leptons at theirs; the W (with the Higgs doublet) at 80.377 GeV, above which the slope is "
        "positive. u, d and s share one threshold, 138 MeV, chosen such that the angle is 0.23122 at the Z mass. No "
        "QCD corrections, no matching steps: a guide between the anchors, in a simplified form of the scheme of the "
        "reference. 60 scales of equal logarithmic spacing, and the W and Z masses.",
        "J. Erler and M. J. Ramsey-Musolf, Weak mixing angle at low energies, Phys. Rev. D 72, 073003 (2005)",
        "hep-ph/0409169", "10.1103/PhysRevD.72.073003", OWN,
        {"scale_MeV": ("MeV", "scale"), "sin2w": ("1", "sin^2 theta_W, MS-bar")},
    ),
}  # fmt: skip

COMPLEMENTARY_CARDS: dict[str, CardText] = {**NUCLEI, **COHERENT, **SOLAR, **RECOILS, **LIMIT_CARDS}
