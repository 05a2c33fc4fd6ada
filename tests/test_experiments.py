"""Built-in experiments against the published numbers, and what a user of a CSV or TOML file gets."""

from __future__ import annotations

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jcevns import (
    EXPERIMENTS,
    Experiment,
    Helm,
    Likelihood,
    NestChargeYield,
    Nuisance,
    Response,
    StandardModel,
    Theory,
    b8,
    charge_response,
    correction_factors,
    experiment,
    interpolated_response,
    load_experiment,
    profile,
    signal_counts,
    xenon,
)
from jcevns.datasets import read_arrays, read_table
from jcevns.experiments.catalogue import parse_experiment
from jcevns.experiments.pandax4t import TABLES
from jcevns.experiments.xenonnt import unsmeared_response
from tests import reference
from tests.problems import built

TEMPLATE_FLUX = 5.25e6  # cm^-2 s^-1
TEMPLATE = (3.443, 5.513, 2.960)  # 8B events per cS2 bin at that flux
ELECTRONS = np.linspace(4.0, 8.0, 9)


def printed(digits: int, value: float) -> float:
    """Tolerance on a printed number: half a unit of its last digit and 1%."""
    return 0.5 * 10.0**-digits + 0.01 * abs(value)


def assert_printed(values, expected, digits: int) -> None:
    for value, number in zip(np.asarray(values), expected, strict=True):
        assert abs(value - number) <= printed(digits, number)


# XENONnT ------------------------------------------------------------------------------------------------------


def test_xenonnt_counts_and_backgrounds(xenonnt) -> None:
    assert xenonnt.observed.tolist() == [16, 14, 7]
    expected = {
        "accidental": (8.416, 8.416, 8.416),
        "electronic": (0.011, 0.056, 0.613),
        "neutron": (0.070, 0.120, 0.276),
    }
    assert set(xenonnt.backgrounds) == set(expected)
    for name, counts in expected.items():
        np.testing.assert_allclose(xenonnt.backgrounds[name], counts, rtol=0, atol=5.1e-4)
    widths = {n.name: (n.sigma, n.components, n.shared) for n in xenonnt.nuisances}
    assert widths == {
        "b8_flux": (0.12, ("signal",), True),
        "fiducial_volume": (0.05, ("signal",), False),
        "accidental": (0.048, ("accidental",), False),
        "neutron": (0.5, ("neutron",), False),
        "electronic": (1.0, ("electronic",), False),
    }


@pytest.mark.parametrize(
    ("key", "factors", "digits"),
    [
        ("xenonnt", (0.92, 0.91, 0.87), 2),
        ("xenonnt-winter", (0.885, 0.874, 0.828), 3),
        ("xenonnt-unsmeared", (0.83, 0.92, 2.89), 2),
    ],
)
def test_xenonnt_correction_factors(key, factors, digits) -> None:
    assert_printed(built(key).correction, factors, digits)


def test_xenonnt_signal_is_the_template_at_the_best_fit(xenonnt) -> None:
    counts = signal_counts(xenonnt, Theory(b8_flux=TEMPLATE_FLUX))
    np.testing.assert_allclose(counts, np.array(TEMPLATE) * 10.7 / sum(TEMPLATE), rtol=2e-4)
    assert float(jnp.sum(signal_counts(xenonnt, Theory()))) == pytest.approx(11.13, abs=5e-3)
    plain = experiment("xenonnt-2024-s2", correction="template")
    np.testing.assert_allclose(signal_counts(plain, Theory(b8_flux=TEMPLATE_FLUX)), TEMPLATE, rtol=0, atol=5.1e-4)


def test_unsmeared_counts_before_correction() -> None:
    response = unsmeared_response()
    flat = Experiment("flat", b8(), xenon(), response, np.ones(3), {}, ())
    assert_printed(signal_counts(flat, Theory(b8_flux=TEMPLATE_FLUX)), (3.74, 5.38, 0.92), 2)


