"""Built-in experiments against the published numbers, and what a user of a CSV or TOML file gets."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcevns import (
    EXPERIMENTS,
    Channel,
    Experiment,
    Likelihood,
    Nuisance,
    ShapeNuisance,
    StandardModel,
    experiment,
    load_experiment,
    normalised,
    profile,
    signal_counts,
)
from jcevns.datasets import read_arrays, read_table
from jcevns.detectors import NestChargeYield, Response, charge_response, interpolated_response, smeared_response
from jcevns.experiments.catalogue import describe, parse_experiment
from jcevns.experiments.pandax4t import TABLES
from jcevns.experiments.xenonnt import unsmeared_response
from jcevns.physics import (
    Helm,
    argon,
    b8,
    cesium_iodide,
    electrons_of,
    hep,
    reactor,
    solar,
    spallation,
    xenon,
    xenon_electrons,
)
from tests import reference

TEMPLATE_FLUX = 5.25e6  # cm^-2 s^-1
TEMPLATE = (3.443, 5.513, 2.960)  # 8B events per cS2 bin at that flux
ELECTRONS = np.linspace(4.0, 8.0, 9)


def printed(digits: int, value: float) -> float:
    """Tolerance on a printed number: half a unit of its last digit and 1%."""
    return 0.5 * 10.0**-digits + 0.01 * abs(value)


@cache
def built(name: str, **options) -> Experiment:
    return experiment(name, **options)


def counts_at(one: Experiment, flux: float) -> np.ndarray:
    """Signal of the Standard Model at a total 8B flux in cm^-2 s^-1."""
    return np.asarray(signal_counts(one, StandardModel())) * (flux / 5.46e6)


def widths_of(one: Experiment) -> dict:
    return {n.name: (n.sigma, n.components, n.shared) for n in one.nuisances}


def flux_errors(one: Experiment) -> dict[str, float]:
    """Relative errors of the fluxes."""
    return {f.parameter.name: f.parameter.sigma / f.parameter.default for f in one.fluxes.values()}


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
    assert flux_errors(xenonnt) == {"flux.b8": pytest.approx(0.12)}
    assert widths_of(xenonnt) == {
        "fiducial_volume": (0.05, ("signal",), False),
        "accidental": (0.048, ("accidental",), False),
        "neutron": (0.5, ("neutron",), False),
        "electronic": (1.0, ("electronic",), False),
    }


@pytest.mark.parametrize(
    ("options", "factors", "digits"),
    [
        ({}, (0.92, 0.91, 0.87), 2),
        ({"shape": "winter2006"}, (0.885, 0.874, 0.828), 3),
        ({"response": "unsmeared"}, (0.83, 0.92, 2.89), 2),
    ],
)
def test_xenonnt_correction_factors(options, factors, digits) -> None:
    """c_i are in the response: what the same experiment without them is multiplied by."""
    corrected, plain = (built("xenonnt-2024-s2", **options, correction=c) for c in ("best-fit", "none"))
    ratio = signal_counts(corrected, StandardModel()) / signal_counts(plain, StandardModel())
    assert_printed(ratio, factors, digits)
    np.testing.assert_allclose(
        corrected.channels[0].response.matrix, ratio[:, None] * plain.channels[0].response.matrix, rtol=1e-12
    )


def test_xenonnt_signal_is_the_template_at_the_best_fit(xenonnt) -> None:
    np.testing.assert_allclose(
        counts_at(xenonnt, TEMPLATE_FLUX), np.array(TEMPLATE) * 10.7 / sum(TEMPLATE), rtol=2e-4
    )
    assert float(jnp.sum(signal_counts(xenonnt, StandardModel()))) == pytest.approx(11.13, abs=5e-3)
    plain = experiment("xenonnt-2024-s2", correction="template")
    np.testing.assert_allclose(counts_at(plain, TEMPLATE_FLUX), TEMPLATE, rtol=0, atol=5.1e-4)


def test_unsmeared_counts_before_correction() -> None:
    channel = Channel(b8(), xenon(), unsmeared_response())
    flat = Experiment("flat", channel, np.ones(3), {}, ())
    assert_printed(counts_at(flat, TEMPLATE_FLUX), (3.74, 5.38, 0.92), 2)


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
    assert float(jnp.sum(signal_counts(pandax, StandardModel()))) == pytest.approx(48.85, abs=5e-3)
    assert pandax.status == "reconstructed"
    assert any("reconstruction" in note and table in note for note in pandax.notes)
    np.testing.assert_allclose(pandax.bin_edges, ELECTRONS)


def test_pandax_nuisances(pandax) -> None:
    assert flux_errors(pandax) == {"flux.b8": pytest.approx(0.12)}
    assert widths_of(pandax) == {
        "signal": (0.22, ("signal",), False),
        "cathode": (0.31, ("cathode",), False),
        "microdischarge": (0.23, ("microdischarge",), False),
    }


def test_pandax_total_at_other_fluxes(pandax) -> None:
    for flux, events in ((7.7e6, 69), (8.4e6, 75)):
        assert float(np.sum(counts_at(pandax, flux))) == pytest.approx(events, abs=0.5)


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
    np.testing.assert_allclose(signal_counts(mine, StandardModel()), [16.9, 13.3, 18.6], rtol=1e-12)
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
    parsed = parse_experiment("pandax4t-us2:table=T3:field=90", shape="winter2006", correction="none")
    built_by_hand = experiment("pandax4t-us2", table="T3", field=90.0, shape="winter2006")
    np.testing.assert_array_equal(parsed.observed, built_by_hand.observed)
    np.testing.assert_array_equal(parsed.channels[0].response.matrix, built_by_hand.channels[0].response.matrix)
    same = experiment("pandax4t-us2:table=T3:field=90", shape="winter2006")
    np.testing.assert_array_equal(same.channels[0].response.matrix, parsed.channels[0].response.matrix)
    for text in ("pandax4t-us2:T3", "pandax4t-us2:table=", "pandax4t-us2:=T3", "pandax4t-us2:"):
        for parse in (parse_experiment, experiment):
            with pytest.raises(ValueError, match="expected NAME:option=value"):
                parse(text)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pandax4t-us2:field=strong", {}, "pandax4t-us2: field 'strong' must be a number, such as 88"),
        ("pandax4t-us2", {"field": True}, "field True must be a number"),
        ("pandax4t-us2", {"field": None}, "field None must be a number"),
        ("pandax4t-us2:field=-5", {}, "pandax4t-us2: field -5 must be from 1 to 100000 (V/cm)"),
        ("pandax4t-us2", {"field": float("nan")}, "field nan must be from 1 to 100000 (V/cm)"),
        ("pandax4t-us2", {"shape": 3}, "pandax4t-us2: shape 3 must be text, such as 'bahcall1996'"),
        ("pandax4t-us2:table=T3", {"table": "T1"}, "option 'table' is given twice"),
        ("pandax4t-us2:table=T3:table=T1", {}, "option 'table' is given twice"),
        ("texono-2010:shape=a", {}, "texono-2010: unknown option 'shape': it has no options"),
        ("coherent-csi-2021:beam_width=0", {}, "beam_width 0 must be from 0.001 to 6 (us)"),
        ("xenonnt-er-2022:bin_keV=wide", {}, "bin_keV 'wide' must be a number, such as 1"),
    ],
)
def test_bad_values_of_options(name, options, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        experiment(name, **options)


def test_description_of_the_built_in_experiments() -> None:
    found = {entry["name"]: entry for entry in describe()}
    assert list(found) == list(EXPERIMENTS)
    us2 = [("table", "T1"), ("shape", "bahcall1996"), ("field", 88.0), ("response", "paper"), ("efficiency", "one")]
    us2 += [("charge_yield", "nest"), ("form_factor", "klein-nystrand"), ("flux", "b8")]
    assert found["pandax4t-us2"]["options"] == us2
    for name, entry in found.items():
        assert entry["status"] == built(name).status
        assert len(entry["about"]) < 100


def test_every_built_in_experiment_has_its_flux() -> None:
    expected = {"flux.b8": 0.12, "flux.sns": 0.10, "flux.solar": 0.10, "flux.dresden": 0.05}
    # B16-GS98 (arXiv:1611.09867); CNO: the errors of its three sources, fully correlated.
    expected |= {"flux.pp": 0.006, "flux.pep": 0.01, "flux.be7": 0.06, "flux.cno": 0.159}
    for name in EXPERIMENTS:
        for flux in built(name).fluxes.values():
            record = flux.parameter
            if record.name in ("flux.reactor", "flux.leibstadt"):
                assert record.sigma is None
            else:
                assert record.sigma == pytest.approx(expected[record.name] * record.default, rel=2e-3)
    csi = built("coherent-csi-2021")
    assert [c.flux.flavours for c in csi.channels] == [("mu",), ("anti-mu", "e")] * 2
    assert list(csi.fluxes) == ["sns"]


# Experiments in Python ----------------------------------------------------------------------------------------


MINE = Channel(b8(), xenon(), Response(np.array([1.0, 2.0]), np.array([[1.0, 0.0], [0.5, 2.0]])))


def by_hand(**changes) -> Experiment:
    options = {
        "name": "mine",
        "channels": MINE,
        "observed": [3, 4],
        "backgrounds": {"flat": [1.0, 2.0]},
        "nuisances": [Nuisance("flat", 0.1, ("flat",))],
    }
    return Experiment(**(options | changes))


def test_record_built_in_python() -> None:
    mine = by_hand(channels=Channel(MINE.flux, MINE.target, MINE.response.times(np.array([1.0, 2.0]))))
    rate = reference.spectrum([1.0, 2.0])
    expected = [rate[0], 2 * (0.5 * rate[0] + 2 * rate[1])]
    np.testing.assert_allclose(signal_counts(mine, StandardModel()), expected, rtol=1e-9)
    assert (mine.status, mine.observed.dtype) == ("user", np.float64)
    fixed = by_hand(channels=normalised(np.array([5.0, 7.0]), MINE))
    np.testing.assert_allclose(signal_counts(fixed, StandardModel()), [5.0, 7.0], rtol=1e-13)


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
        ({"channels": ()}, "at least one channel"),
        ({"channels": (MINE, Channel(b8(), xenon(), Response([1.0], [[1.0]])))}, "one channel has 2 bins, another 1"),
        ({"channels": Channel(b8(), xenon(), Response([1.0], np.ones((3, 2, 1))))}, "a response has anchors (3,)"),
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
    raw = Experiment("raw", Channel(b8(), xenon(), response), t1["observed"], {}, ())
    factors = t1["signal_at_5p46e6"] / signal_counts(raw, StandardModel())
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
    mine, shipped = Likelihood(load_experiment(file)), Likelihood(built("pandax4t-us2"))
    np.testing.assert_allclose(profile(mine).chi2, profile(shipped).chi2, rtol=1e-11, atol=1e-11)
    for flux in (0.0, 5.46e6, 3e7):
        fits = [profile(likelihood, {"flux": flux}).chi2 for likelihood in (mine, shipped)]
        np.testing.assert_allclose(*fits, rtol=1e-11, atol=1e-11)
    assert mine.nuisances[0] == "flux.b8"
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
    channel = Channel(b8(), xenon(), interpolated_response(nodes, table, 2.0))
    folded = Experiment("f", channel, [3, 4], {}, ())
    np.testing.assert_array_equal(signal_counts(mine, StandardModel()), signal_counts(folded, StandardModel()))
    np.testing.assert_allclose(signal_counts(mine, StandardModel()), expected, rtol=2e-2)


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
    np.testing.assert_allclose(signal_counts(mine, StandardModel()), expected, rtol=1e-5)


def with_lines(text: str, top: str = "", **replaced: str) -> str:
    """The minimal file with further lines at the top, and a response in place of its own."""
    body = text.replace(YIELD, replaced.get("response", YIELD), 1)
    return f"{top}\n{body}\n{replaced.get('end', '')}"


PROBABILITIES = "recoil_keV,bin0,bin1\n0.5,0,0\n1,0.3,0.1\n2,0.2,0.5\n4,0.0,0.9\n"
FRACTIONS = {"U235": 0.6, "U238": 0.07, "Pu239": 0.28, "Pu241": 0.05}
SNS = {"protons": 1e23, "per_proton": 0.09, "distance_m": 20.0}


@pytest.mark.parametrize(
    ("flux", "target", "expected_flux", "expected_target"),
    [
        ("", "", b8, xenon),
        ('flux = "b8"\nshape = "winter2006"', "", lambda: b8("winter2006"), xenon),
        (
            'flux = "b8"\nflux_options = {shape = "winter2006", shift = -1, total = 5e6}',
            'target = "argon"',
            lambda: b8("winter2006", -1.0, 5e6),
            argon,
        ),
        ('flux = "hep"', 'target = "xenon"', hep, xenon),
        (
            'flux = "sns"\nflux_options = {protons = 1e23, per_proton = 0.09, distance_m = 20}',
            'target = "cesium-iodide"',
            lambda: spallation(**SNS),
            cesium_iodide,
        ),
        (
            'flux = "solar"\nflux_options = {model = "agss09met", sources = ["pp", "be7"]}',
            'target = "xenon-electrons"\ntarget_options = {binding = "rrpa"}',
            lambda: solar("agss09met", ("pp", "be7")),
            lambda: xenon_electrons("rrpa"),
        ),
        (
            'flux = "reactor"\nflux_options = {total = 1e13, per_fission = 7, fractions = '
            "{U235 = 0.6, U238 = 0.07, Pu239 = 0.28, Pu241 = 0.05}}",
            'target = "electrons"\ntarget_options = {Z = 32, grams_per_mole = 72.63}',
            lambda: reactor(1e13, 7.0, FRACTIONS),
            lambda: electrons_of(32.0, 72.63),
        ),
    ],
)
def test_toml_flux_and_target(tmp_path, flux, target, expected_flux, expected_target) -> None:
    (tmp_path / "p.csv").write_text(PROBABILITIES)
    text = with_lines(MINIMAL, f"{flux}\n{target}", response='probabilities = "p.csv"')
    (channel,) = load_experiment(write(tmp_path, text)).channels
    wanted = expected_flux()
    assert channel.flux.name == wanted.name
    assert channel.flux.error == wanted.error
    for field in ("energy", "shape", "total", "fractions"):
        np.testing.assert_array_equal(getattr(channel.flux, field), getattr(wanted, field))
    for mine, theirs in zip(*(jax.tree.leaves(t) for t in (channel.target, expected_target())), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert type(channel.target) is type(expected_target())


def test_toml_electron_recoils(tmp_path) -> None:
    """XENONnT's electron recoils, written out, with the panels that nobody chose."""
    shipped = built("xenonnt-er-2022")
    table = read_table("xenonnt_er_2022_efficiency")
    pairs = zip(table["energy_keV"].tolist(), table["efficiency"].tolist(), strict=True)
    rows = "\n".join(f"{energy!r},{value!r}" for energy, value in pairs)
    last = f"30.0,{table['efficiency'][-1]}"  # a table is zero beyond its ends
    (tmp_path / "kept.csv").write_text(f"energy_keV,efficiency\n{rows}\n{last}\n")
    file = write(
        tmp_path,
        f"""
name = "er-by-hand"
flux = "solar"
target = "xenon-electrons"
exposure_tonne_year = 1.16
bin_edges = {numbers(shipped.bin_edges)}
observed = {numbers(shipped.observed)}

[response]
resolution = {{sqrt = 0.31, linear = 0.0037}}
efficiency = "kept.csv"
efficiency_at = "reconstructed"

[backgrounds]
other = {numbers(shipped.backgrounds["other"])}

[[parameters]]
name = "other"
sigma = 0.05
components = ["other"]
""",
    )
    mine = load_experiment(file)
    np.testing.assert_allclose(*(signal_counts(e, StandardModel()) for e in (mine, shipped)), rtol=1e-5)
    assert [n.name for n in mine.nuisances] == ["other"]
    assert flux_errors(mine) == {"flux.solar": pytest.approx(0.10)}


