"""Tables: checksums, documented sums, and what a user reads when something is wrong."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jcevns import datasets
from jcevns.datasets import DataError, read_arrays, read_csv, read_table

pytestmark = pytest.mark.filterwarnings("error")

REMEDY = "reinstall jcevns, or restore the file with git checkout -- data"
NAMES = (
    "argon_isotopes",
    "b8_spectrum_bahcall1996",
    "b8_spectrum_winter2006",
    "borexino_phase2_rates",
    "borexino_phase3_numbers",
    "borexino_phase3_polonium",
    "borexino_phase3_shapes",
    "borexino_phase3_spectrum",
    "cesium_iodide_isotopes",
    "cesium_iodide_shells",
    "coherent_csi_2021_counts",
    "coherent_csi_2021_response",
    "coherent_lar_2020_bins",
    "coherent_lar_2020_efficiency",
    "earth_electron_density",
    "earth_shells_prem",
    "existing_limits",
    "hep_spectrum",
    "lz_er_ws2022_bins",
    "lz_er_ws2022_efficiency",
    "lz_er_ws2024_bins",
    "lz_er_ws2024_efficiency",
    "oscillation_parameters_nufit60",
    "pandax4t_charge_yield",
    "pandax4t_er_run0_bins",
    "pandax4t_er_run1_bins",
    "pandax4t_er_run1_efficiency",
    "pandax4t_us2_bins",
    "pandax4t_us2_totals",
    "paper_results",
    "reactor_spectra",
    "solar_composition_b23",
    "solar_fluxes_b16",
    "solar_lines",
    "solar_production_b16",
    "solar_spectra",
    "solar_survival",
    "spin_multipoles",
    "texono_2010",
    "weak_mixing_angle",
    "weak_mixing_running",
    "xenon_isotopes",
    "xenon_rrpa_ratio",
    "xenon_shells",
    "xenonnt_2024_efficiency",
    "xenonnt_2024_s2_bins",
    "xenonnt_2024_templates",
    "xenonnt_2024_yields",
    "xenonnt_2026_templates",
    "xenonnt_er_2022_background",
    "xenonnt_er_2022_bins",
    "xenonnt_er_2022_efficiency",
    "xenonnt_er_2022_events",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A writable copy of the data folder, in use."""
    copy = tmp_path / "tables"
    copy.mkdir()
    for path in datasets.data_dir().iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    monkeypatch.setenv("JCEVNS_DATA", str(copy))
    return copy


def load(name: str) -> dict[str, np.ndarray]:
    return read_arrays(name) if datasets.card(name).file.endswith(".npz") else read_table(name)


def message(exc: pytest.ExceptionInfo[DataError], *parts: str) -> None:
    for part in parts:
        assert part in str(exc.value)


def test_cards_are_sorted_and_at_least_those_of_the_package() -> None:
    found = list(datasets.cards())
    assert found == sorted(found)
    assert set(NAMES) <= set(found)