def test_released_response_folds_as_the_direct_integral() -> None:
    flat = experiment("xenonnt-2024-s2", correction="none")
    pack = read_arrays("xenonnt_2024_templates")
    nominal = list(pack["t_yield"]).index(0.0)
    nodes = np.asarray(pack["recoil_keV"], float)
    x, w = np.polynomial.legendre.leggauss(3)
    half = np.diff(nodes)[:, None] / 2
    T = (nodes[:-1, None] + half * (1 + x)).ravel()
    rate = reference.spectrum(T, sin2w=0.3) * (half * w).ravel()
    expected = np.zeros(3)
    for run, exposure in enumerate(pack["exposure_tonne_year"]):
        for bin_ in range(3):
            probability = pack["response"][run, :, nominal, nominal, 27 * bin_ : 27 * (bin_ + 1)].astype(float).sum(1)
            expected[bin_] += exposure * rate @ np.interp(T, nodes, probability)
    np.testing.assert_allclose(signal_counts(flat, StandardModel(0.3)), expected, rtol=1e-5)


# PandaX-4T ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_pandax_tables(table) -> None:
    pandax = experiment("pandax4t-us2", table=table)
    assert float(jnp.sum(pandax.observed)) == 332
    total = sum(float(jnp.sum(counts)) for counts in pandax.backgrounds.values())
    assert total == pytest.approx(257 if table in ("T1", "T3") else 251, abs=0.05)
    assert float(jnp.sum(signal_counts(pandax, Theory()))) == pytest.approx(48.85, abs=5e-3)
    assert pandax.status == "reconstructed"
    assert any("reconstruction" in note and table in note for note in pandax.notes)
    np.testing.assert_allclose(pandax.bin_edges, ELECTRONS)


def test_pandax_nuisances(pandax) -> None:
    widths = {n.name: (n.sigma, n.components, n.shared) for n in pandax.nuisances}
    assert widths == {
        "b8_flux": (0.12, ("signal",), True),
        "signal": (0.22, ("signal",), False),
        "cathode": (0.31, ("cathode",), False),
        "microdischarge": (0.23, ("microdischarge",), False),
    }


def test_pandax_total_at_other_fluxes(pandax) -> None:
    for flux, events in ((7.7e6, 69), (8.4e6, 75)):
        assert float(jnp.sum(signal_counts(pandax, Theory(b8_flux=flux)))) == pytest.approx(events, abs=0.5)


def test_pandax_signal_changes_as_the_direct_integral(pandax) -> None:
    """N_i(theory)/N_i(SM) by integration over T between the recoil energies of the bin edges, no Jacobian."""
    ends = [reference.recoil_energy(reference.nest_electrons, n) for n in ELECTRONS]
    table = read_table("pandax4t_us2_bins")
    signal_at_sm = table["signal_at_5p46e6"][table["table"] == "T1"]

    def folded(**options):
        function = lambda T: reference.spectrum(T, **options)  # noqa: E731
        return np.array([reference.integrate(function, ends[i : i + 2], order=5) for i in range(8)])

    expected = signal_at_sm * folded(sin2w=0.35, form_factor=reference.helm) / folded()
    theory = StandardModel(sin2w=0.35, form_factor=Helm())
    np.testing.assert_allclose(signal_counts(pandax, theory), expected, rtol=1e-7)


# A user's table -----------------------------------------------------------------------------------------------

HEADER = "ne_lo,ne_hi,signal_at_5p46e6,cathode,microdischarge,observed"
ROWS = ("4,5,16.9,45.0,39.8,110", "5,6,13.3,45.0,20.8,85", "6,8,18.6,90.0,16.5,137")


def test_user_table(tmp_path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(["# mine", HEADER, *ROWS]))
    mine = experiment("pandax4t-us2", table=str(file))
    assert mine.observed.tolist() == [110, 85, 137]
    assert mine.bin_edges == (4.0, 5.0, 6.0, 8.0)
    np.testing.assert_allclose(signal_counts(mine, Theory()), [16.9, 13.3, 18.6], rtol=1e-12)
    assert mine.status == "user"
    assert any("supplied by the user" in note for note in mine.notes)
    assert mine.tables == ()


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([HEADER, ROWS[0], "5,6,13.3,many,20.8,85"], ("line 3", "column cathode", "'many'")),
        ([HEADER, ROWS[0], "5,6,13.3,,20.8,85"], ("line 3", "column cathode")),
        ([HEADER, "4,5,16.9,45.0,39.8,nan"], ("line 2", "column observed", "not finite")),
        ([HEADER, "4,5,16.9"], ("line 2", "column cathode")),
        ([HEADER.replace("observed", "data"), ROWS[0]], ("line 1", "observed", "missing")),
        ([HEADER, ROWS[0], ROWS[2]], ("contiguous",)),
        ([HEADER], ("no rows",)),
    ],
)
def test_bad_user_table(tmp_path, lines, parts) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=re.escape(str(file))) as error:
        experiment("pandax4t-us2", table=str(file))
    for part in parts:
        assert part in str(error.value)


