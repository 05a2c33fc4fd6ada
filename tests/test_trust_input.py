"""Inputs, options, names and files: bad ones are refused in one line before anything is computed or written."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import xlogy

import jcevns as jc
from jcevns import cli
from jcevns.experiments import catalogue
from jcevns.experiments.nuisances import _number
from jcevns.files import write_csv, write_text
from jcevns.fit.rounding import percent
from jcevns.plot.exclusion import borders, plot_limits, plot_scan, plot_scan_curve
from jcevns.plot.projections import plot_projection
from jcevns.plot.style import figure, plain, save
from tests import problems

XENONNT = "xenonnt-2024-s2"
TOP = {"name": '"t"', "observed": "[5, 3]", "bin_edges": "[4, 6, 8]", "exposure_tonne_year": "0.01"}
BACKGROUND = "[backgrounds]\nbg = [2.0, 2.0]\n"


def toml(response: str = 'charge_yield = "nest"', rest: str = "", **top: str) -> str:
    """A file of two bins with some keys changed."""
    keys = "".join(f"{key} = {value}\n" for key, value in {**TOP, **top}.items())
    return f"{keys}[response]\n{response}\n{rest}\n"


def nuisance(text: str) -> str:
    return f'{BACKGROUND}[[parameters]]\nname = "bg"\n{text}\n'


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with the tables that the files name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("recoil_keV,bin0,bin1\n0,0,0\n1,0.5,0.3\n10,0.1,0.2\n", encoding="utf-8")
    (tmp_path / "zero.csv").write_text("recoil_keV,efficiency\n0,0\n100,0\n", encoding="utf-8")
    (tmp_path / "mine.csv").write_text("recoil_keV,events_per_tonne_year_keV\n0.5,400\n3.0,100\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(capsys, here):
    """Runs a command in this process; exit code and both streams."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.guarded(lambda: cli.cli([str(a) for a in arguments], standalone_mode=False))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def refused(result: tuple[int, str, str], message: str) -> None:
    """Exit code 2, one line, nothing else."""
    code, out, err = result
    assert (code, out) == (2, ""), (code, out, err)
    assert message in err
    assert err.count("\n") == 1
    assert "internal error" not in err