@pytest.mark.parametrize("name", NAMES)
def test_table_verifies_and_has_the_columns_of_its_card(name: str) -> None:
    card, table = datasets.card(name), load(name)
    assert list(table) == [column.name for column in card.columns]
    assert card.description
    assert card.reference
    assert card.licence
    content = (datasets.data_dir() / card.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == card.sha256
    for column in card.columns:
        array = table[column.name]
        assert column.unit
        assert not array.flags.writeable
        if column.unit == "text":
            assert array.dtype.kind == "U"
        else:
            assert np.isfinite(array).all()
            assert array.dtype == np.float64 or card.file.endswith(".npz")


def test_returned_dict_can_be_changed_without_touching_the_next_read() -> None:
    read_table("xenon_isotopes").clear()
    assert len(read_table("xenon_isotopes")["Z"]) == 9


@pytest.mark.parametrize("name", ["b8_spectrum_bahcall1996", "b8_spectrum_winter2006", "hep_spectrum"])
def test_spectra_have_unit_area(name: str) -> None:
    table = read_table(name)
    assert np.trapezoid(table["density_per_MeV"], table["energy_MeV"]) == pytest.approx(1.0, abs=2e-5)
    assert (table["density_per_MeV"] >= 0).all()
    assert (np.diff(table["energy_MeV"]) > 0).all()


def test_winter_shift_keeps_the_area() -> None:
    table = read_table("b8_spectrum_winter2006")
    assert np.trapezoid(table["shift_per_MeV"], table["energy_MeV"]) == pytest.approx(0.0, abs=2e-5)


def test_b16_fluxes() -> None:
    table = read_table("solar_fluxes_b16")
    row = int(np.flatnonzero(table["source"] == "8B")[0])
    assert table["gs98_cm2_s"][row] == 5.46e6
    assert table["gs98_relative_error"][row] == 0.12
    assert len(table["source"]) == 8


def test_xenon_isotopes() -> None:
    table = read_table("xenon_isotopes")
    assert table["abundance"].sum() == pytest.approx(1.0, abs=1e-5)
    assert table["abundance"] @ table["atomic_mass_u"] == pytest.approx(131.293, abs=1e-3)
    np.testing.assert_array_equal(table["Z"], 54)
    nuclear = table["atomic_mass_u"] * 931.49410242 - 54 * 0.51099895
    np.testing.assert_allclose(table["nuclear_mass_MeV"], nuclear, rtol=0, atol=1e-3)
    assert dict(zip(table["isotope"], table["spin"], strict=True))["131Xe"] == 1.5


@pytest.mark.parametrize(("year", "observed"), [(2024, [9, 28]), (2026, [9, 28, 25])])
def test_xenonnt_packs(year: int, observed: list[int]) -> None:
    pack = read_arrays(f"xenonnt_{year}_templates")
    runs = len(observed)
    assert list(pack["run"]) == [f"sr{i}" for i in range(runs)]
    assert pack["observed"].dtype == np.int64
    assert pack["observed"].sum(axis=1).tolist() == observed
    assert pack["response"].shape == (runs, 46, 7, 7, 81)
    assert pack["response"].dtype == np.float32
    assert pack["neutron"].shape == (runs, 7, 7, 81)
    assert pack["accidental"].shape == pack["electronic"].shape == (runs, 81)
    assert pack["t_yield"].tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert pack["response"].min() >= 0
    assert pack["response"].sum(axis=-1).max() < 1
    for key in ("edges_cs2_PE", "edges_time_quantile", "edges_s1_bdt", "edges_s2_bdt"):
        assert pack[key].shape == (runs, 4)
        assert (np.diff(pack[key]) > 0).all()


def test_xenonnt_2024_bins_are_the_summed_templates() -> None:
    pack, table = read_arrays("xenonnt_2024_templates"), read_table("xenonnt_2024_s2_bins")
    exposure = pack["exposure_tonne_year"][:, None]
    rates = {
        "accidental": pack["accidental"],
        "electronic": pack["electronic"],
        "neutron": pack["neutron"][:, 3, 3],
        "b8_at_5p25e6": pack["b8_at_5p25e6"][:, 3, 3],
    }
    for name, rate in rates.items():
        summed = (rate * exposure).reshape(2, 3, 27).sum(axis=-1)
        np.testing.assert_allclose(table[name], summed.ravel(), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(table["observed"], pack["observed"].reshape(6, 27).sum(axis=-1))
    assert table["observed"].reshape(2, 3).sum(axis=0).tolist() == [16, 14, 7]
    b8 = table["b8_at_5p25e6"].reshape(2, 3).sum(axis=0)
    np.testing.assert_allclose(b8, [3.443, 5.513, 2.960], atol=6e-4)
    np.testing.assert_array_equal(table["cs2_lo_PE"], pack["edges_cs2_PE"][:, :-1].ravel())
    np.testing.assert_array_equal(table["cs2_hi_PE"], pack["edges_cs2_PE"][:, 1:].ravel())


def test_xenonnt_2024_efficiency_is_the_summed_response() -> None:
    pack, table = read_arrays("xenonnt_2024_templates"), read_table("xenonnt_2024_efficiency")
    np.testing.assert_array_equal(table["recoil_keV"], pack["recoil_keV"])
    for i, run in enumerate(("sr0", "sr1")):
        np.testing.assert_allclose(table[run], pack["response"][i, :, 3, 3].sum(-1), rtol=1e-3, atol=1e-7)


def test_xenonnt_yields_extrapolate_linearly_inside_their_clip() -> None:
    table = read_table("xenonnt_2024_yields")
    for key in ("ly", "qy"):
        centre = table[f"{key}_0"]
        for side in ("m", "p"):
            step = table[f"{key}_{side}1"] - centre
            for t in (2, 3):
                expected = np.clip(centre + t * step, 1, 10)
                np.testing.assert_allclose(table[f"{key}_{side}{t}"], expected, atol=2e-4)


def test_pandax_reconstructions_keep_the_published_totals() -> None:
    card, table = datasets.card("pandax4t_us2_bins"), read_table("pandax4t_us2_bins")
    assert card.status == "reconstructed"
    for phrase in ("NOT DATA", "not obtainable", "by construction", "332", "251", "257"):
        assert phrase in card.description
    backgrounds = {"T0": 251, "T1": 257, "T2": 251, "T3": 257, "T4": 251}
    assert set(table["table"]) == set(backgrounds)
    for name, background in backgrounds.items():
        pick = table["table"] == name
        assert table["observed"][pick].sum() == 332
        assert (table["cathode"] + table["microdischarge"])[pick].sum() == pytest.approx(background, abs=0.05)
        assert table["signal_at_5p46e6"][pick].sum() == pytest.approx(48.85, abs=5e-3)
        np.testing.assert_array_equal(table["ne_lo"][pick], np.arange(4, 8, 0.5))
        np.testing.assert_array_equal(table["ne_hi"][pick], np.arange(4.5, 8.5, 0.5))


def test_pandax_totals() -> None:
    table = read_table("pandax4t_us2_totals")
    values = dict(zip(table["quantity"], table["value"], strict=True))
    errors = dict(zip(table["quantity"], table["error"], strict=True))
    assert (values["observed"], values["exposure"], values["significance"]) == (332, 1.04, 2.64)
    assert (values["background"], errors["background"]) == (251, 32)
    assert values["background_after_fit"] == values["observed"] - values["b8_joint_fit"]
    assert set(table["status"]) == {"published", "inferred"}


def test_pandax_charge_yield_maps_electrons_to_the_recoil_window() -> None:
    table = read_table("pandax4t_charge_yield")
    for column in ("qy_93_V_per_cm", "qy_84_V_per_cm"):
        electrons = table["recoil_keV"] * table[column]
        assert np.interp([4, 8], electrons, table["recoil_keV"]) == pytest.approx([0.66, 1.19], abs=0.006)


def test_paper_results() -> None:
    table = read_table("paper_results")
    assert table["equation"].tolist() == [18, 19, 20, 21, 22, 23]
    assert (table["error_up"] > 0).all()
    assert (table["error_down"] > 0).all()
    row = (table["quantity"] == "flux") & (table["dataset"] == "combined")
    assert table["value"][row].item() == 6.1e6


def test_cesium_iodide_and_argon_isotopes() -> None:
    for name, isotopes in {
        "cesium_iodide_isotopes": ["133Cs", "127I"],
        "argon_isotopes": ["36Ar", "38Ar", "40Ar"],
    }.items():
        table = read_table(name)
        assert list(table) == list(read_table("xenon_isotopes"))
        assert table["isotope"].tolist() == isotopes
        assert table["abundance"].sum() == pytest.approx(1.0, abs=1e-9)
        nuclear = table["atomic_mass_u"] * 931.49410242 - table["Z"] * 0.51099895
        np.testing.assert_allclose(table["nuclear_mass_MeV"], nuclear, rtol=0, atol=1e-3)
    argon = read_table("argon_isotopes")
    assert argon["abundance"] @ argon["atomic_mass_u"] == pytest.approx(39.948, abs=2e-3)


@pytest.mark.parametrize(("isotope", "spin", "expectation"), [("127I", 2.5, 0.373), ("133Cs", 3.5, -0.343)])
def test_spin_multipoles_of_caesium_iodide_start_at_the_spin_expectations(
    isotope: str, spin: float, expectation: float
) -> None:
    table = read_table("spin_multipoles")
    first = (table["isotope"] == isotope) & (table["L"] == 1)
    scale = np.sqrt((2 * spin + 1) * (spin + 1) / (6 * np.pi * spin))
    for response, factor in {"transverse": 1.0, "longitudinal": 2**-0.5}.items():
        value = table["c0"][first & (table["response"] == response)].sum()
        assert value == pytest.approx(scale * expectation * factor, rel=3e-3)
    assert "unverified" in datasets.card("spin_multipoles").description


def test_coherent_csi_counts() -> None:
    table = read_table("coherent_csi_2021_counts")
    pe = [0, 8, 12, 16, 20, 24, 32, 40, 50, 60]
    time = [*(k / 8 for k in range(9)), 2, 4, 6]
    np.testing.assert_array_equal(table["pe_lo"].reshape(9, 11)[:, 0], pe[:-1])
    np.testing.assert_array_equal(table["pe_hi"].reshape(9, 11)[:, -1], pe[1:])
    np.testing.assert_array_equal(table["time_lo_us"].reshape(9, 11)[0], time[:-1])
    np.testing.assert_array_equal(table["time_hi_us"].reshape(9, 11)[-1], time[1:])
    assert (table["observed"].sum(), table["anticoincidence"].sum()) == (1578, 1295)
    for name, events in (("brn", 18.4), ("nin", 5.6)):
        assert table[name].sum() == pytest.approx(events, abs=1e-5)
        grid = table[name].reshape(9, 11)
        product = np.outer(grid.sum(axis=1), grid.sum(axis=0)) / events
        np.testing.assert_allclose(grid, product, atol=1e-7)  # energy and time are independent


def test_coherent_csi_response() -> None:
    table = read_table("coherent_csi_2021_response")
    key = list(zip(table["curve"], table["variation"], strict=True))
    curves = {k: [table[c][i] for c in "abcd"] for i, k in enumerate(key)}
    assert len(curves) == 8

    def efficiency(variation: str) -> float:
        a, b, c, d = curves["efficiency", variation]
        return a / (1 + np.exp(-b * (20 - c))) + d

    assert efficiency("minus") < efficiency("nominal") < efficiency("plus")
    for mode in ("mode0", "mode1"):
        middle = np.add(curves["scintillation", f"{mode}_plus"], curves["scintillation", f"{mode}_minus"]) / 2
        np.testing.assert_allclose(middle, curves["scintillation", "nominal"], rtol=5e-4)


def test_coherent_lar_bins() -> None:
    table = read_table("coherent_lar_2020_bins")
    shape = (12, 8, 10)
    for axis, (name, first, step) in enumerate(
        [("energy_keVee", 5, 10), ("f90", 0.525, 0.05), ("time_us", 0.15, 0.5)]
    ):
        centres = first + step * np.arange(shape[axis])
        expected = np.broadcast_to(np.expand_dims(centres, [k for k in range(3) if k != axis]), shape)
        np.testing.assert_allclose(table[name].reshape(shape), expected, rtol=1e-12)
    sums = {"observed": 3752, "steady_state": 3152, "prompt_brn": 497, "delayed_brn": 33, "cevns": 128}
    nominal = {name: sums["cevns"] for name in table if name.startswith("cevns_")}
    nominal |= {name: sums["prompt_brn"] for name in table if name.startswith("brn_")}
    assert len(nominal) == 8
    nominal["brn_time_plus"] = 523.671  # as released
    for name, total in {**sums, **nominal}.items():
        assert table[name].sum() == pytest.approx(total, rel=1e-5)


def test_coherent_lar_efficiency() -> None:
    table = read_table("coherent_lar_2020_efficiency")
    recoil = table["recoil_keV"]
    np.testing.assert_allclose(recoil * (0.246 + 0.00078 * recoil), table["energy_keVee"], rtol=2e-3)
    assert len(recoil) == 80
    assert (table["efficiency"] <= 1).all()


def test_solar_spectra_lines_and_survival() -> None:
    table, lines = read_table("solar_spectra"), read_table("solar_lines")
    endpoints = {}
    for source in ("pp", "n13", "o15", "f17"):
        pick = table["source"] == source
        assert pick.sum() == 241
        assert np.trapezoid(table["density_per_MeV"][pick], table["energy_MeV"][pick]) == pytest.approx(1, abs=2e-4)
        endpoints[source] = table["energy_MeV"][pick].max()
    fluxes = read_table("solar_fluxes_b16")
    known = dict(zip(fluxes["source"], fluxes["endpoint_MeV"], strict=True))
    for source, label in {"pp": "pp", "n13": "13N", "o15": "15O", "f17": "17F"}.items():
        assert endpoints[source] == pytest.approx(known[label], rel=0.02)
    for source in ("be7", "pep"):
        assert lines["branching"][lines["source"] == source].sum() == pytest.approx(1.0)
    survival = read_table("solar_survival")
    assert (np.diff(survival["energy_MeV"]) > 0).all()
    for source in ("pp", "be7", "b8", "hep"):
        assert survival[source].max() == pytest.approx(0.549, abs=2e-3)
    at_10 = np.interp(10.0, survival["energy_MeV"], survival["b8"])
    assert 0.295 < at_10 < 0.36  # between sin^2 theta12 times c13^4 and the transition


def test_xenon_shells_hold_54_electrons() -> None:
    table = read_table("xenon_shells")
    assert table["electrons"].sum() == 54
    assert (np.diff(table["binding_eV"]) > 0).all()
    assert table["electrons"][table["binding_eV"] < 4800].sum() == 44  # all but 2p, 2s and 1s
    ratio = read_table("xenon_rrpa_ratio")
    assert (np.diff(ratio["recoil_keV"]) > 0).all()
    assert (np.abs(ratio["ratio"] - 1) < 0.35).all()


def test_xenonnt_electron_recoils_agree_with_each_other() -> None:
    table, events = read_table("xenonnt_er_2022_bins"), read_table("xenonnt_er_2022_events")["energy_keV"]
    edges = np.append(table["energy_lo_keV"], table["energy_hi_keV"][-1])
    np.testing.assert_array_equal(np.histogram(events, edges)[0], table["observed"])
    assert len(events) == 433
    rate = read_table("xenonnt_er_2022_background")
    counts = 1.16 * np.trapezoid(rate["rate_per_tonne_year_keV"], rate["energy_keV"])
    assert table["background"].sum() == pytest.approx(counts, rel=3e-3)
    efficiency = read_table("xenonnt_er_2022_efficiency")
    assert len(efficiency["energy_keV"]) <= 400
    assert (np.diff(efficiency["energy_keV"]) > 0).all()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("lz_er_ws2022_bins", 471),
        ("lz_er_ws2024_bins", 1787),
        ("pandax4t_er_run0_bins", 1058),
        ("pandax4t_er_run1_bins", 1431),
        ("xenonnt_er_2022_bins", 433),
    ],
)
def test_electron_recoil_bins(name: str, counts: int) -> None:
    table = read_table(name)
    np.testing.assert_array_equal(table["energy_hi_keV"] - table["energy_lo_keV"], 1)
    np.testing.assert_array_equal(table["energy_lo_keV"], np.arange(len(table["observed"])))
    assert table["observed"].sum() == counts
    if "background" in table:
        assert table["background"].sum() == pytest.approx(counts, abs=2 * np.sqrt(counts))