def test_user_table_with_negative_counts(tmp_path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("\n".join([HEADER, "4,5,16.9,45.0,39.8,-1"]))
    with pytest.raises(ValueError, match=r"observed: bin 0 is -1\.0"):
        experiment("pandax4t-us2", table=str(file))


# Names and options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("xenonnt-2024-s", {}, ("did you mean xenonnt-2024-s2?", *EXPERIMENTS)),
        ("pandax", {}, ("'pandax'", *EXPERIMENTS)),
        ("pandax4t-us2", {"tabel": "T1"}, ("'tabel'", "table")),
        ("pandax4t-us2", {"table": "T9"}, ("T9", *TABLES)),
        ("pandax4t-us2", {"table": "absent.csv"}, ("absent.csv", "no such file")),
        ("pandax4t-us2", {"shape": "ortiz"}, ("ortiz", "bahcall1996")),
        ("xenonnt-2024-s2", {"response": "smeared"}, ("smeared", "released", "unsmeared")),
        ("xenonnt-2024-s2", {"correction": "all"}, ("all", "best-fit", "template", "none")),
    ],
)
def test_unknown_names_suggest(name, options, parts) -> None:
    with pytest.raises(ValueError, match="unknown|no such file") as error:  # noqa: RUF043
        experiment(name, **options)
    for part in parts:
        assert part in str(error.value)


def test_command_line_form() -> None:
    parsed = parse_experiment("pandax4t-us2:table=T3:field=90", shape="winter2006", response="unsmeared")
    built_by_hand = experiment("pandax4t-us2", table="T3", field=90.0, shape="winter2006")
    np.testing.assert_array_equal(parsed.observed, built_by_hand.observed)
    np.testing.assert_array_equal(parsed.response.matrix, built_by_hand.response.matrix)
    for text in ("pandax4t-us2:T3", "pandax4t-us2:table="):
        with pytest.raises(ValueError, match="expected NAME:option=value"):
            parse_experiment(text)


# Experiments in Python ----------------------------------------------------------------------------------------


def by_hand(**changes) -> Experiment:
    options = {
        "name": "mine",
        "flux": b8(),
        "target": xenon(),
        "response": Response(np.array([1.0, 2.0]), np.array([[1.0, 0.0], [0.5, 2.0]])),
        "observed": [3, 4],
        "backgrounds": {"flat": [1.0, 2.0]},
        "nuisances": [Nuisance("flat", 0.1, ("flat",))],
    }
    return Experiment(**(options | changes))


