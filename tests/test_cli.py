"""Command line: results, JSON, and one clear line on bad input."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import jcevns as jc
from jcevns import cli
from jcevns.cli import shipped
from jcevns.cli.app import json_text
from jcevns.cli.describe import computed
from jcevns.cli.shipped import LISTINGS, declared_names
from jcevns.parameters import declared
from jcevns.physics.theories import THEORIES

US2_HEADER = "ne_lo,ne_hi,signal_at_5p46e6,cathode,microdischarge,observed\n"


def run(*arguments: str, cwd=None, env=None):
    """Run the command in its own process, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "jcevns", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=None if env is None else {**os.environ, **env},
        timeout=300,
    )


def call(capsys, *arguments: str):
    """Run the command in this process (no start-up); exit code and both streams."""
    code = cli.guarded(lambda: cli.cli(list(arguments), standalone_mode=False))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_fit_json_keys_and_numbers():
    done = run("fit", "flux", "--experiments", "xenonnt-2024-s2", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    keys = "parameter unit experiments best_fit interval_68 interval_90 chi2_min significance valid edm pulls"
    keys += " flux_pull data_status note segments_68 segments_90 theory problems"
    assert set(keys.split()) <= set(result)
    assert result["parameter"] == "flux.b8"
    assert result["unit"] == "cm^-2 s^-1"
    assert result["experiments"] == ["xenonnt-2024-s2"]
    assert result["valid"] is True
    assert abs(result["best_fit"] - 5.7e6) < 0.05e6
    assert result["interval_68"][0] < result["best_fit"] < result["interval_68"][1]
    assert result["segments_68"] == [result["interval_68"]]
    assert "flux.b8" not in result["pulls"]
    assert result["flux_pull"] is False
    assert result["problems"] == []


def test_open_ends_and_significance_are_null(capsys):
    code, out, _ = call(capsys, "fit", "sin2w", "--experiments", "pandax4t-us2", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["significance"] is None
    assert result["interval_90"][0] is None
    assert result["interval_90"][1] > 0.5
    assert result["segments_90"][0][0] is None
    assert result["flux_pull"] is True
    assert "flux.b8" in result["pulls"]
    assert "mirror point -0.108" in result["note"]
    assert result["data_status"]["pandax4t-us2"]["status"] == "reconstructed"


def test_human_output_names_units_and_status(capsys):
    code, out, _ = call(capsys, "fit", "flux", "--experiments", "pandax4t-us2")
    assert code == 0
    for text in (
        "1e6 cm^-2 s^-1",
        "Delta chi2 = 2.706",
        "open (bound reached)",
        "RECONSTRUCTED",
        "sigma (asymptotic)",
    ):
        assert text in out


def test_flux_is_measured_assumed_or_fixed(capsys):
    widths = {}
    for option in ((), ("--constrained", "flux")):
        _, out, _ = call(capsys, "fit", "flux", "--experiments", "pandax4t-us2", *option, "--json")
        result = json.loads(out)
        widths[option] = (result["interval_68"][1] - result["best_fit"]) / 1e6
    assert widths[()] == pytest.approx(6.73, abs=0.02)
    assert widths["--constrained", "flux"] < 0.12 * 5.46
    _, out, _ = call(capsys, "fit", "sin2w", "--experiments", "pandax4t-us2", "--at", "flux=5.46e6", "--json")
    result = json.loads(out)
    assert result["fixed"] == {"flux.b8": 5.46e6}
    assert result["flux_pull"] is False
    assert "flux.b8" not in result["pulls"]


def test_several_parameters(capsys):
    arguments = ("fit", "sin2w,flux", "--experiments", "xenonnt-2024-s2", "--constrained", "flux")
    code, out, _ = call(capsys, *arguments, "--json")
    assert code == 0
    result = json.loads(out)
    assert set(result["best_fit"]) == {"sin2w", "flux.b8"}
    assert result["units"]["flux.b8"] == "cm^-2 s^-1"
    correlation, covariance = result["correlation"], result["covariance"]
    assert correlation["sin2w"]["flux.b8"] == pytest.approx(-0.22, abs=0.01)
    scale = (covariance["sin2w"]["sin2w"] * covariance["flux.b8"]["flux.b8"]) ** 0.5
    assert covariance["sin2w"]["flux.b8"] / scale == pytest.approx(correlation["sin2w"]["flux.b8"])
    down, up = result["errors"]["sin2w"]
    ((low, high),) = result["segments_68"]["sin2w"]
    assert result["best_fit"]["sin2w"] - down == pytest.approx(low)
    assert result["best_fit"]["sin2w"] + up == pytest.approx(high)
    # The same interval as that of sin2w alone, the flux profiled under its constraint.
    alone = json.loads(call(capsys, "fit", "sin2w", *arguments[2:4], "--json")[1])
    assert alone["segments_90"][0] == pytest.approx(result["segments_90"]["sin2w"][0], rel=1e-5)
    code, out, _ = call(capsys, *arguments, "--no-errors", "--minimiser", "bfgs")
    assert code == 0
    assert "correlation" in out
    assert "minimiser bfgs" in out


def test_all_segments_of_a_profile_with_two_dips(capsys):
    arguments = ("fit", "coupling", "--theory", "vector", "--at", "mass=10", "--experiments", "xenonnt-2024-s2")
    code, out, _ = call(capsys, *arguments, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["valid"] is True
    assert len(result["segments_90"]) == 2
    assert result["segments_90"][0][0] is None
    assert result["interval_90"] == result["segments_90"][1]
    assert result["fixed"] == {"mass": 10.0}
    short = json.loads(call(capsys, "fit", "vector", *arguments[4:], "--json")[1])
    assert short == result


def test_spectrum_counts_and_csv(capsys, tmp_path):
    file = tmp_path / "s.csv"
    code, out, _ = call(
        capsys, "spectrum", "--thresholds", "0.5,1.0", "--shape", "winter2006", "--csv", str(file), "--json"
    )
    counts = json.loads(out)["counts"]
    assert code == 0
    assert [c["threshold_keV"] for c in counts] == [0.5, 1.0]
    assert [c["events_per_tonne_year"] for c in counts] == pytest.approx([318.68, 98.59], rel=3e-3)
    table = np.genfromtxt(file, delimiter=",", names=True)
    above = table[table["recoil_keV"] >= 1.0]
    integral = np.trapezoid(above["events_per_tonne_year_keV"], above["recoil_keV"])
    assert integral == pytest.approx(98.59, rel=3e-3)


def test_spectrum_scales_with_flux_and_sin2w(capsys):
    def count(*options):
        return json.loads(call(capsys, "spectrum", "--thresholds", "1", "--json", *options)[1])["counts"][0][
            "events_per_tonne_year"
        ]

    base = count()
    assert count("--flux", "1.092e7") == pytest.approx(2 * base, rel=1e-12)
    assert count("--sin2w", "0.3") > base
    assert count("--hep") == pytest.approx(base + 0.84, abs=0.01)
    assert count("--form-factor", "helm") == pytest.approx(base, rel=0.02)


def test_data_lists_and_shows(capsys):
    code, out, _ = call(capsys, "data")
    assert code == 0
    assert "pandax4t_us2_bins" in out
    assert "reconstructed" in out
    code, out, _ = call(capsys, "data", "show", "b8_spectrum_winter2006")
    assert code == 0
    assert "(verified)" in out
    assert "MeV" in out


XE = "xenonnt-2024-s2"
SCAN = ("scan", "scalar", "--mass", "1", "--coupling", "1", "--out", "x.zarr")
BAD = [
    (("fit", "flux", "--experiments", "xenonnt"), "did you mean xenonnt-202"),
    (("fit", "flux", "--experiments", ","), "--experiments is empty"),
    (("fit", "flux", "--experiments", "pandax4t-us2,pandax4t-us2"), "given twice"),
    (("fit", "flux", "--experiments", "pandax4t-us2:tabel=T3"), "choose from table, shape, field, response"),
    (("fit", "flux", "--experiments", "pandax4t-us2:table"), "NAME:option=value"),
    (("fit", "flux", "--experiments", "pandax4t-us2:table=T9"), "one of T0"),
    (("fit", "flux", "--experiments", "pandax4t-us2:table=none.csv"), "none.csv"),
    (("fit", "flux", "--experiments", "none.toml"), "none.toml"),
    (("fit", "mass", "--experiments", "pandax4t-us2"), "choose from sin2w"),
    (("fit", "mass", "--experiments", "pandax4t-us2"), "add --theory one of scalar, vector"),
    (("fit", "sin2", "--experiments", "pandax4t-us2"), "did you mean sin2w?"),
    (("fit", "strength", "--experiments", "pandax4t-us2"), "spectrum:FILE.csv"),
    (("fit", "standard-model", "--experiments", "pandax4t-us2"), "name one of its parameters"),
    (("fit", "sin2w,sin2w", "--experiments", "pandax4t-us2"), "named twice"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--at", "sin2w=0.2"), "both varied and fixed"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--at", "flux"), "NAME=VALUE"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--at", "flux=many"), "'many' is not a number"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--at", "flux=5"), "cm^-2 s^-1, as in 5e6"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--at", "a_k=9"), "outside [0, 5] fm"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--at", "r0=1", "--at", "r0=2"), "twice"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--minimiser", "newtn"), "did you mean newton?"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--theory", "vectr"), "did you mean vector?"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--theory", "none.py:A"), "there is no file none.py"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--b8", "none"), "--b8 is not used here"),
    (("fit", "sin2w", "--experiments", "texono-2010", "--shape", "winter2006"), "--shape is not used here"),
    (("fit", "sin2w", "--experiments", "pandax4t-us2", "--no-flux-pull"), "--at flux=5.46e6"),
    (("fit", "flux", "--experiments", "pandax4t-us2", "--flux-pull"), "--constrained flux"),
    (("fit", "flux", "--experiments", "pandax4t-us2", "--experiments", "texono-2010"), "given 2 times"),
    (("fit", "flux", "--experiments", "pandax4t-us2", "--json", "--json"), "given 2 times"),
    (("contour", "sin2w", "--experiments", "pandax4t-us2", "--json"), "two parameters, got 1"),
    (("contour", "sin2w", "flux", "--experiments", "pandax4t-us2"), "--out DIR"),
    (("posterior", "--experiments", "pandax4t-us2", "--interaction", "scalar"), "--theory scalar"),
    (("posterior", "--experiments", "pandax4t-us2", "--mass", "10"), "--at mass=10"),
    (("posterior", "--experiments", "pandax4t-us2", "--prior", "flux"), "NAME=PRIOR"),
    (("posterior", "--experiments", "pandax4t-us2", "--prior", "sin2w=uniform:0:1"), "name it in --parameters"),
    (("toys", "coverage", "--experiments", "pandax4t-us2"), "needs --values"),
    (("toys", "significance", "--experiments", "pandax4t-us2", "--values", "5e6"), "--values is not used here"),
    (("toys", "significance", "--experiments", "pandax4t-us2", "--mass", "5"), "--at mass=10"),
    (("toys", "signifcance", "--experiments", "pandax4t-us2"), "did you mean significance?"),
    (("parameters", "--experiments", "pandax4t-u2"), "did you mean pandax4t-us2?"),
    (("spectrum", "--csv", "-", "--json"), "both print to standard output"),
    (("fit", "flux", "--experiments", "xenonnt-2024-s2", "--shape", "flat"), "bahcall1996"),
    (("spectrum", "--flux", "-1"), "not negative"),
    (("spectrum", "--flux", "nan"), "finite"),
    (("spectrum", "--sin2w", "inf"), "finite"),
    (("spectrum", "--thresholds", ""), "list is empty"),
    (("spectrum", "--thresholds", "a"), "not a list of numbers"),
    (("spectrum", "--thresholds", "-1"), "must be positive"),
    (("spectrum", "--form-factor", "x"), "klein-nystrand"),
    (("reproduce", "--only", "fig9"), "choose from flux"),
    (("limit", "scaler", "--mass", "1", "--experiments", "xenonnt-2024-s2"), "did you mean scalar"),
    (("limit", "scalar", "--mass", "-1", "--experiments", "xenonnt-2024-s2"), "outside [0, inf] MeV"),
    (("limit", "scalar", "--mass", "1:2", "--experiments", "xenonnt-2024-s2"), "lo:hi:n"),
    (("limit", "scalar", "--mass", "9:1:3", "--experiments", "xenonnt-2024-s2"), "0 < lo < hi"),
    (("limit", "scalar", "--mass", "0:9:3", "--experiments", "xenonnt-2024-s2"), "0:9:3:lin"),
    (("limit", "scalar", "--experiments", "xenonnt-2024-s2"), "--mass is missing"),
    (("limit", "sin2w", "--mass", "1", "--experiments", "xenonnt-2024-s2"), "--mass goes with one of scalar"),
    (
        ("limit", "coupling", "--theory", "scalar", "--mass", "1", "--experiments", XE),
        "write --over mass=1,10",
    ),
    (
        ("limit", "coupling", "--theory", "scalar", "--flavours", "1,0,0", "--experiments", XE),
        "vector:flavours=",
    ),
    (("limit", "sin2w", "--minimum", "all", "--experiments", "xenonnt-2024-s2"), "--minimum is not used here"),
    (("limit", "sin2w", "--over", "flux=5,6", "--experiments", "xenonnt-2024-s2"), "as in 5e6"),
    (("limit", "scalar", "--mass", "1", "--experiments", "xenonnt-2024-s2", "--cl", "90"), "outside (0, 1)"),
    (("limit", "scalar", "--mass", "1", "--experiments", "xenonnt-2024-s2", "--dof", "0"), "dof"),
    ((*SCAN, "--experiments", XE, "--shard", "3/2"), "i runs from 1 to n"),
    (("scan", "--experiments", "xenonnt-2024-s2", "--out", "x.zarr"), "needs an axis"),
    (("scan", "scaler", "--mass", "1", "--experiments", "xenonnt-2024-s2", "--out", "x.zarr"), "did you mean scalar"),
    (("scan", "--axis", "sin2w=1:2", "--experiments", "xenonnt-2024-s2", "--out", "x.zarr"), "lo:hi:n"),
    (("plot", "none.zarr"), "is not a scan"),
    (("data", "show", "xenon"), "xenon_isotopes"),
    (("fitt",), "did you mean fit?"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda x: " ".join(x) if isinstance(x, tuple) else None)