HUGE = "1" + "0" * 400
FILES = {
    "exposure of 400 digits": (toml(exposure_tonne_year=HUGE), "its size must be between"),
    "exposure of 5000 digits": (toml(exposure_tonne_year="1" * 5000), "not a valid TOML file"),
    "exposure in quotes": (toml(exposure_tonne_year='"1"'), "must be a number"),
    "exposure a truth value": (toml(exposure_tonne_year="true"), "must be a number"),
    "exposure 1e308": (toml(exposure_tonne_year="1e308"), "its size must be between"),
    "one count a truth value": (toml(observed="[true, 3]"), "holds True, it must be a number"),
    "counts in quotes": (toml(observed='["5", "3"]'), "holds '5', it must be a number"),
    "counts of 400 digits": (toml(observed=f"[{HUGE}, 3]"), "its size must be between"),
    "counts of 1e16": (toml(observed="[1e16, 3]"), "counts in a bin are more than"),
    "counts nested": (toml(observed="[" * 60 + "1" + "]" * 60), "nested more than"),
    "counts a date": (toml(observed="[1979-05-27, 1]"), "must be a number"),
    "background 1e308": (toml(rest="[backgrounds]\nbg = [1e308, 1e308]"), "its size must be between"),
    "background of truth values": (toml(rest="[backgrounds]\nbg = [true, 2.0]"), "must be a number"),
    "edges that fall": (toml(bin_edges="[8, 6, 4]"), "increase"),
    "edges that fall beside probabilities": (toml('probabilities = "p.csv"', bin_edges="[8, 6, 4]"), "increase"),
    "edges nested beside probabilities": (toml('probabilities = "p.csv"', bin_edges="[[4, 6, 8]]"), "not of lists"),
    "edges infinite": (toml(bin_edges="[4, 6, inf]"), "finite"),
    "edges a truth value": (toml(bin_edges="[true, 6, 8]"), "must be a number"),
    "field 1e300": (toml('charge_yield = "nest"\nfield_V_per_cm = 1e300'), "its size must be between"),
    "efficiency zero": (toml('charge_yield = "nest"\nefficiency = "zero.csv"'), "no recoil is counted"),
    "correction zero": (toml(correction="[0, 0]"), "there would be no signal"),
    "correction a number": (toml(correction="2"), "must be a list"),
    "sigma 1e-300": (toml(rest=nuisance('sigma = 1e-300\ncomponents = ["bg"]')), "its size must be between"),
    "sigma 1e-12": (toml(rest=nuisance('sigma = 1e-12\ncomponents = ["bg"]')), "leave the nuisance out"),
    "sigma a truth value": (toml(rest=nuisance('sigma = true\ncomponents = ["bg"]')), "must be a number"),
    "bounds nested": (toml(rest=nuisance("sigma = 0.1\nbounds = [[0.5, 1.5]]")), "two factors"),
    "bounds ragged": (toml(rest=nuisance("sigma = 0.1\nbounds = [0.5, [1.5]]")), "list of numbers"),
    "bounds with truth values": (toml(rest=nuisance("sigma = 0.1\nbounds = [false, 2]")), "must be a number"),
    "anchors nested": (toml(rest=nuisance('kind = "shape"\nanchors = [[-1, 0, 1]]')), "not of lists"),
    "anchors infinite": (toml(rest=nuisance('kind = "shape"\nanchors = [-inf, 0, 1]')), "standard deviations"),
    "component twice": (toml(rest=nuisance('sigma = 0.1\ncomponents = ["bg", "bg"]')), "named twice"),
    "lists nested 2000 deep": ("a = " + "[" * 2000 + "]" * 2000, "nested too deeply"),
    "tables nested 2000 deep": ("a = " + "{a=" * 2000 + "1" + "}" * 2000, "nested too deeply"),
    "flux of 1e300": (toml(rest="[flux_options]\ntotal = 1e300"), "its size must be between"),
    "solar source twice": (toml(flux='"solar"', rest='[flux_options]\nsources = ["pp", "pp"]'), "named twice"),
    "half an electron": (
        toml('probabilities = "p.csv"', target='"electrons"', rest="[target_options]\nZ = 0.5\ngrams_per_mole = 9"),
        "from 1 up",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_numbers_of_a_file_have_a_type_and_a_range(call, here, case):
    text, message = FILES[case]
    (here / "bad.toml").write_text(text, encoding="utf-8")
    refused(call("parameters", "--experiments", "bad.toml"), message)


def test_events_where_nothing_is_expected_are_named(call, here):
    """pp neutrinos leave no recoil of 4 electrons in xenon: chi2 is infinite whatever their flux."""
    (here / "bad.toml").write_text(toml(flux='"solar"', rest='[flux_options]\nsources = ["pp"]'), encoding="utf-8")
    refused(call("fit", "flux", "--experiments", "bad.toml"), "bin 0 has 5 events, and nothing is expected in it")


UNUSED = {
    "efficiency beside probabilities": (toml('probabilities = "p.csv"\nefficiency = "none.csv"'), "'efficiency'"),
    "gain beside probabilities": (toml('probabilities = "p.csv"\ngain_per_electron = 2'), "'gain_per_electron'"),
    "field beside probabilities": (toml('probabilities = "p.csv"\nfield_V_per_cm = 90'), "'field_V_per_cm'"),
    "charge yield beside probabilities": (toml('probabilities = "p.csv"\ncharge_yield = "nest"'), "give one of"),
    "field beside power law": (toml('charge_yield = "power-law"\nfield_V_per_cm = 90'), "'field_V_per_cm'"),
    "quenching beside charge yield": (toml('charge_yield = "nest"\nquenching = 0.2'), "'quenching'"),
    "shift of another shape": (toml(rest="[flux_options]\nshift = 1.0"), "shift needs"),
    "shape of another flux": (toml(flux='"hep"', shape='"winter2006"'), "'shape'"),
    "binding of nuclei": (toml(rest='[target_options]\nbinding = "steps"'), "'binding'"),
    "anchors of a normalisation": (toml(rest=nuisance("sigma = 0.1\nanchors = [-1, 0, 1]")), "'anchors'"),
    "a shape that nothing depends on": (toml(rest=nuisance('kind = "shape"\nanchors = [-1, 0, 1]')), "no template"),
    "morphing without shapes": (toml(morphing='"sum"'), "'morphing'"),
}


@pytest.mark.parametrize("case", UNUSED)
def test_keys_without_effect_are_refused(call, here, case):
    text, message = UNUSED[case]
    (here / "bad.toml").write_text(text, encoding="utf-8")
    refused(call("parameters", "--experiments", "bad.toml"), message)


COMMANDS = [
    ("fit flux --experiments xenonnt-2024-s2:shape=1", "unknown 8B shape '1'"),
    ("fit flux --experiments pandax4t-us2:table=nan", "unknown table 'nan'"),
    ("fit flux --experiments xenonnt-2024-s2:correction=2", "unknown correction '2'"),
    ("fit flux --experiments pandax4t-us2:field=1e300", "field 1e+300 must be from 1 to 100000"),
    ("fit flux --experiments pandax4t-us2:field=1_00", "must be a number"),
    ("fit sin2w --experiments xenonnt-2024-s2 --at flux=1_000", "'1_000' is not a number"),
    ("limit scalar --experiments xenonnt-2024-s2 --mass 1_0", "not a list of numbers"),
    ("limit scalar --experiments xenonnt-2024-s2 --mass 1:10:1_0", "write lo:hi:n"),
    ("posterior --experiments xenonnt-2024-s2 --prior flux=uniform:0:1_0 --out x", "all numbers"),
    ("fit flux --experiments xenonnt-er-2022:bin_keV=1e-9", "must be from 0.1"),
    ("fit flux --experiments coherent-csi-2021:beam_width=1e300", "must be from 0.001"),
    ("fit flux --experiments xenonnt-2024-s2:shape=winter2006:shape=winter2006", "given twice"),
    ("fit flux --experiments xenonnt-2024-s2:shape=winter2006 --shape bahcall1996", "--shape is not used here"),
    ("fit strength --theory spectrum:mine.csv --shape winter2006 --experiments xenonnt-2024-s2", "--shape is not"),
    ("fit coupling --theory scalar:mass=1:mass=2 --experiments xenonnt-2024-s2", "given twice"),
    ("fit coupling --theory scalar:mass=a --experiments xenonnt-2024-s2", "must be a number"),
    ("fit coupling --theory scalar:mass=1,2 --experiments xenonnt-2024-s2", "must be a number"),
    ("fit coupling --theory scalar:mass=1e300 --experiments xenonnt-2024-s2", "too large"),
    ("fit coupling --theory vector:flavours=1,0 --experiments xenonnt-2024-s2", "three numbers"),
    ("fit coupling --theory vector:flavours=nan,0,0 --experiments xenonnt-2024-s2", "finite"),
    ("fit coupling --theory scalar:f_p=1 --experiments xenonnt-2024-s2", "2 numbers"),
    ("fit coupling --theory scalar:form_factor=1 --experiments xenonnt-2024-s2", "must be a word"),
    ("fit coupling --theory scalar:standard_model=1 --experiments xenonnt-2024-s2", "is for Python"),
    ("fit coupling --theory tensor:tensor_charge=x --experiments xenonnt-2024-s2", "must be a number"),
    ("fit sin2w --at accidental=1e300 --experiments xenonnt-2024-s2", "too large"),
    ("fit sin2w --constrained accidental --experiments xenonnt-2024-s2", "keeps its constraint anyway"),
    ("limit scalar --mass 1:100:100000000 --experiments xenonnt-2024-s2", "too many"),
    ("limit scalar --mass 10 --spectrum mine.csv --experiments xenonnt-2024-s2", "give one of the two"),
    ("limit scalar --mass 10 --dof 1000000000 --experiments xenonnt-2024-s2", "dof"),
    ("limit sin2w --b8 none --experiments xenonnt-2024-s2", "--b8 is not used here"),
    ("contour sin2w flux --cl 0.9,0.9 --json --experiments xenonnt-2024-s2", "given twice"),
    ("contour sin2w flux --window sin2w=1e300:1e301 --json --experiments xenonnt-2024-s2", "too large"),
    ("posterior --target-accept 2 --experiments xenonnt-2024-s2", "between 0 and 1"),
    ("posterior --seed 99999999999999999999 --experiments xenonnt-2024-s2", "whole number from 0"),
    ("toys significance --seed -1 --toys 10 --experiments xenonnt-2024-s2", "whole number from 0"),
    ("toys coverage --values 5e6 --cl 0.9 --experiments xenonnt-2024-s2", "--cl is not used here"),
    ("project --exposure 1e300 --experiments xenonnt-2024-s2", "must be from 1e-6"),
    ("project --exposure 10 --background 1e300 --experiments xenonnt-2024-s2", "must be from 1e-6"),
    ("spectrum --flux 1e300", "too large"),
    ("spectrum --sin2w 1e300", "too large"),
]


@pytest.mark.parametrize(("command", "message"), COMMANDS, ids=[c for c, _ in COMMANDS])
def test_options_have_a_type_a_range_and_an_effect(call, command, message):
    refused(call(*command.split()), message)


def test_every_number_of_an_experiment_has_a_range():
    for entry in catalogue.describe():
        for option, default in entry["options"]:
            if not isinstance(default, str):
                for value in (True, "x", np.nan, 1e300, -1e300):
                    with pytest.raises(ValueError, match=f"{entry['name']}: {option} "):
                        jc.experiment(entry["name"], **{option: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 1e-300}, "leave the nuisance out"),
        ({"sigma": 1e300}, "to free it"),
        ({"bounds": (0.5, np.nan)}, "must be a number"),
        ({"components": ("bg", "bg")}, "named twice"),
        ({"name": "=1+1"}, "begins with a letter"),
    ],
)
def test_a_nuisance_in_python_has_ranges_too(settings, message):
    with pytest.raises(ValueError, match=message):
        jc.Nuisance(**{"name": "a", "sigma": 0.1, "components": ("bg",), **settings})
    for value in (True, "0.1", [0.1], None, np.nan, int(HUGE)):
        with pytest.raises(ValueError, match="must be a number"):
            _number("nuisance 'a'", "sigma", value)