@pytest.mark.parametrize("name", [n for n in NAMES if re.search(r"_er_.*_efficiency", n)])
def test_electron_recoil_efficiencies_are_probabilities_and_pass_half_at_low_energy(name: str) -> None:
    table = read_table(name)
    assert (np.diff(table["energy_keV"]) > 0).all()
    assert table["efficiency"].min() >= 0
    assert table["efficiency"].max() < 1
    rise = table["energy_keV"][np.argmax(table["efficiency"] > 0.5)]
    assert 1 < rise < 3


def test_digitised_columns_are_named_on_the_cards() -> None:
    for name in ("lz_er_ws2022_bins", "lz_er_ws2024_bins", "pandax4t_er_run1_bins", "xenon_rrpa_ratio"):
        assert "digitised from the figure" in datasets.card(name).description
    for name in ("pandax4t_er_run1_bins", "pandax4t_er_run1_efficiency"):
        assert "exposure of Run1 is not published" in datasets.card(name).description


def test_texono_and_reactor_spectra() -> None:
    table = read_table("texono_2010")
    values = dict(zip(table["quantity"], table["value"], strict=True))
    status = dict(zip(table["quantity"], table["status"], strict=True))
    assert (values["ratio"], values["ratio_statistical_error"], values["ratio_systematic_error"]) == (
        1.08,
        0.21,
        0.16,
    )
    assert (values["recoil_min"], values["recoil_max"], values["flux"], values["mass"]) == (3, 8, 6.4e12, 187)
    assert [name for name in status if status[name] == "inferred"] == ["antineutrinos_per_fission"]
    spectra = read_table("reactor_spectra")
    shares = {name: values[f"fission_fraction_{name}"] for name in spectra["isotope"]}
    assert sum(shares.values()) == pytest.approx(1.0)
    energy = np.linspace(1.806, 8, 2001)
    exponent = sum(spectra[f"c{k}"][:, None] * energy**k for k in range(6))
    number = np.trapezoid(np.exp(exponent), energy)
    yields = dict(zip(spectra["isotope"], number, strict=True))  # above the threshold of inverse beta decay
    assert yields["U238"] == pytest.approx(2.4, rel=0.07)
    for isotope, known in {"U235": 1.92, "Pu239": 1.45, "Pu241": 1.83}.items():
        assert yields[isotope] == pytest.approx(known, rel=0.03)