def test_bad_input_is_one_line_and_exit_2(capsys, arguments, message):
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_unreadable_csv_names_file_line_and_column(capsys, tmp_path):
    file = tmp_path / "bins.csv"
    file.write_text(US2_HEADER + "4,4.5,9,22,23,60\n4.5,5,8,22,oops,50\n", encoding="utf-8")
    code, _, err = call(capsys, "fit", "flux", "--experiments", f"pandax4t-us2:table={file}")
    assert code == 2
    assert all(text in err for text in (str(file), "3", "microdischarge", "oops"))
    assert err.count("\n") == 1


def test_traceback_never_reaches_the_user(tmp_path):
    done = run("fit", "flux", "--experiments", "nothing")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_corrupted_data_stops_with_a_remedy(tmp_path):
    import shutil

    from jcevns import datasets

    folder = tmp_path / "data"
    shutil.copytree(datasets.data_dir(), folder)
    table = folder / "pandax4t_us2_bins.csv"
    table.write_bytes(table.read_bytes()[:-20])
    done = run("fit", "flux", "--experiments", "pandax4t-us2", env={"JCEVNS_DATA": str(folder)})
    assert done.returncode == 2
    assert "pandax4t_us2_bins.csv" in done.stderr
    assert "reinstall jcevns" in done.stderr