def test_strength_limit_honours_dof(call):
    """Delta chi2 = 4.605 for two parameters and 2.706 for one (chi2 quantiles of 90%)."""
    for dof, threshold in ((1, 2.705543), (2, 4.605170)):
        options = ("--spectrum", "mine.csv", "--dof", dof, "--experiments", XENONNT, "--json")
        assert json.loads(call("limit", "strength", *options)[1])["delta_chi2"] == pytest.approx(threshold, abs=1e-5)


NAMES = [
    "a.b",
    "a/b",
    "a\\\\b",
    "a:b",
    "a,b",
    "a=b",
    "<b>x</b>",
    "$x_$",
    "=1+1",
    "-a",
    "@a",
    " a",
    "",
    "flux",
    "a\\u001bb",
    "a\\nb",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_separate_or_are_markup_are_refused(call, here, name):
    (here / "bad.toml").write_text(toml(name=f'"{name}"'), encoding="utf-8")
    refused(call("parameters", "--experiments", "bad.toml"), "name")
    if name != "flux":
        text = toml(rest=f'[backgrounds]\n"{name}" = [2.0, 2.0]\n')
        (here / "bad.toml").write_text(text, encoding="utf-8")
        refused(call("parameters", "--experiments", "bad.toml"), "name")
        text = toml(rest=f'{BACKGROUND}[[parameters]]\nname = "{name}"\nsigma = 0.1\ncomponents = ["bg"]\n')
        (here / "bad.toml").write_text(text, encoding="utf-8")
        refused(call("parameters", "--experiments", "bad.toml"), "name")


def test_control_characters_in_notes_are_refused(call, here):
    for key in ("notes", "observable"):
        value = '"\\u001b[31mred"'
        (here / "bad.toml").write_text(toml(**{key: f"[{value}]" if key == "notes" else value}), encoding="utf-8")
        refused(call("parameters", "--experiments", "bad.toml"), "control characters")


def test_two_labels_never_meet():
    """ "run.b" + "x" and "run" + "b.x" would both be run.b.x; a shared name has no dot, so it is nobody's label."""
    for name in ("b.x", "run.b"):
        with pytest.raises(ValueError, match="no dot"):
            jc.Nuisance(name, 0.1, ("bg",), shared=True)
    with pytest.raises(ValueError, match="that of the fluxes"):
        # flux + b8 would be flux.b8
        _experiment("flux", [5, 3], jc.Nuisance("b8", 0.1, ("bg",)))
    with pytest.raises(ValueError, match="'sin2w'"):
        jc.Likelihood(_experiment("a", [5, 3], jc.Nuisance("sin2w", 0.1, ("bg",), shared=True)))


def _experiment(name: str, observed: list[float], *nuisances: jc.Nuisance) -> jc.Experiment:
    """Two bins with background."""
    response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), [4.0, 6.0, 8.0], exposure=0.1)
    channel = jc.Channel(jc.physics.b8(), jc.physics.xenon(), response)
    return jc.Experiment(name, channel, observed, {"bg": [20.0, 20.0]}, nuisances)