def test_toml_smeared_response(tmp_path) -> None:
    """A table of widths, an efficiency at the true energy, a quenching: as in Python."""
    (tmp_path / "s.csv").write_text("energy_keV,sigma_keV\n0,0.1\n20,0.5\n")
    (tmp_path / "a.csv").write_text("energy_keV,efficiency\n2,0.1\n5,0.5\n60,0.9\n")
    (tmp_path / "q.csv").write_text("recoil_keV,quenching\n0,0.2\n60,0.3\n")
    table, kept = ([0.0, 20.0], [0.1, 0.5]), ([2.0, 5.0, 60.0], [0.1, 0.5, 0.9])
    for lines, quenching in (("quenching = 0.25", 0.25), ('quenching = "q.csv"', ([0.0, 60.0], [0.2, 0.3]))):
        response = f'resolution = "s.csv"\nefficiency = "a.csv"\n{lines}'
        mine = load_experiment(write(tmp_path, with_lines(MINIMAL, 'target = "argon"', response=response)))
        wanted = smeared_response([4.0, 6.0, 8.0], 2.0, table, kept, quenching=quenching)
        np.testing.assert_allclose(mine.channels[0].response.matrix, wanted.matrix, rtol=1e-12)
        assert isinstance(mine.channels[0].target, type(argon()))