def test_existing_limits() -> None:
    table = read_table("existing_limits")
    names = list(zip(table["interaction"], table["key"], strict=True))
    assert {name: len({key for i, key in names if i == name}) for name in ("b-l", "vector", "axial")} == {
        "b-l": 30, "vector": 30, "axial": 23,
    }  # fmt: skip
    assert (table["coupling_lo"] <= table["coupling_hi"]).all()
    assert (table["coupling_lo"] > 0).all()
    assert 0.01 <= table["mass_MeV"].min() <= table["mass_MeV"].max() <= 1e5
    nothing = table["coupling_lo"] == 1e5
    np.testing.assert_array_equal(table["coupling_hi"][nothing], 1e5)
    assert set(table["limit"][nothing]) == {"BaBar 2014", "LHCb 2017", "LHCb 2019"}
    assert table["coupling_lo"][~nothing].max() < 1
    for name in set(names):
        pick = np.array([n == name for n in names])
        assert (np.diff(table["mass_MeV"][pick]) > 0).all()
        assert pick.sum() <= 65
    # Heavy mediators: only g/m counts, so the reach of an electron-scattering limit is a power law.
    texono = (table["interaction"] == "b-l") & (table["limit"] == "TEXONO")
    mass, coupling = table["mass_MeV"][texono], table["coupling_lo"][texono]
    heavy = np.interp(np.log([100, 1e5]), np.log(mass), np.log(coupling))
    assert heavy[1] - heavy[0] == pytest.approx(np.log(1e3), rel=0.02)
    folder = datasets.data_dir()
    assert (folder / "existing_limits.csv").stat().st_size < 250_000