def test_shared_nuisances_agree_or_are_refused_in_any_order():
    one = jc.Nuisance("scale", 0.5, ("bg",), shared=True, bounds=(0.9, 1.1))
    for other, word in (
        (jc.Nuisance("scale", 0.5, ("bg",), shared=True), "lower"),
        (jc.Nuisance("scale", 0.5, ("bg",), shared=True, bounds=(0.9, 1.2)), "upper"),
        (jc.Nuisance("scale", 0.4, ("bg",), shared=True, bounds=(0.9, 1.1)), "sigma"),
    ):
        pair = [_experiment("a", [60, 40], one), _experiment("b", [90, 80], other)]
        for experiments in (pair, pair[::-1]):
            with pytest.raises(
                ValueError, match=f"shared parameter 'scale' has {word} .*make them equal or not shared"
            ):
                jc.Likelihood(experiments)
    other = jc.Nuisance("scale", 0.5, ("signal",), shared=True, bounds=(0.9, 1.1))
    pair = [_experiment("a", [60, 40], one), _experiment("b", [90, 80], other)]
    for experiments in (pair, pair[::-1]):
        with pytest.raises(ValueError, match="acts on the signal in 'b' and on backgrounds alone in 'a'"):
            jc.Likelihood(experiments)
    pair = [_experiment("a", [60, 40], one), _experiment("b", [90, 80], one)]
    values = [jc.fit(experiments, "flux", errors=False).values["flux.b8"] for experiments in (pair, pair[::-1])]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_shared_efficiency_acts_on_a_signal_of_ones_own(call, here):
    """8B as background of a tabulated signal: an efficiency shared by both, against a minimisation by SciPy."""
    entries = "".join(
        f'[[nuisances]]\nname = "{name}"\nsigma = {sigma}\ncomponents = ["signal"]\nshared = true\n'
        for name, sigma in (("b8_flux", 0.12), ("efficiency", 0.3))
    )
    text = toml(observed="[40, 30]", exposure_tonne_year="0.3", rest=f"[backgrounds]\nbg = [3.0, 2.0]\n{entries}")
    (here / "a.toml").write_text(text, encoding="utf-8")
    found = json.loads(call("limit", "strength", "--spectrum", "mine.csv", "--experiments", "a.toml", "--json")[1])
    own = jc.experiment("a.toml")
    observed, background = np.asarray(own.observed), np.array([3.0, 2.0])
    signal, b8 = (np.asarray(jc.signal_counts(own, jc.theory(t))) for t in ("spectrum:mine.csv", "standard-model"))

    def profile(strength: float) -> float:
        def chi2(logs: np.ndarray) -> float:
            flux, efficiency = np.exp(logs)
            n = efficiency * (strength * signal + flux * b8) + background
            poisson = 2 * np.sum(n - observed + xlogy(observed, observed / n))
            return float(poisson + ((flux - 1) / 0.12) ** 2 + ((efficiency - 1) / 0.3) ** 2)

        return min(minimize(chi2, start, method="BFGS", tol=1e-10).fun for start in ([0, 0], [0, -0.5]))

    lowest = min(profile(s) for s in np.linspace(0, 3, 61))
    upper = brentq(lambda s: profile(s) - lowest - 2.705543, 1.0, 8.0)
    assert found["excluded"][-1][0] == pytest.approx(upper, rel=1e-3)