def test_toml_parameters(tmp_path) -> None:
    end = """
[[parameters]]
name = "flux.b8"
sigma = 0.2

[[parameters]]
name = "energy_scale"
components = {signal = 0.05, flat = -0.1}

[[parameters]]
name = "lifetime"
sigma = 0.02
components = {signal = 0.02, flat = 0.01}
shared = true
bounds = [0.5, 2.0]
"""
    mine = load_experiment(write(tmp_path, with_lines(MINIMAL.replace("nuisances", "parameters"), end=end)))
    assert flux_errors(mine) == {"flux.b8": pytest.approx(0.2)}
    flat, scale, lifetime = mine.nuisances
    assert flat == Nuisance("flat", 0.1, ("flat",))
    assert (scale.sigma, scale.power("signal"), scale.power("flat")) == (0.1, 0.5, -1.0)
    assert lifetime == Nuisance("lifetime", 0.02, ("signal", "flat"), True, (0.5, 2.0), (0.02, 0.01))
    names = list(Likelihood(mine).parameters)
    assert names[-4:] == ["flux.b8", "mine.flat", "mine.energy_scale", "lifetime"]


@pytest.mark.parametrize("entry", ['name = "b8_flux"\ncomponents = ["signal"]\nshared = true', 'name = "flux.b8"'])
@pytest.mark.parametrize("spelling", ["nuisances", "parameters"])
def test_toml_error_of_the_flux(tmp_path, entry, spelling) -> None:
    end = f"[[{spelling}]]\n{entry}\nsigma = 0.3\n"
    mine = load_experiment(write(tmp_path, with_lines(MINIMAL.replace("nuisances", spelling), end=end)))
    assert flux_errors(mine) == {"flux.b8": pytest.approx(0.3)}
    assert [n.name for n in mine.nuisances] == ["flat"]