def test_weak_mixing_angle_runs_between_its_anchors() -> None:
    table = read_table("weak_mixing_running")
    scale, angle = table["scale_MeV"], table["sin2w"]
    assert (np.diff(scale) > 0).all()
    assert angle[0] == 0.23857
    assert np.interp(10.0, scale, angle) == pytest.approx(0.23857, abs=1e-4)
    assert angle[scale == 91187.6].item() == pytest.approx(0.23122, abs=1e-6)
    lowest = int(np.argmin(angle))
    assert scale[lowest] == 80377.0
    assert (np.diff(angle[: lowest + 1]) <= 0).all()
    assert (np.diff(angle[lowest:]) > 0).all()
    points = read_table("weak_mixing_angle")
    curve = np.interp(np.log(points["scale_MeV"]), np.log(scale), angle)
    pull = (points["value"] - curve) / points["error"]
    assert (np.abs(pull) < 3.5).all()
    assert (points["error"] > 0).all()
    assert points["label"].tolist()[:3] == ["APV (Cs)", "Qweak", "E158"]


def test_module_does_not_import_jax() -> None:
    # Run from the file: the package itself may import jax.
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='datasets'); sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(datasets.__file__)], check=True)


# Damaged, missing and unknown tables


@pytest.mark.parametrize("file", ["xenon_isotopes.csv", "xenonnt_2026_templates.npz"])
@pytest.mark.parametrize("damage", ["changed", "truncated", "emptied", "missing"])
def test_damage_is_reported_with_both_checksums(folder: Path, file: str, damage: str) -> None:
    path = folder / file
    load(path.stem)  # a cached copy must not hide the damage
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
        found = "missing"
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        damaged = {"changed": flipped, "truncated": content[:-7], "emptied": b""}[damage]
        path.write_bytes(damaged)
        found = hashlib.sha256(damaged).hexdigest()
    with pytest.raises(DataError) as exc:
        load(path.stem)
    message(exc, file, datasets.card(path.stem).sha256, f"found {found}", REMEDY)