def test_cells_of_a_table_are_no_formulas(tmp_path):
    cells = ["=1+1", "+a", "-a", "@a", "a", "", -1.5]
    path = write_csv(tmp_path / "t.csv", ["=x", *"bcdefg"], [cells])
    header, row = csv.reader(path.read_text(encoding="utf-8").splitlines())
    assert header[0] == "'=x"
    assert row == ["'=1+1", "'+a", "'-a", "'@a", "a", "", "-1.5"]


def test_a_path_that_is_none_is_named_and_nothing_is_left(tmp_path):
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "x")
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "no" / "x.csv", "x")
    assert caught.value.filename == str(tmp_path / "no" / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_a_path_is_said_in_one_line(call, here):
    for place in (".", "", "none/x.csv", "mine.csv/x.csv", "a\0b"):
        refused(call("spectrum", "--thresholds", "1", "--csv", place), "")
    refused(call("toys", "fit-quality", "--toys", "9", "--store", "mine.csv", "--experiments", XENONNT), "mine.csv")
    refused(call("fit", "flux", "a\rb\x1b[31m", "--experiments", XENONNT), r"a b\x1b[31m")
    assert {path.name for path in here.iterdir()} == {"p.csv", "zero.csv", "mine.csv"}


def test_html_of_a_fit_escapes_what_is_in_it():
    fit = jc.fit(problems.built(problems.XENONNT), "flux", errors=False)
    html = dataclasses.replace(fit, experiments=("<script>x</script>",), problems=("<b>&",))._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;&amp;" in html


def test_dollars_in_figures_are_formulas_only_where_they_can_be_drawn():
    assert plain("$N_e$") == "$N_e$"
    assert plain(r"costs $\nothing$") == r"costs \$\nothing\$"
    assert plain("5 $") == r"5 \$"


def test_figures_of_names_with_dots(tmp_path):
    for stem in ("scan_v1.5", "scan_v1.7", "plain", "with.png"):
        fig, _ = figure()
        save(fig, tmp_path / stem)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{s}.{e}" for s in ("scan_v1.5", "scan_v1.7", "plain", "with") for e in ("png", "pdf")}
    with pytest.raises(ValueError, match="no name for a figure"):
        save(figure()[0], Path("."))


def _scan(mass, coupling):
    likelihood = problems.joint((problems.XENONNT,)).under("scalar")
    return jc.scan(likelihood, {"mass": mass, "coupling": coupling}, progress=False)


def test_the_order_of_axes_does_not_matter():
    mass, coupling, mixed = np.geomspace(1, 100, 5), np.geomspace(1e-6, 1e-3, 13), np.random.default_rng(0)
    whole = _scan(mass, coupling)
    (line,) = jc.contours(whole).lines
    drawn = plot_scan(whole).contours[0.90].allsegs[0]
    for axes in ((mixed.permutation(mass), coupling), (mass, mixed.permutation(coupling)), (mass[::-1], coupling)):
        other = _scan(*axes)
        (again,) = jc.contours(other).lines
        assert np.allclose(line, again, rtol=1e-6)
        for a, b in zip(drawn, plot_scan(other).contours[0.90].allsegs[0], strict=True):
            assert np.allclose(a, b, rtol=1e-6)


def test_limits_are_drawn_in_the_order_of_their_places():
    likelihood = problems.joint((problems.XENONNT,)).under("scalar")
    places = [100.0, 1.0, 10.0]
    found = jc.limits(likelihood, "coupling", over={"mass": places})
    place, lower, *_ = borders(found)
    assert place.tolist() == [1.0, 10.0, 100.0]
    assert np.all(np.diff(lower) > 0)  # heavier mediators are constrained less
    assert plot_limits(found).ax.get_xlim() == (1.0, 100.0)
    with pytest.raises(ValueError, match="these differ in sin2w"):
        borders(jc.limits(likelihood, "coupling", over={"mass": [1.0, 10.0], "sin2w": [0.23, 0.24]}))
    with pytest.raises(ValueError, match="over="):
        borders(jc.limits(problems.joint((problems.XENONNT,)), "sin2w"))


def test_exposures_are_drawn_in_order():
    row = {"quantity": "90% CL upper limit", "unit": "", "truth": 0.0, "asimov": 1.0}
    rows = [{**row, "exposure": e, "bands": [e + i for i in range(5)]} for e in (20.0, 10.0)]
    ax = plot_projection(rows)
    assert ax.get_xlim() == (10.0, 20.0)
    assert ax.lines[0].get_xdata().tolist() == [10.0, 20.0]


def test_an_axis_of_one_value_is_drawn_as_a_curve(call, here):
    code, _, err = call("scan", "scalar", "--mass", "10", "--coupling", "1e-6:1e-4:12", "--experiments", XENONNT, "--out", "v1.5.zarr")  # fmt: skip # noqa: E501 # noqa: E501
    assert code == 0, err
    code, _, err = call("plot", "v1.5.zarr")
    assert code == 0, err
    assert (here / "v1.5.png").is_file()
    result = jc.open_scan("v1.5.zarr")
    drawn = plot_scan_curve(result)
    chi2 = result.chi2.values.ravel()
    assert np.allclose(drawn.shading.get_ydata(), chi2 - chi2.min())
    assert "mass = 10" in drawn.ax.get_title()
    with pytest.raises(ValueError, match="mass: one value"):
        plot_scan(result)
    with pytest.raises(ValueError, match="mass has one"):
        jc.contours(result)
    with pytest.raises(ValueError, match="this one has 0"):
        plot_scan_curve(result.isel(coupling=[0]))


NOTHING = [
    ("limit vector --mass 10 --flavours 0,0,1 --experiments coherent-csi-2021:shapes=none", "depend on coupling"),
    ("limit axial --mass 10 --experiments coherent-lar-2020:shapes=none", "depend on coupling"),
    ("fit coupling --theory vector:flavours=0,0,0 --at mass=10 --experiments xenonnt-2024-s2", "depend on coupling"),
    ("limit strength --spectrum none.csv --experiments xenonnt-2024-s2", "depend on strength"),
    (
        "toys interval --parameter coupling --theory vector:flavours=0,0,0 --values 0,1 --experiments texono-2010",
        "depend on coupling",
    ),
    ("contour sin2w a_k --at flux=0 --experiments xenonnt-2024-s2 --json", "depend on sin2w and a_k"),
    (
        "posterior --parameters coupling --theory vector:flavours=0,0,0 --at mass=10 --experiments xenonnt-2024-s2",
        "depend on coupling",
    ),
]


@pytest.mark.parametrize(("command", "message"), NOTHING, ids=[c for c, _ in NOTHING])
def test_what_has_no_effect_ends_in_one_line(call, here, command, message):
    (here / "none.csv").write_text("recoil_keV,events_per_tonne_year_keV\n0.5,0\n3.0,0\n", encoding="utf-8")
    refused(call(*command.split()), message)


@pytest.mark.parametrize(
    ("cl", "text"),
    [
        (0.9, "90%"),
        (0.999, "99.9%"),
        (0.9545, "95.45%"),
        (0.9544997361, "95.45%"),
        (0.9973002, "99.73%"),
        (1 - 1e-9, "99.9999999%"),
        (0.005, "0.5%"),
        (1e-6, "0.0001%"),
        (0.6827, "68%"),
    ],
)
def test_confidence_levels_are_printed_as_they_are(cl, text):
    assert percent(cl) == text


def test_confidence_level_of_a_limit(call):
    out = call("limit", "scalar", "--mass", "10", "--cl", "0.999", "--experiments", XENONNT)[1]
    assert "99.9% CL" in out


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with mark", "crlf"])
def test_files_as_editors_write_them(here, encoding):
    text = toml(notes='["naïve — 5 µs"]')
    content = {
        "utf-16-le with mark": b"\xff\xfe" + text.encode("utf-16-le"),
        "crlf": text.replace("\n", "\r\n").encode(),
    }.get(encoding) or text.encode(encoding)
    (here / "a.toml").write_bytes(content)
    found = jc.experiment("a.toml")
    assert found.observed.tolist() == [5, 3]
    assert found.notes[-1] == "naïve — 5 µs"


def test_text_of_another_encoding_is_refused(here):
    (here / "a.toml").write_bytes(toml(notes='["naïve"]').encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8 text"):
        jc.experiment("a.toml")


@pytest.mark.parametrize("place", ["run:1/my.toml", "a,b/my.toml", "a+b/my.toml", "x=1,y/my.toml", "s p/my.toml"])
def test_paths_as_people_have_them(call, here, place):
    (here / place).parent.mkdir()
    (here / place).write_text(toml(), encoding="utf-8")
    for text in (place, f"{place},{XENONNT}", f"{XENONNT},{place}"):
        code, out, err = call("parameters", "--experiments", text)
        assert code == 0, (text, err)
        assert "flux.b8" in out
        assert (f"{XENONNT}.accidental" in out) == (XENONNT in text)


def test_tables_and_spectra_with_separators_in_their_paths(call, here):
    header = "ne_lo,ne_hi,signal_at_5p46e6,cathode,microdischarge,observed\n"
    for folder in ("C:", "a,b", "c+d"):
        (here / folder).mkdir()
        (here / folder / "t.csv").write_text(header + "4,6,9,22,23,60\n6,8,8,22,20,50\n", encoding="utf-8")
        (here / folder / "s.csv").write_text((here / "mine.csv").read_text(encoding="utf-8"), encoding="utf-8")
        code, out, err = call("parameters", "--experiments", f"pandax4t-us2:table={folder}/t.csv:field=90,{XENONNT}")
        assert code == 0, err
        assert f"{XENONNT}.accidental" in out
        code, out, err = call(
            "parameters", "--theory", f"standard-model+spectrum:{folder}/s.csv", "--experiments", XENONNT
        )
        assert code == 0, err
        assert "strength" in out