SHAPES = """
[[nuisances]]
name = "yield"
kind = "shape"
anchors = [-1, 0, 1]
"""
TWO_SHAPES = SHAPES + SHAPES.replace("yield", "light").replace("[-1, 0, 1]", "[0, 2]")


def test_toml_shapes(tmp_path) -> None:
    rows = "flat = [[0.5, 2.5], [1.0, 2.0], [1.5, 1.5]]"
    text = with_lines(MINIMAL.replace("flat = [1.0, 2.0]", rows), end=SHAPES)
    mine = load_experiment(write(tmp_path, text))
    assert mine.shapes == (ShapeNuisance("yield", (-1.0, 0.0, 1.0)),)
    assert (mine.morphing, mine.backgrounds["flat"].shape) == ("grid", (3, 2))
    plain = signal_counts(load_experiment(write(tmp_path, MINIMAL)), StandardModel())
    np.testing.assert_allclose(signal_counts(mine, StandardModel()), np.tile(plain, (3, 1)), rtol=1e-12)
    assert list(Likelihood(mine).parameters)[-1] == "mine.yield"


@pytest.mark.parametrize(("morphing", "shape"), [("grid", (3, 2, 2)), ("sum", (5, 2))])
def test_toml_shapes_together(tmp_path, morphing, shape) -> None:
    rows = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape).tolist()
    text = MINIMAL.replace("flat = [1.0, 2.0]", f"flat = {rows}\nother = [1, 1]")
    mine = load_experiment(write(tmp_path, with_lines(text, f'morphing = "{morphing}"', end=TWO_SHAPES)))
    np.testing.assert_array_equal(mine.backgrounds["flat"], rows)
    assert mine.channels[0].response.matrix.shape[:-1] == shape
    assert (mine.morphing, mine.backgrounds["other"].shape) == (morphing, (2,))