def test_changed_table_with_its_new_checksum_is_read(folder: Path) -> None:
    card = datasets.card("paper_results")
    read_table("paper_results")
    path = folder / card.file
    path.write_bytes(path.read_bytes().replace(b"7700000.0", b"7800000.0"))
    toml = folder / "paper_results.toml"
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    toml.write_text(toml.read_text().replace(card.sha256, new))
    assert read_table("paper_results")["value"][0] == 7.8e6


def test_npz_that_is_no_archive(folder: Path) -> None:
    card = datasets.card("xenonnt_2024_templates")
    toml = folder / "xenonnt_2024_templates.toml"
    toml.write_text(toml.read_text().replace(card.sha256, hashlib.sha256(b"no archive").hexdigest()))
    (folder / card.file).write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a readable NPZ file"):
        read_arrays("xenonnt_2024_templates")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("licence = ", "license = ", "lacks the entry 'licence'"),
        ('status = "published"', 'status = "measured"', "status 'measured'"),
        ('status = "published"', "status = 1", "'status' is not a string"),
        ('name = "xenon_isotopes"', 'name = "argon"', "name is 'argon'"),
        ('file = "xenon', 'file = "../xenon', "is not NAME.csv or NAME.npz"),
        ('sha256 = "', 'sha256 = "x', "64 hexadecimal digits"),
        ("[[columns]]", "[[arrays]]", "no [[columns]]"),
        ('name = "Z"', 'name = "A"', "described twice"),
        ("title = ", "title ", "cannot be read"),
    ],
)
def test_broken_card(folder: Path, old: str, new: str, expected: str) -> None:
    path = folder / "xenon_isotopes.toml"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(DataError) as exc:
        read_table("xenon_isotopes")
    message(exc, "xenon_isotopes.toml", expected, REMEDY)
    read_table("hep_spectrum")  # the other tables stay usable