def test_help_explains_every_command(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for word in (
        "reproduce",
        "fit",
        "spectrum",
        "data",
        "NAME[:option=value...]",
        "Exit code",
        "RUNS THE FILE",
        "texono-2010",
    ):
        assert word in out
    for command in cli.cli.commands:
        code, out, _ = call(capsys, command, "--help")
        assert code == 0
        assert "--" in out
        if command not in ("reproduce", "plot", "data", "experiments", "completion"):
            assert f"jcevns {command}" in out or command == "theories"


def test_limit_json(capsys):
    arguments = ("limit", "vector", "--mass", "1,10", "--experiments", "xenonnt-2024-s2", "--json")
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    rows = json.loads(out)
    assert [row["mass_MeV"] for row in rows] == [1.0, 10.0]
    for row in rows:
        assert row["valid"] is True
        (island_low, island_high), (region, top) = row["excluded"]
        assert 0 < island_low < island_high < region
        assert top is None
    code, out, _ = call(capsys, *arguments[:-1], "--cl", "0.95", "--dof", "2")
    assert code == 0
    assert "95% CL, 2 dof: Delta chi2 = 5.991" in out
    assert "PUBLISHED" in out


def test_scan_resumes_and_plots(capsys, tmp_path):
    import xarray

    store = tmp_path / "s.zarr"
    arguments = ["scan", "vector", "--mass", "1:100:30", "--coupling", "1e-6:1e-3:40"]
    arguments += ["--experiments", "xenonnt-2024-s2", "--out", str(store)]
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    assert "1200 of 1200 points, 0 not valid" in out
    before = {path: path.stat().st_mtime_ns for path in store.rglob("c/*") if path.is_file()}
    assert call(capsys, *arguments)[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in store.rglob("c/*") if path.is_file()}
    with xarray.open_zarr(store) as result:
        assert result.chi2.shape == (30, 40)
        assert float(result.chi2.min()) == pytest.approx(float(out.split("chi2 = ")[1].split()[0]), abs=1e-4)
    arguments[1] = "scalar"
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert "belongs to another scan" in err
    code, _, err = call(capsys, "plot", str(store), "--out", str(tmp_path / "figure"))
    assert code == 0
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert (tmp_path / "figure.pdf").exists()


def test_strength_of_a_spectrum_of_ones_own(tmp_path):
    """The 8B spectrum as a signal of one's own gives the flux in units of its own."""
    file = tmp_path / "b8.csv"
    assert run("spectrum", "--csv", str(file)).returncode == 0
    options = ("--experiments", "xenonnt-2024-s2", "--json")
    strength = json.loads(run("fit", "strength", "--spectrum", str(file), "--b8", "none", *options).stdout)
    flux = json.loads(run("fit", "flux", *options).stdout)
    assert strength["best_fit"] == pytest.approx(flux["best_fit"] / 5.46e6, rel=2e-3)  # the CSV is a table
    assert strength["significance"] == pytest.approx(flux["significance"], rel=2e-3)
    limit = json.loads(run("limit", "strength", "--spectrum", str(file), *options).stdout)
    assert limit["delta_chi2"] == pytest.approx(2.7055, abs=1e-4)
    ((low, high),) = limit["excluded"]
    assert high is None
    assert limit["segments"] == [[None, low]]
    assert 0 < low < 5  # 8B is a background here: what is left for a second one is small


def test_toys_and_projection(tmp_path):
    options = ("--experiments", "xenonnt-2024-s2", "--json")
    toys = ("--toys", "200", "--store", str(tmp_path / "toys"))
    found = json.loads(run("toys", "significance", *toys, *options).stdout)
    assert found["toys"] == 200
    assert found["asymptotic"] == pytest.approx(found["q0"] ** 0.5)
    again = json.loads(run("toys", "significance", *toys, *options).stdout)
    assert again == found
    rows = json.loads(run("toys", "coverage", "--values", "5e6", *toys, *options).stdout)
    assert [r["cl"] for r in rows] == pytest.approx([0.6827, 0.9], abs=1e-4)
    assert all(abs(r["coverage"] - r["cl"]) < 5 * r["error"] for r in rows)
    exposures = ("--exposure", "3.5,35", "--toys", "100", "--out", str(tmp_path / "figure"))
    grown = json.loads(run("project", *exposures, *options).stdout)
    assert {row["exposure"] for row in grown} == {3.5, 35.0}
    significance = [row for row in grown if row["quantity"].startswith("significance")]
    assert significance[1]["asimov"] > significance[0]["asimov"]
    assert all(row["bands"] == sorted(row["bands"]) for row in grown)
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_without_arguments_a_newcomer_gets_commands_that_run(capsys):
    code, out, _ = call(capsys)
    assert code == 0
    shown = [line.split("   ")[0].split()[1:] for line in out.splitlines() if line.startswith("  jcevns ")]
    assert len(shown) >= 3
    assert shown[0][0] == "fit"
    assert call(capsys, *shown[0])[0] == 0
    for command in shown:
        assert call(capsys, command[0], "--help")[0] == 0


LIGHT = [
    ["--help"],
    ["fit", "sin2w", "--experiments", "nope"],
    ["--version"],
    ["fit", "--help"],
    ["data"],
    ["theories"],
    ["theories", "--json"],
    ["experiments"],
    ["experiments", "--json"],
    ["completion", "bash"],
    ["fit"],
    ["fit", "flux", "--experiments", XE, "--nope"],
    ["fit", "flux", "--experiments", ","],
    ["posterior", "--experiments", "nope"],
    ["limit", "scaler", "--mass", "1", "--experiments", XE],
    ["scan", "scaler", "--mass", "1", "--experiments", XE, "--out", "x.zarr"],
    ["spectrum", "--form-factor", "x"],
    ["nope"],
    ["limit", "scalar", "--mass"],
    ["scan", "--axis", "sin2w=0.1:0.4"],
]
"""Commands that start without JAX: help, lists, and what cannot be understood."""


@pytest.mark.parametrize("args", LIGHT, ids=" ".join)
def test_starts_without_jax(args):
    assert light(*args)[-1] == "LIGHT"


def light(*args, **env):
    """Lines of a command in its own process, and whether it had imported JAX at its end."""
    code = (
        "import atexit, sys; atexit.register(lambda: print('JAX' if 'jax' in sys.modules else 'LIGHT', flush=True));"
    )
    code += "sys.argv[0] = 'jcevns'; from jcevns.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )
    assert run.returncode in (0, 2), run.stderr
    return run.stdout.splitlines()


def test_version_names_packages(capsys):
    code, out, _ = call(capsys, "--version")
    assert code == 0
    assert out.startswith("jcevns 0.")
    assert "jax 0." in out
    assert "numpyro" in out
    code, out, _ = call(capsys, "--devices")
    assert code == 0
    assert "cpu" in out.lower() or "gpu" in out.lower() or "cuda" in out.lower()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(capsys, shell):
    code, out, _ = call(capsys, "completion", shell)
    assert code == 0
    assert "_JCEVNS_COMPLETE" in out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("jcevns repr", "reproduce"),
        ("jcevns fit s", "sin2w"),
        ("jcevns limit ten", "tensor"),
        ("jcevns limit coup", "coupling"),
        ("jcevns fit sin2w,fl", "sin2w,flux"),
        ("jcevns fit coupling --theory vec", "vector"),
        ("jcevns fit coupling --theory scalar+mag", "scalar+magnetic-moment"),
        ("jcevns fit sin2w --theory vector --profile ka", "kappa"),
        ("jcevns contour sin2w --experiments pan", "pandax4t-us2"),
        ("jcevns data show b8_spectrum_w", "b8_spectrum_winter2006"),
        ("jcevns fit flux --experiments pan", "pandax4t-us2"),
        ("jcevns fit flux --experiments xenonnt-2024-s2,pan", "xenonnt-2024-s2,pandax4t-us2"),
        ("jcevns toys cov", "coverage"),
        ("jcevns fit up --theory vector:up=0.3:R_n=5 --profile R_", "R_n"),
        ("jcevns fit mass --theory mine.py:Mine --profile kap", "kappa"),
    ],
)
def test_completion(words, completed):
    from click.shell_completion import ShellComplete

    *before, incomplete = words.split()[1:]
    found = ShellComplete(cli.cli, {}, "jcevns", "_JCEVNS_COMPLETE").get_completions(before, incomplete)
    assert completed in [item.value for item in found]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("jcevns fit sin2w,fl", "sin2w,flux"),
        ("jcevns fit coupling --theory vec", "vector"),
        ("jcevns fit sin2w --theory vector --profile ka", "kappa"),
        ("jcevns fit flux --experiments pan", "pandax4t-us2"),
    ],
)
def test_completes_without_jax(words, completed):
    asked = {"_JCEVNS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    *found, imported = light(**asked)
    assert f"plain,{completed}" in found
    assert imported == "LIGHT"


@pytest.mark.parametrize(
    "theory",
    [
        *THEORIES,
        "scalar+magnetic-moment",
        "nsi + vector:up=0.3:down=0.1",
        "standard-model:form_factor=helm:R_n=5:R_p=4.8",
        "scalar:form_factor=fermi",
        "ngi:g_V_n=-0.5",
    ],
)
def test_names_for_completion_are_those_of_the_theory(theory):
    assert set(declared_names(theory)) == set(declared(jc.theory(theory)))


@pytest.mark.slow
def test_shipped_listings_are_those_of_the_code():
    """Sums of counts that are no whole numbers may end in other digits on another machine."""
    rebuilt, stored = (
        json.loads(text, parse_float=lambda digits: f"{float(digits):.12g}")
        for text in (json_text(computed()), LISTINGS.read_text(encoding="utf-8"))
    )
    for part in stored.keys() | rebuilt.keys():
        remedy = f"{part} of {LISTINGS.name} are not those of the code: run python -m jcevns.cli.describe"
        assert rebuilt.get(part) == stored.get(part), remedy


def test_damaged_listings_name_a_remedy(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "LISTINGS", tmp_path / "listings.json")
    shipped.shipped.cache_clear()
    code, out, err = call(capsys, "theories")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "reinstall jcevns" in err


def test_flux_in_other_units_is_refused(capsys):
    code, _, err = call(capsys, "toys", "coverage", "--values", "5", "--experiments", "xenonnt-2024-s2")
    assert code == 2
    assert "cm^-2 s^-1, as in 5e6" in err


def test_limit_from_either_minimum(capsys):
    options = ("vector", "--mass", "1,10", "--experiments", "xenonnt-2024-s2")
    for choice, words in (("each", "at each mass"), ("all", "over all values of mass")):
        code, out, _ = call(capsys, "limit", *options, "--minimum", choice)
        assert code == 0
        assert words in out
        assert "xenonnt-2024-s2: data PUBLISHED" in out
    assert call(capsys, "limit", *options, "--minimum", "lowest")[0] == 2


def test_limit_by_flavour(capsys):
    options = ("vector", "--mass", "10", "--experiments", "xenonnt-2024-s2")
    bounds = {}
    for charges in ("1,1,1", "1,0,0", "0,1,-1"):
        code, out, _ = call(capsys, "limit", *options, "--flavours", charges, "--json")
        assert code == 0
        bounds[charges] = json.loads(out)[0]["excluded"]
    universal = json.loads(call(capsys, "limit", *options, "--json")[1])[0]["excluded"]
    for pair, same in zip(bounds["1,1,1"], universal, strict=True):
        assert pair[0] == pytest.approx(same[0], rel=1e-9)
    # Equal shares of mu and tau: nothing interferes, so no allowed band.
    assert len(bounds["0,1,-1"]) == 1 < len(universal)
    assert "charges 0, 1, -1 of e, mu, tau" in call(capsys, "limit", *options, "--flavours", "0,1,-1")[1]
    code, _, err = call(capsys, "limit", *options, "--flavours", "1,0")
    assert code == 2
    assert "as in 0,1,-1" in err


def test_fit_of_the_magnetic_moment(capsys):
    code, out, _ = call(capsys, "fit", "magnetic-moment", "--experiments", "xenonnt-er-2022", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["unit"] == "1e-12 mu_B"
    assert 6.0 < result["interval_90"][1] < 9.0
    assert result["significance"] >= 0
    code, _, err = call(capsys, "fit", "r0", "--experiments", "xenonnt-er-2022")
    assert code == 2
    assert "chi2 does not depend on r0" in err
    code, _, err = call(capsys, "fit", "flux", "--experiments", "texono-2010,pandax4t-us2")
    assert code == 2
    assert "ambiguous: flux.reactor, flux.b8" in err


def test_limits_over_any_parameters(capsys):
    options = ("--experiments", "xenonnt-2024-s2", "--json")
    general = ("limit", "coupling", "--theory", "vector", "--over", "mass=1,10")
    rows = json.loads(call(capsys, *general, *options)[1])
    short = json.loads(call(capsys, "limit", "vector", "--mass", "1,10", *options)[1])
    assert [row["at"] for row in rows] == [{"mass": 1.0}, {"mass": 10.0}]
    for row, same in zip(rows, short, strict=True):
        assert row["parameter"] == "coupling"
        assert set(same) == {"mass_MeV", "excluded", "best_fit", "delta_chi2", "valid", "method"}
        assert {key: row[key] for key in same if key != "mass_MeV"} == {
            k: v for k, v in same.items() if k != "mass_MeV"
        }
        edges = [end for pair in row["excluded"] for end in pair]
        assert [end for pair in row["segments"] for end in pair] == [None, *edges[:-1]]
    code, out, _ = call(capsys, *general, "--over", "kappa=-1:1:3", *options)
    assert code == 0
    assert [tuple(row["at"].values()) for row in json.loads(out)] == [(m, k) for m in (1, 10) for k in (-1, 0, 1)]
    # No other parameter at all, and a flux as the other one.
    (row,) = json.loads(call(capsys, "limit", "moment", "--theory", "magnetic-moment", "--experiments", "texono-2010", "--json")[1])  # fmt: skip # noqa: E501
    assert row["at"] == {}
    code, out, _ = call(capsys, "limit", "sin2w", "--over", "flux=2e6:8e6:3", "--experiments", "xenonnt-2024-s2")
    assert code == 0
    assert "flux.b8 [cm^-2 s^-1]" in out
    assert "5e+06" in out


def test_contour_writes_figure_and_lines(capsys, tmp_path):
    arguments = ("contour", "sin2w", "flux", "--constrained", "flux", "--experiments", "xenonnt-2024-s2")
    code, out, err = call(capsys, *arguments, "--out", str(tmp_path / "region"), "--json")
    assert code == 0
    assert "written" in err
    region = json.loads(out)
    assert region["closed"] == {"0.683": [True], "0.9": [True]}
    assert region["delta_chi2"] == pytest.approx([2.298, 4.605], abs=1e-3)
    table = np.genfromtxt(tmp_path / "region" / "contour.csv", delimiter=",", names=True)
    assert sum(len(line) for lines in region["lines"].values() for line in lines) == table.size
    assert (tmp_path / "region" / "contour.png").stat().st_size > 10_000
    assert (tmp_path / "region" / "contour.pdf").exists()
    code, out, _ = call(capsys, *arguments, "--out", str(tmp_path / "region"), "--cl", "0.9", "--dof", "1")
    assert code == 0
    assert "Delta chi2 = 2.706, dof 1" in out
    assert "cm^-2 s^-1" in out


def test_scan_of_any_axes(capsys, tmp_path):
    import xarray

    store = tmp_path / "s.zarr"
    arguments = ("scan", "--axis", "sin2w=0.1:0.4:7", "--axis", "flux=2e6:8e6:3:log", "--out", str(store))
    code, out, _ = call(capsys, *arguments, "--experiments", "xenonnt-2024-s2")
    assert code == 0
    assert "21 of 21 points, 0 not valid" in out
    with xarray.open_zarr(store) as result:
        assert result.chi2.dims == ("sin2w", "flux.b8")
        np.testing.assert_allclose(np.diff(result["sin2w"]), 0.05)
        np.testing.assert_allclose(result["flux.b8"], [2e6, 4e6, 8e6])
    code, _, _ = call(capsys, "plot", str(store), "--out", str(tmp_path / "figure"), "--dof", "2")
    assert code == 0
    assert (tmp_path / "figure.png").exists()


def test_lists_of_what_there_is(capsys):
    code, out, _ = call(capsys, "theories")
    assert code == 0
    for text in ("b-l", "kappa=-0.3333", "moment", "1e-12 mu_B", "[0, inf]", "MeV", "RUNS the file"):
        assert text in out
    theories = {entry["name"]: entry for entry in json.loads(call(capsys, "theories", "--json")[1])}
    (mass,) = [p for p in theories["scalar"]["parameters"] if p["name"] == "mass"]
    assert (mass["unit"], mass["lower"], mass["upper"]) == ("MeV", 0.0, None)
    code, out, _ = call(capsys, "parameters", "--experiments", "xenonnt-2024-s2,texono-2010", "--theory", "vector")
    assert code == 0
    for text in (
        "coupling",
        "kappa",
        "flux.b8",
        "cm^-2 s^-1",
        "flux.reactor",
        "xenonnt-2024-s2.accidental",
        "+- 0.048",
    ):
        assert text in out
    rows = json.loads(call(capsys, "parameters", "--experiments", "pandax4t-us2", "--json")[1])
    assert {"sin2w", "flux.b8"} <= {row["name"] for row in rows}


def test_list_of_experiments(capsys):
    found = {entry["name"]: entry for entry in json.loads(call(capsys, "experiments", "--json")[1])}
    assert found["pandax4t-us2"]["status"] == "reconstructed"
    assert found["coherent-csi-2021"]["fluxes"] == ["flux.sns"]
    assert found["xenonnt-2024-s2"]["events"] == 37
    assert found["pandax4t-us2"]["options"]["table"] == "T1"
    out = call(capsys, "experiments")[1]
    assert "flux.solar" in out
    assert "table=T1" in out


MINE = """
import jax.numpy as jnp

import jcevns as jc


class Mine(jc.Interaction):
    size: object = jc.parameter(0.0, lower=-0.9, upper=2.0, prior="uniform:-0.9:2", null=0.0)
    slope: object = jc.parameter(0.0, lower=-1.0, upper=1.0, unit="keV^-1", prior="uniform:-1:1")
    radius: object = jc.parameter(1.0, lower=0.5, upper=2.0, unit="fm", prior="uniform:0.5:2")

    def weights(self):
        return jnp.stack([1 + self.size, self.slope])

    def terms(self, recoil, particle, flavour):
        model = jc.StandardModel()
        base = jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)
        base = base * jnp.exp(-2 * particle.mass * recoil * (self.radius**2 - 1) / (3 * 197.327**2))
        return jnp.stack([base, base * (recoil * 1e3 - 1.0)])


class Wrong(jc.Interaction):
    size: object = jc.parameter(0.0)

    def terms(self, recoil, particle, flavour):
        return recoil.nothing
"""


def test_theory_of_ones_own(capsys, tmp_path):
    """Three parameters, one of them inside the terms, through the commands."""
    file = tmp_path / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    options = ("--theory", f"{file}:Mine", "--experiments", "xenonnt-2024-s2")
    out = call(capsys, "parameters", *options)[1]
    assert "slope" in out
    assert "keV^-1" in out
    result = json.loads(call(capsys, "fit", "size", *options, "--at", "radius=1.2", "--json")[1])
    assert result["theory"] == "Mine"
    assert result["significance"] is not None
    (low, high) = result["interval_68"]
    assert low < result["best_fit"] < high
    result = json.loads(call(capsys, "fit", "size,slope", *options, "--no-errors", "--json")[1])
    assert result["valid"] is True
    assert set(result["correlation"]["size"]) == {"size", "slope"}
    rows = json.loads(call(capsys, "limit", "size", *options, "--over", "radius=0.8:1.2:3", "--json")[1])
    assert [row["at"]["radius"] for row in rows] == pytest.approx([0.8, 1.0, 1.2])
    assert all(row["valid"] for row in rows)
    code, out, _ = call(capsys, "scan", *options, "--axis", "size=-0.5:0.5:3", "--axis", "radius=0.8:1.2:3", "--axis", "slope=0,0.1", "--out", str(tmp_path / "x.zarr"))  # fmt: skip # noqa: E501
    assert code == 0
    assert "18 of 18 points, 0 not valid" in out
    region = json.loads(call(capsys, "contour", "size", "slope", *options, "--cl", "0.683", "--json")[1])
    assert region["parameters"] == ["size", "slope"]
    found = json.loads(
        call(capsys, "toys", "significance", "--parameter", "size", *options, "--toys", "20", "--json")[1]
    )
    assert found["name"] == "size"
    code, _, err = call(capsys, "fit", "size", "--theory", f"{file}:Wrong", "--experiments", "xenonnt-2024-s2")
    assert code == 2
    assert f"{file}, line" in err
    assert err.count("\n") == 1
    code, _, err = call(capsys, "fit", "size", "--theory", f"{file}:Min", "--experiments", "xenonnt-2024-s2")
    assert code == 2
    assert "did you mean Mine?" in err


def test_command_line_starts_without_jax():
    code = "import sys, types; m = types.ModuleType('jcevns'); m.__path__ = ['jcevns']; sys.modules['jcevns'] = m\n"
    code += "from jcevns import cli; assert not {'jax', 'numpy', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
