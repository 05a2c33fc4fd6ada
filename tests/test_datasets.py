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
    "b8_spectrum_bahcall1996",
    "b8_spectrum_winter2006",
    "hep_spectrum",
    "pandax4t_charge_yield",
    "pandax4t_us2_bins",
    "pandax4t_us2_totals",
    "paper_results",
    "solar_fluxes_b16",
    "xenon_isotopes",
    "xenonnt_2024_efficiency",
    "xenonnt_2024_s2_bins",
    "xenonnt_2024_templates",
    "xenonnt_2024_yields",
    "xenonnt_2026_templates",
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