def test_unknown_name_lists_the_known_and_suggests() -> None:
    with pytest.raises(DataError) as exc:
        datasets.card("xenon_isotope")
    message(exc, "did you mean xenon_isotopes?", "hep_spectrum", "paper_results")
    with pytest.raises(DataError) as exc:
        read_table("zzz")
    assert "did you mean" not in str(exc.value)


def test_wrong_reader_names_the_right_one() -> None:
    with pytest.raises(DataError, match=re.escape("use read_table('hep_spectrum')")):
        read_arrays("hep_spectrum")
    with pytest.raises(DataError, match=re.escape("use read_arrays('xenonnt_2024_templates')")):
        read_table("xenonnt_2024_templates")


def test_data_dir_override_must_hold_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCEVNS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="JCEVNS_DATA"):
        datasets.data_dir()


def test_data_dir_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JCEVNS_DATA", raising=False)
    module = tmp_path / "site" / "jcevns" / "datasets.py"
    monkeypatch.setattr(datasets, "__file__", str(module))
    with pytest.raises(DataError, match="reinstall jcevns"):
        datasets.data_dir()
    for place in (tmp_path / "site" / "data", module.parent / "_data"):
        place.mkdir(parents=True)
        (place / "one.toml").touch()
        assert datasets.data_dir() == place.resolve()