def test_toml_signal_that_changes_shape(tmp_path) -> None:
    for i, scale in enumerate((0.8, 1.0, 1.1)):
        (tmp_path / f"p{i}.csv").write_text(
            f"recoil_keV,bin0,bin1\n0.5,0,0\n1,{0.3 * scale},0.1\n4,0,{0.9 / scale / 2}\n"
        )
    text = with_lines(MINIMAL, response='probabilities = ["p0.csv", "p1.csv", "p2.csv"]', end=SHAPES)
    found = np.asarray(signal_counts(load_experiment(write(tmp_path, text)), StandardModel()))
    assert found.shape == (3, 2)
    for i in range(3):
        alone = with_lines(MINIMAL, response=f'probabilities = "p{i}.csv"')
        wanted = signal_counts(load_experiment(write(tmp_path, alone)), StandardModel())
        np.testing.assert_allclose(found[i], wanted, rtol=1e-12)


NUISANCE = 'name = "flat"\nsigma = 0.1\ncomponents = ["flat"]'
YIELD = 'charge_yield = "nest"'
BAD_TOML = {
    "unknown key": ("observed =", "observd = 1\nobserved =", "'observd'"),
    "missing name": ('name = "mine"\n', "", "'name'"),
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
    "unknown flux": ("observed =", 'flux = "b9"\nobserved =', "unknown flux 'b9' (did you mean b8?)"),
    "unknown target": ("observed =", 'target = "xeon"\nobserved =', "unknown target 'xeon' (did you mean xenon?)"),
    "flux not a name": ("observed =", "flux = 3\nobserved =", "'flux' holds 3"),
    "flux without numbers": ("observed =", 'flux = "sns"\nobserved =', "[flux_options]: missing key 'protons'"),
    "unknown flux option": ("observed =", "flux_options = {totl = 3e6}\nobserved =", "did you mean total?"),
    "negative flux": ("observed =", "flux_options = {total = -3e6}\nobserved =", "'total' is -3e+06"),
    "shape of another flux": ("observed =", 'flux = "hep"\nshape = "winter2006"\nobserved =', "key 'shape'"),
    "two shapes": (
        "observed =",
        'shape = "winter2006"\nflux_options = {shape = "winter2006"}\nobserved =',
        "key 'shape' is given twice",
    ),
    "shift of a shape that has none": (
        "observed =",
        "flux_options = {shift = 1}\nobserved =",
        "[flux_options]: the ",
    ),
    "fission fractions": (
        "observed =",
        'flux = "reactor"\nflux_options = {fractions = {U235 = 1}}\nobserved =',
        "[flux_options] fractions: missing key 'Pu239'",
    ),
    "unknown target option": ("observed =", 'target_options = {binding = "free"}\nobserved =', "key 'binding'"),
    "unknown binding": (
        "observed =",
        'target = "xenon-electrons"\ntarget_options = {binding = "loose"}\nobserved =',
        "[target_options]: unknown treatment of bound electrons 'loose'",
    ),
    "yield of another target": ("observed =", 'target = "argon"\nobserved =', "the target is 'argon'"),
    "two responses": (YIELD, YIELD + "\nresolution = {sqrt = 0.3}", "not charge_yield and resolution"),
    "key of another response": (YIELD, "resolution = {sqrt = 0.3}\ngain_per_electron = 2", "'gain_per_electron'"),
    "field of a power law": (YIELD, 'charge_yield = "power-law"\nfield_V_per_cm = 80', "'field_V_per_cm'"),
    "unknown coefficient": (YIELD, "resolution = {sqr = 0.3}", "resolution: unknown key 'sqr' (did you mean sqrt?)"),
    "text as coefficient": (YIELD, 'resolution = {sqrt = "0.3"}', "key 'sqrt'"),
    "resolution a number": (YIELD, "resolution = 0.3", "key 'resolution'"),
    "negative resolution": (YIELD, "resolution = {sqrt = -0.3}", "resolution is -"),
    "efficiency nowhere": (YIELD, "resolution = {sqrt = 0.3}\nefficiency_at = 'true'", "'efficiency_at'"),
    "efficiency elsewhere": (
        YIELD,
        "resolution = {sqrt = 0.3}\nefficiency = 'a.csv'\nefficiency_at = 'recon'",
        "a.csv",
    ),
    "few probabilities": (YIELD, "probabilities = ['a.csv', 'b.csv']", "2 files, expected one for each of 1 rows"),
    "both spellings": ("[[nuisances]]", '[[parameters]]\nname = "a"\nsigma = 1\n[[nuisances]]', "[[parameters]]"),
    "no name": ('[[nuisances]]\nname = "flat"', "[[nuisances]]", "entry 1 of [[nuisances]]: missing key 'name'"),
    "not an array": ("[[nuisances]]", "[nuisances]", "'nuisances'"),
    "unknown kind": (NUISANCE, NUISANCE + '\nkind = "shap"', "unknown kind 'shap' (did you mean shape?)"),
    "sigma of a shape": (NUISANCE, 'name = "flat"\nkind = "shape"\nanchors = [0, 1]\nsigma = 1', "key 'sigma'"),
    "anchors of a factor": (NUISANCE, NUISANCE + "\nanchors = [0, 1]", "key 'anchors'"),
    "no anchors": (NUISANCE, 'name = "flat"\nkind = "shape"', "missing key 'anchors'"),
    "anchors without nominal": (NUISANCE, 'name = "flat"\nkind = "shape"\nanchors = [1, 2]', "0 (nominal)"),
    "morphing nothing": ("observed =", 'morphing = "sum"\nobserved =', "'morphing'"),
    "rows for no shape": ("[1.0, 2.0]", "[[1.0, 2.0], [1.0, 2.0]]", "flat"),
    "ragged rows": ("[1.0, 2.0]", "[[1.0, 2.0], [1.0]]", "key 'flat'"),
    "no components": (NUISANCE, 'name = "flat"\ncomponents = {}', "flat"),
    "text as width": (NUISANCE, 'name = "flat"\ncomponents = {flat = "wide"}', "key 'flat'"),
    "width of nothing": (NUISANCE, 'name = "flat"\ncomponents = {flatt = 0.1}', "flatt"),
    "name with a dot": (NUISANCE, NUISANCE.replace('"flat"', '"fl.at"', 1), "fl.at"),
    "another flux": (NUISANCE, 'name = "flux.hep"\nsigma = 0.1', "the flux of this file is 'flux.b8'"),
    "another flux in the old spelling": (NUISANCE, 'name = "sns_flux"\nsigma = 0.1', "'flux.b8'"),
    "flux on a background": (NUISANCE, 'name = "flux.b8"\nsigma = 0.1\ncomponents = ["flat"]', "the signal alone"),
    "flux of its own": (NUISANCE, 'name = "b8_flux"\nsigma = 0.1\nshared = false', "one for all experiments"),
    "flux with bounds": (NUISANCE, 'name = "b8_flux"\nsigma = 0.1\nbounds = [0.5, 2]', "'bounds'"),
    "flux without error": (NUISANCE, 'name = "flux.b8"', "missing key 'sigma'"),
    "flux with no error": (NUISANCE, 'name = "flux.b8"\nsigma = 0', "key 'sigma' is 0"),
    "flux twice": (
        NUISANCE,
        'name = "b8_flux"\nsigma = 1\n[[nuisances]]\nname = "flux.b8"\nsigma = 1',
        "two entries",
    ),
    "notes not words": ("observed =", "notes = [3]\nobserved =", "'notes'"),
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