def test_record_built_in_python() -> None:
    mine = by_hand(correction=[1.0, 2.0])
    rate = reference.spectrum([1.0, 2.0])
    expected = [rate[0], 2 * (0.5 * rate[0] + 2 * rate[1])]
    np.testing.assert_allclose(signal_counts(mine, Theory()), expected, rtol=1e-9)
    assert (mine.status, mine.observed.dtype) == ("user", np.float64)
    factors = correction_factors(np.array([5.0, 7.0]), mine.flux, mine.target, mine.response)
    fixed = by_hand(correction=factors)
    np.testing.assert_allclose(signal_counts(fixed, Theory()), [5.0, 7.0], rtol=1e-13)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observed": [3, -1]}, "observed: bin 1 is -1"),
        ({"observed": [np.nan, 1.0]}, "observed: bin 0 is nan"),
        ({"observed": [1.0, 2.0, 3.0]}, "observed: shape"),
        ({"backgrounds": {"flat": [1.0, np.inf]}}, "flat: bin 1 is inf"),
        ({"backgrounds": {"flat": [1.0]}}, "flat: shape"),
        ({"backgrounds": {"signal": [1.0, 1.0]}, "nuisances": ()}, "no background may be called 'signal'"),
        ({"nuisances": [Nuisance("a", 0.1, ("other",))]}, "acts on unknown other; components are flat, signal"),
        ({"nuisances": [Nuisance("a", 0.1, ("flat",))] * 2}, "share a name"),
        ({"bin_edges": (1.0, 2.0)}, "2 bin edges for 2 bins, expected 3"),
        ({"status": "guessed"}, "status 'guessed'"),
        ({"correction": [1.0, 2.0, 3.0]}, "correction"),
        ({"correction": [1.0, np.nan]}, "correction"),
        ({"correction": [1.0, -1.0]}, "correction"),
    ],
)
def test_bad_record(changes, message) -> None:
    with pytest.raises(ValueError, match="experiment 'mine'") as error:
        by_hand(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize("sigma", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_width(sigma) -> None:
    with pytest.raises(ValueError, match="nuisance 'a': sigma"):
        Nuisance("a", sigma, ("flat",))


def test_nuisance_on_nothing() -> None:
    with pytest.raises(ValueError, match="non-empty tuple of names"):
        Nuisance("a", 0.1, ())


# Experiments in TOML ------------------------------------------------------------------------------------------


def numbers(values) -> str:
    return "[" + ", ".join(repr(float(v)) for v in values) + "]"


def pandax_toml() -> str:
    """PandaX-4T, table T1, written out."""
    rows = read_table("pandax4t_us2_bins")
    t1 = {column: rows[column][rows["table"] == "T1"] for column in rows}
    response = charge_response(NestChargeYield(), ELECTRONS, 1.04)
    factors = correction_factors(t1["signal_at_5p46e6"], b8(), xenon(), response)
    return f"""
name = "pandax-by-hand"
observable = "N_e [electrons]"
exposure_tonne_year = 1.04
bin_edges = {numbers(ELECTRONS)}
observed = {numbers(t1["observed"])}
correction = {numbers(factors)}
notes = ["a test"]

[response]
charge_yield = "nest"
field_V_per_cm = 88.0

[backgrounds]
cathode = {numbers(t1["cathode"])}
microdischarge = {numbers(t1["microdischarge"])}

[[nuisances]]
name = "b8_flux"
sigma = 0.12
shared = true

[[nuisances]]
name = "signal"
sigma = 0.22
components = ["signal"]

[[nuisances]]
name = "cathode"
sigma = 0.31
components = ["cathode"]

[[nuisances]]
name = "microdischarge"
sigma = 0.23
components = ["microdischarge"]
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text)
    return file


def test_toml_experiment_has_the_profile_of_the_built_in_one(tmp_path) -> None:
    file = write(tmp_path, pandax_toml())
    mine, shipped = Likelihood(load_experiment(file)), Likelihood(built("pandax"))
    for flux in (0.0, 5.46e6, 3e7):
        theory = Theory(b8_flux=flux)
        np.testing.assert_allclose(profile(mine, theory).chi2, profile(shipped, theory).chi2, rtol=1e-11, atol=1e-11)
    assert mine.nuisances[0] == "b8_flux"
    user = experiment(str(file))
    assert (user.name, user.status, user.observable) == ("pandax-by-hand", "user", "N_e [electrons]")
    assert user.notes == ("defined by the user in mine.toml", "a test")


MINIMAL = """
name = "mine"
exposure_tonne_year = 2.0
bin_edges = [4.0, 6.0, 8.0]
observed = [3, 4]

[response]
charge_yield = "nest"

[backgrounds]
flat = [1.0, 2.0]

[[nuisances]]
name = "flat"
sigma = 0.1
components = ["flat"]
"""


def test_toml_with_probabilities(tmp_path) -> None:
    (tmp_path / "p.csv").write_text("recoil_keV,bin0,bin1\n0.5,0,0\n1,0.3,0.1\n2,0.2,0.5\n4,0.0,0.9\n")
    text = MINIMAL.replace('charge_yield = "nest"', 'probabilities = "p.csv"').replace(
        "bin_edges = [4.0, 6.0, 8.0]\n", ""
    )
    mine = load_experiment(write(tmp_path, text))
    nodes, table = np.array([0.5, 1.0, 2.0, 4.0]), np.array([[0, 0.3, 0.2, 0.0], [0, 0.1, 0.5, 0.9]])
    expected = [
        2.0 * reference.integrate(lambda T, row=row: reference.spectrum(T) * np.interp(T, nodes, row), nodes, order=8)
        for row in table
    ]
    folded = Experiment("f", b8(), xenon(), interpolated_response(nodes, table, 2.0), [3, 4], {}, ())
    np.testing.assert_array_equal(signal_counts(mine, Theory()), signal_counts(folded, Theory()))
    np.testing.assert_allclose(signal_counts(mine, Theory()), expected, rtol=2e-2)


def test_toml_with_tabulated_yield_gain_and_efficiency(tmp_path) -> None:
    (tmp_path / "q.csv").write_text("recoil_keV,electrons_per_keV\n0.1,5\n10,5\n")
    (tmp_path / "a.csv").write_text("recoil_keV,efficiency\n0.1,0.5\n10,0.5\n")
    text = MINIMAL.replace(
        'charge_yield = "nest"', 'charge_yield = "q.csv"\ngain_per_electron = 20.0\nefficiency = "a.csv"'
    ).replace("[4.0, 6.0, 8.0]", "[80.0, 120.0, 160.0]")
    mine = load_experiment(write(tmp_path, text))
    # N_e = 5 T, so 80, 120, 160 PE at 20 PE per electron are 0.8, 1.2, 1.6 keV.
    expected = [
        2.0 * 0.5 * reference.integrate(reference.spectrum, pair, order=8) for pair in ([0.8, 1.2], [1.2, 1.6])
    ]
    np.testing.assert_allclose(signal_counts(mine, Theory()), expected, rtol=1e-5)


NUISANCE = 'name = "flat"\nsigma = 0.1\ncomponents = ["flat"]'
YIELD = 'charge_yield = "nest"'
BAD_TOML = {
    "unknown key": ("observed =", "observd = 1\nobserved =", "'observd'"),
    "missing name": ('name = "mine"\n', "", "'name'"),
    "missing observed": ("observed = [3, 4]\n", "", "'observed'"),
    "missing exposure": ("exposure_tonne_year = 2.0\n", "", "'exposure_tonne_year'"),
    "missing response": ("[response]\n" + YIELD, "", "'response'"),
    "empty response": (YIELD, "", "charge_yield"),
    "wrong type of name": ('"mine"', "3", "'name'"),
    "wrong type of observed": ("[3, 4]", '"many"', "'observed'"),
    "words in observed": ("[3, 4]", '["a", "b"]', "'observed'"),
    "nested observed": ("[3, 4]", "[[3, 4]]", "observed"),
    "empty observed": ("[3, 4]", "[]", "observed"),
    "boolean exposure": ("2.0", "true", "'exposure_tonne_year'"),
    "text exposure": ("2.0", '"long"', "'exposure_tonne_year'"),
    "negative exposure": ("2.0", "-2.0", "exposure"),
    "zero exposure": ("2.0", "0.0", "exposure"),
    "NaN exposure": ("2.0", "nan", "exposure"),
    "negative counts": ("[3, 4]", "[3, -4]", "observed"),
    "NaN counts": ("[3, 4]", "[nan, 4]", "observed"),
    "infinite background": ("[1.0, 2.0]", "[inf, 2.0]", "flat"),
    "short background": ("[1.0, 2.0]", "[1.0]", "flat"),
    "text background": ("[1.0, 2.0]", '"low"', "'flat'"),
    "backgrounds not a table": ("[backgrounds]\nflat = [1.0, 2.0]", "", "flat"),
    "unknown component": ('["flat"]', '["flatt"]', "flatt"),
    "component not a name": ('["flat"]', "[3]", "components"),
    "components not a list": ('["flat"]', '"flat"', "'components'"),
    "missing sigma": ("sigma = 0.1\n", "", "'sigma'"),
    "misspelt sigma": ("sigma", "sgima", "sigma"),
    "negative sigma": ("sigma = 0.1", "sigma = -0.1", "sigma"),
    "unknown key of a nuisance": (NUISANCE, NUISANCE + "\nshare = true", "share"),
    "shared not a boolean": (NUISANCE, NUISANCE + '\nshared = "yes"', "shared"),
    "one bound": (NUISANCE, NUISANCE + "\nbounds = [0.5]", "bounds"),
    "bounds without 1": (NUISANCE, NUISANCE + "\nbounds = [1.5, 2.0]", "bounds"),
    "few edges": ("[4.0, 6.0, 8.0]", "[4.0, 8.0]", "bin_edges"),
    "falling edges": ("[4.0, 6.0, 8.0]", "[8.0, 6.0, 4.0]", "edges"),
    "NaN edge": ("[4.0, 6.0, 8.0]", "[4.0, 6.0, nan]", "edges"),
    "unknown yield": ('"nest"', '"nets"', "'nets'"),
    "unknown key of the response": (YIELD, YIELD + "\nfeild_V_per_cm = 80.0", "feild_V_per_cm"),
    "negative field": (YIELD, YIELD + "\nfield_V_per_cm = -80.0", "field_V_per_cm"),
    "zero gain": (YIELD, YIELD + "\ngain_per_electron = 0.0", "gain_per_electron"),
    "unknown shape": ("observed =", 'shape = "ortiz"\nobserved =', "ortiz"),
    "long correction": ("observed =", "correction = [1.0, 1.0, 1.0]\nobserved =", "correction"),
    "negative correction": ("observed =", "correction = [1.0, -1.0]\nobserved =", "correction"),
    "missing CSV": (YIELD, 'probabilities = "absent.csv"', "absent.csv"),
    "missing efficiency": (YIELD, YIELD + '\nefficiency = "absent.csv"', "absent.csv"),
    "syntax": ("observed = [3, 4]", "observed = [3, 4", "TOML"),
}


@pytest.mark.parametrize("case", BAD_TOML)
def test_bad_toml(tmp_path, case) -> None:
    old, new, part = BAD_TOML[case]
    assert old in MINIMAL
    file = write(tmp_path, MINIMAL.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))) as error:
        load_experiment(file)
    assert part in str(error.value)


def test_minimal_toml_is_good(tmp_path) -> None:
    assert load_experiment(write(tmp_path, MINIMAL)).observed.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("recoil_keV,bin0\n1,0.5\n2,0.5\n", ("line 1", "bin1")),
        ("recoil_keV,bin0,bin1\n1,0.5,x\n2,0.5,0.1\n", ("line 2", "column bin1")),
        ("recoil_keV,bin0,bin1\n1,0.5,0.7\n2,0.5,0.1\n", ("probabilities",)),
        ("recoil_keV,bin0,bin1\n2,0.5,0.1\n1,0.5,0.1\n", ("energies", "increase")),
    ],
)
def test_bad_probabilities_file(tmp_path, text, parts) -> None:
    (tmp_path / "p.csv").write_text(text)
    file = write(tmp_path, MINIMAL.replace(YIELD, 'probabilities = "p.csv"'))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))) as error:
        load_experiment(file)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("efficiency", "recoil_keV,efficiency\n2,0.5\n1,0.5\n"),
        ("efficiency", "recoil_keV,efficiency\n1,0.5\n2,1.5\n"),
        ("efficiency", "recoil_keV,efficiency\n1,-0.5\n2,0.5\n"),
        ("charge_yield", "recoil_keV,electrons_per_keV\n2,5\n1,5\n"),
        ("charge_yield", "recoil_keV,electrons_per_keV\n1,5\n2,-5\n"),
        ("charge_yield", "recoil_keV,electrons_per_keV\n1,8\n2,3\n"),
    ],
)
def test_unphysical_tables_of_the_response(tmp_path, key, text) -> None:
    """Energies that fall, an acceptance outside [0, 1], a yield that is negative or makes T Q_y(T) fall."""
    (tmp_path / "c.csv").write_text(text)
    line = f'{key} = "c.csv"'
    file = write(tmp_path, MINIMAL.replace(YIELD, line if key == "charge_yield" else f"{YIELD}\n{line}"))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))) as error:
        load_experiment(file)
    assert key in str(error.value) or "c.csv" in str(error.value)


def test_missing_toml(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"absent\.toml: cannot read"):
        experiment(str(tmp_path / "absent.toml"))


def test_toml_takes_no_options(tmp_path) -> None:
    with pytest.raises(ValueError, match="takes no options"):
        experiment(str(write(tmp_path, MINIMAL)), table="T1")