# Users' CSV files


def test_read_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    lines = ["\ufeff# made by hand", "", "bin, rate ,note", '0,1.5e0,"a, b"', "", "# end", "1,-2,c", ""]
    path.write_bytes("\r\n".join(lines).encode())
    table = read_csv(path, ["rate", "bin"], text=["note", "absent"])
    assert table["bin"].tolist() == [0.0, 1.0]
    assert table["rate"].tolist() == [1.5, -2.0]
    assert table["note"].tolist() == ["a, b", "c"]
    assert not table["rate"].flags.writeable
    assert list(read_csv(str(path), ["rate"])) == ["rate"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["empty", "bin, rate"]),
        (b"# only a remark\n", ["empty", "bin, rate"]),
        (b"bin,rate\n", ["line 1", "no rows"]),
        (b"\nbin,speed\n0,1\n", ["line 2", "column rate: missing", "found bin, speed", "required bin, rate"]),
        (b"bin;rate\n0;1\n", ["line 1", "column bin, rate: missing", "found bin;rate"]),
        (b"bin,rate,bin\n0,1,2\n", ["line 1", "column bin", "more than once"]),
        (b"bin,rate\n0,1\n1\n", ["line 3", "column rate", "1 fields, the header has 2"]),
        (b"bin,rate\n0,1,5\n", ["line 2", "column 3", "3 fields, the header has 2"]),
        (b"bin,rate\n# x\n\n0,abc\n", ["line 4", "column rate", "'abc' is not a number"]),
        (b"bin,rate\n0,\n", ["line 2", "column rate", "'' is not a number"]),
        (b"bin,rate\n0,1_0\n", ["line 2", "column rate", "'1_0' is not a number"]),
        (b"bin,rate\nnan,1\n", ["line 2", "column bin", "'nan' is not finite"]),
        (b"bin,rate\n0,-inf\n", ["line 2", "column rate", "'-inf' is not finite"]),
        (b"bin,rate\n0,1e999\n", ["line 2", "column rate", "'1e999' is not finite"]),
        (b'bin,rate\n0,"1\n', ["line 2", "malformed CSV"]),
        (b"bin,rate\n0,1\n1,\xb5\n", ["line 3", "not UTF-8"]),
        (b"bin,rate,note\n0,1,\n", ["line 2", "column note", "empty"]),
    ],
)
def test_read_csv_errors_name_file_line_and_column(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as exc:
        read_csv(path, ["bin", "rate"], text=["note"])
    message(exc, str(path), *parts)


def test_read_csv_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_csv(tmp_path / "none.csv", ["a"])
    with pytest.raises(DataError, match="cannot be read"):
        read_csv(tmp_path, ["a"])


# The source tree


def test_readme_lists_every_card() -> None:
    readme = Path(__file__).parents[1] / "data" / "README.md"
    text = readme.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| \**(\w+)\** \|", text, re.MULTILINE))
    assert rows == {name: card.status for name, card in datasets.cards().items()}
