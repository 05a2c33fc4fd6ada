"""The reproduction: summary, report, figures and tables."""

import contextlib
import dataclasses
import functools
import io
import json
import shlex

import numpy as np
import pytest

from jcevns import Likelihood, cli, interval, limits
from jcevns.files import write_json, write_text
from jcevns.paper import beyond, mediators, running, statements, tables
from jcevns.paper.reproduce import find_steps, reproduce
from jcevns.paper.run import Run
from jcevns.paper.statements import STATEMENTS
from jcevns.paper.steps import STEPS
from tests.pages import checked, report_of, rows_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("reproduced")
    lines: list[str] = []
    return out, reproduce(out, progress=lines.append), lines


def test_summary_has_the_paper_equations_within_tolerance(run):
    out, _, _ = run
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    rows = {row["equation"]: row for row in summary["comparison"]}
    assert sorted(rows) == ["18", "19", "20", "21", "22", "23"]
    for equation, row in rows.items():
        scale = 1e6 if row["quantity"] == "flux" else 1.0
        centre, error = (0.05, 0.15) if row["quantity"] == "flux" else (0.012, 0.012)
        ours, paper = row["ours"], row["paper"]
        assert abs(ours["value"] - paper["value"]) / scale < centre
        assert abs(ours["error_down"] - paper["error_down"]) / scale < error
        if equation == "18":  # the paper's +7.0 lies between our two treatments and above both
            assert ours["error_up"] / scale == pytest.approx(6.73, abs=0.02)
            assert row["verdict"] == "differs in upper error"
        else:
            assert abs(ours["error_up"] - paper["error_up"]) / scale < error
            assert row["verdict"] == "agrees"
        assert row["by_construction"]
    other = {(r["quantity"], r["dataset"]): r for r in summary["comparison_other_flux_pull"]}
    assert other["flux", "pandax4t"]["ours"]["error_up"] / 1e6 == pytest.approx(6.94, abs=0.02)


def test_a_disagreement_is_called_one(run):
    """The verdict is computed: shifted estimates must not agree."""
    _, summary, _ = run
    assert {row["verdict"] for row in summary["comparison"]} == {"agrees", "differs in upper error"}
    estimate = Run(run[0]).estimate("sin2w", "xenonnt")
    moved = dataclasses.replace(estimate, best_fit=estimate.best_fit + 0.05)
    (row,) = tables.compare({("sin2w", "xenonnt"): moved})
    assert row.verdict.startswith("differs in centre")
    (row,) = tables.compare({("sin2w", "xenonnt"): dataclasses.replace(estimate, valid=False)})
    assert row.verdict == "fit not valid"


def test_report_is_self_contained_and_says_what_is_inferred(run):
    out, _, _ = run
    text = report_of(out)
    page = checked(text, "https://arxiv.org/abs/")
    assert len(page.pictures) == 6  # Figs. 1 to 5 and the posteriors
    sections = [name for name, tag in page.anchors.items() if tag == "section"]
    assert sections[1:-3] == [name for name, step in STEPS.items() if not step.long]
    assert set(sections) <= {link[1:] for link in page.links}  # the contents list
    numbers = text.count('<td class="n">')
    assert sum(link[1:] not in sections for link in page.links) > 0.7 * numbers  # the rest: the paper's, inputs
    for word in ("reconstruction", "inferred", "by construction", "mirror point", "differs in upper error", "sha256"):
        assert word in text


def _given(command: str) -> dict:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.guarded(lambda: cli.cli([*shlex.split(command)[1:], "--json"], standalone_mode=False)) == 0
    return json.loads(out.getvalue())


def test_commands_of_the_report_give_its_numbers(run):
    _, summary, _ = run
    results = summary["results"]
    rows = [*results["flux"], *results["sin2w"], *results["sin2w_combined"]["rows"], *results["systematics"]]
    rows += [*results["official"], *results["electromagnetic"]]
    commands = {row["command"]: row for row in rows}
    assert len(commands) > 60
    chosen = [
        "jcevns fit flux --experiments xenonnt-2024-s2,pandax4t-us2",
        "jcevns fit sin2w --experiments pandax4t-us2 --at flux=5.46e+06",
        "jcevns fit sin2w --experiments coherent-lar-2020:shapes=none",
        "jcevns fit flux --experiments pandax4t-us2:field=84.0",
        "jcevns fit moment --experiments texono-2010 --theory magnetic-moment",
    ]
    for command in chosen:
        assert _given(command)["best_fit"] == pytest.approx(commands[command]["best_fit"], rel=1e-6), command
    for command in commands:
        if command:
            words = shlex.split(command)
            cli.cli.commands[words[1]].make_context(words[1], words[2:])
    other = {(r["quantity"], r["dataset"]): r["command"] for r in summary["comparison_other_flux_pull"]}
    assert other["flux", "xenonnt"] == "jcevns reproduce --only flux"  # a factor beside a measured flux: no command


def test_files_and_progress(run):
    out, _, lines = run
    names = {path.name for path in out.iterdir()}
    wanted = "summary.json report.html comparison.csv flux.csv sin2w.csv rates.csv systematics.csv"
    assert set(wanted.split()) <= names
    for figure, table in (
        ("fig1_spectra",) * 2,
        ("fig2_profiles",) * 2,
        ("fig3_running",) * 2,
        ("fig4_exclusion", "fig4_contours"),
        ("fig5_limits",) * 2,
    ):
        assert {f"{figure}.png", f"{figure}.pdf", f"{table}.csv"} <= names
    assert "limits.csv" in names
    assert not [name for name in names if "partial" in name]
    core = [name for name, step in STEPS.items() if not step.long]
    assert len(lines) == 2 * len(core)


def test_systematics_vary_the_result(run):
    _, summary, _ = run
    rows = [r for r in summary["results"]["systematics"] if r["parameter"] == "flux"]
    assert all(row["valid"] for row in rows)
    centres = {row["changed"]: row["best_fit"] for row in rows}
    assert centres["c_i = 1"] < centres["default: released response, Bahcall 1996, c_i to 10.7 events"]
    assert len(rows) >= 14


def test_figure_4_has_the_features_of_the_paper(run):
    """Universal vector: an allowed band in XENONnT and the combination, none in PandaX-4T; none for the others."""
    _, summary, _ = run
    found = summary["results"]["fig4"]
    for dataset, interactions in found.items():
        for name, entry in interactions.items():
            assert entry["masses_not_valid"] == 0
            assert entry["delta_chi2"] == pytest.approx(2.7055, abs=1e-4)
            banded = name == "vector" and dataset != "pandax4t"
            assert (entry["masses_with_allowed_band"] > 0) is banded, (dataset, name)


def test_limits_compare_the_two_responses(run):
    _, summary, _ = run
    rows = {(r["dataset"], r["interaction"], r["mass_MeV"]): r["excluded"] for r in summary["results"]["limits"]}
    for name in ("scalar", "b-l", "axial", "tensor"):
        released = rows["xenonnt", name, 10.0][0][0]
        fluctuating, sharp = (rows[d, name, 1.0][0][0] for d in ("pandax4t, binomial response", "pandax4t"))
        assert 0.85 < fluctuating / sharp < 0.99  # recoils below the energies that the mean sees
        unsmeared = rows["xenonnt, unsmeared response", name, 10.0][0][0]
        assert 0.5 < unsmeared / released < 2.0
        assert unsmeared != pytest.approx(released, rel=1e-4)
    # Axial and tensor couple to the spin of half the isotopes, scalar and vector to all nucleons.
    weak = min(rows[d, n, 10.0][0][0] for d in ("pandax4t", "xenonnt", "combined") for n in ("axial", "tensor"))
    strong = max(rows[d, n, 10.0][0][0] for d in ("pandax4t", "xenonnt", "combined") for n in ("scalar", "b-l"))
    assert weak > 10 * strong


def test_beyond_the_paper(run):
    """The table holds what `interval` gives, in every range; the numbers themselves are tested with the theories."""
    out, summary, _ = run
    rows = {(r["dataset"], r["parameter"]): r for r in summary["results"]["electromagnetic"]}
    assert len(rows) == 13
    assert all(row["valid"] for row in rows.values())
    ((low, high),) = rows["xenonnt-2024-s2", "moment"]["segments_90"]
    assert low is None
    assert high == pytest.approx(1134, rel=0.01)  # 1e-12 mu_B
    ((low, high),) = rows["xenonnt-2024-s2", "r2_ee"]["segments_90"]
    assert (low, high) == pytest.approx((-90.8, 32.6), rel=0.01)
    written = rows_of(out / "electromagnetic.csv")
    assert len(written) == sum(len(row["segments_90"]) for row in rows.values())
    assert "magnetic moments and charge radii" in report_of(out)


def test_long_steps_beyond_the_paper(tmp_path, monkeypatch):
    monkeypatch.setattr(beyond, "_MASSES", (1.0, 100.0, 3))
    monkeypatch.setattr(beyond, "contour", functools.partial(beyond.contour, points=16))
    monkeypatch.setattr(beyond, "_PLANE", np.linspace(-0.4, 0.8, 7))
    summary = reproduce(tmp_path, ["radii", "gauge-bosons", "nsi"])
    planes = {row["data"]: row for row in summary["results"]["nsi"]}
    assert not any(row["points_not_valid"] for row in planes.values())
    lines = rows_of(tmp_path / "nsi.csv")
    solar = ("8B", "8B, no matter effect of NSI")
    lowest = [min(float(r["eps_u_ee"]) for r in lines if r["data"] == name) for name in solar]
    assert lowest[0] > lowest[1] + 0.01  # matter closes the region
    assert planes["both"]["chi2_min"] > planes["8B"]["chi2_min"] + planes["COHERENT CsI"]["chi2_min"] - 1e-6
    csi, xenon = summary["results"]["radii"]
    assert csi["best_sin2w"] == pytest.approx(0.336, rel=0.1)
    assert (xenon["projected"], xenon["best_R_n_fm"]) == (True, pytest.approx(5.4, abs=0.1))
    bosons = summary["results"]["gauge-bosons"]
    assert [row["masses_not_valid"] for row in bosons] == [0] * 21
    found = rows_of(tmp_path / "gauge-bosons.csv")
    rows = [r for r in found if (r["dataset"], r["theory"]) == ("xenonnt-2024-s2", "lmu-ltau")]
    assert float(rows[0]["mass_MeV"]) == 1.0
    # With as many nu_mu as nu_tau, as before NuFIT 6.0 shared them, 1.055e-3.
    assert float(rows[0]["excluded_from"]) == pytest.approx(1.128e-3, rel=0.01)
    page = report_of(tmp_path)
    assert page.count("data:image/png;base64,") == 3
    assert "a projection, no measurement" in page


def test_only_and_full_select_steps():
    assert find_steps(["fig2"]) == ["fig2"]
    assert "systematics-grid" not in find_steps()
    assert find_steps(full=True) == list(STEPS)
    with pytest.raises(ValueError, match="unknown step 'fig9'"):
        find_steps(["fig9"])


def test_long_step_is_cached_and_a_damaged_cache_is_not_trusted(tmp_path, monkeypatch):
    from jcevns.paper import reproduce as module
    from jcevns.paper.run import file_rows

    calls = []

    def short(run):
        calls.append(1)
        file_rows(run, "systematics-grid", [{"dataset": "x", "value": float(len(calls))}])

    monkeypatch.setitem(STEPS, "systematics-grid", dataclasses.replace(STEPS["systematics-grid"], run=short))
    monkeypatch.setattr(module.html, "render", lambda *a: "")
    for _ in range(2):
        summary = reproduce(tmp_path, ["systematics-grid"])
    assert len(calls) == 1
    assert summary["results"]["systematics-grid"][0]["value"] == 1.0
    stored = tmp_path / ".cache" / "systematics-grid.json"
    stored.write_text(stored.read_text(encoding="utf-8")[:40], encoding="utf-8")
    reproduce(tmp_path, ["systematics-grid"])
    assert len(calls) == 2


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    from pathlib import Path

    file = write_text(tmp_path / "a.txt", "old")

    def fail(self, *args, **kwargs):
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        with pytest.raises(OSError, match="No space"):
            write_text(file, "new")
    assert file.read_bytes() == b"old"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})


def test_flux_with_its_error_beside_it(run):
    """The 12% as a factor of its own widens the interval and leaves the best fit: not a constraint on the flux."""
    _, summary, _ = run
    free, pulled = (e for e in summary["results"]["flux"] if e["dataset"] == "xenonnt")
    assert (free["flux_pull"], pulled["flux_pull"]) == (False, True)
    assert pulled["best_fit"] == pytest.approx(free["best_fit"], rel=1e-6)
    assert pulled["interval_68"][0] < free["interval_68"][0]
    assert pulled["interval_68"][1] > free["interval_68"][1]
    assert pulled["significance"] == pytest.approx(free["significance"], rel=1e-6)
    assert abs(pulled["pulls"]["b8_flux"]) < 1e-4


def test_estimates_are_those_of_fit(run):
    """Without a covariance, and otherwise the same."""
    from jcevns import Likelihood, fit

    _, summary, _ = run
    for quantity in ("flux", "sin2w"):
        (found,) = (
            e
            for e in summary["results"][quantity]
            if (e["dataset"], e["flux_pull"]) == ("xenonnt", quantity == "sin2w")
        )
        again = fit(Likelihood("xenonnt-2024-s2"), quantity)
        (name,) = again.names
        assert found["best_fit"] == pytest.approx(again.values[name], rel=1e-9)
        assert tuple(found["interval_68"]) == pytest.approx(again.interval().main, rel=1e-9)
        assert tuple(found["interval_90"]) == pytest.approx(again.interval(0.90).main, rel=1e-9)
        assert found["pulls"] == pytest.approx(again.pulls, abs=1e-9)
        assert found["valid"]
        if quantity == "flux":
            assert found["significance"] == pytest.approx(again.significance, rel=1e-9)


# Figs. 3 and 5, and the sentences about them ------------------------------------------------------------------


def test_figure_3_has_our_points_and_those_of_others(run):
    out, summary, _ = run
    page = report_of(out)
    rows = {row["point"]: row for row in rows_of(out / "fig3_running.csv")}
    assert set(running.POINTS) | {"APV (Cs)", "Qweak", "NuTeV", "LEP1", "LHC (CMS)"} <= set(rows)
    assert all("arXiv:" in row["reference"] for row in rows.values())
    # E158 is an effective angle, 0.2403 in MS-bar; the others are drawn as they are.
    assert float(rows["E158"]["sin2w"]) + float(rows["E158"]["to_msbar"]) == pytest.approx(0.2403)
    assert {label for label, row in rows.items() if float(row["to_msbar"])} == {"E158"}
    assert "E158 (open circle) is an effective angle" in page
    drawn = [float(row["drawn_at_MeV"]) for row in rows.values() if row["origin"] == "this package"]
    assert len(set(drawn)) == len(drawn)
    found = summary["results"]["sin2w_combined"]
    again = {row["dataset"]: row for row in found["rows"]}
    assert all(row["valid"] for row in again.values())
    for label, row in again.items():
        assert float(rows[label]["sin2w"]) == pytest.approx(row["best_fit"], rel=1e-9)
    # The combination is better known than each part, and lies between them.
    width = {label: np.diff(row["interval_68"])[0] for label, row in again.items()}
    assert width[running.COMBINATION] == min(width.values())
    parts = [again[label]["best_fit"] for label in ("XENONnT + PandaX-4T", "COHERENT CsI + LAr")]
    assert min(parts) < found["best_fit"] < max(parts)
    assert "shapes=&#34;none&#34;" in page


def test_pulls_of_the_combination_are_all_there(run):
    out, summary, _ = run
    page = report_of(out)
    pulls = summary["results"]["sin2w_combined"]["pulls"]
    assert {"flux.b8", "flux.sns", "pandax4t-us2.cathode", "coherent-lar-2020.detection"} <= set(pulls)
    assert all(abs(pull) < 3 for pull in pulls.values())
    assert [row["nuisance"] for row in rows_of(out / "fig3_pulls.csv")] == list(pulls)
    assert f"Pulls of {running.COMBINATION}" in page
    assert all(name in page for name in pulls)


def test_texono_point_is_a_direct_estimate(run):
    _, summary, _ = run
    direct = interval("texono-2010", "sin2w")
    (row,) = (r for r in summary["results"]["sin2w_combined"]["rows"] if r["dataset"] == "TEXONO")
    assert row["best_fit"] == pytest.approx(direct.best_fit, rel=1e-6)


def test_figure_5_holds_direct_limits(run):
    """At two masses, from the same minimum: 8B scalars, whose lowest chi2 does not depend on the mass."""
    out, _, _ = run
    rows = [r for r in rows_of(out / "fig5_limits.csv") if (r["panel"], r["curve"]) == ("scalar", "8B")]
    mass = np.array([float(r["mass_MeV"]) for r in rows])
    chosen = mass[[0, 20]]
    likelihood = Run(out).likelihood("combined", "scalar")
    direct = limits(likelihood, "coupling", over={"mass": chosen}, minimum="all")
    for expected, row in zip(direct, (rows[0], rows[20]), strict=True):
        assert float(row["lower"]) == pytest.approx(expected.excluded[0][0], rel=5e-3)
        assert (row["upper"] == "") == (expected.excluded[0][1] is None)


def test_vector_on_electrons_is_that_of_b_minus_l(run):
    """The figure computes it once for both panels."""
    out, _, _ = run
    rows = [r for r in rows_of(out / "fig5_limits.csv") if (r["panel"], r["curve"]) == ("vector", "TEXONO")]
    mass = [float(rows[0]["mass_MeV"]), float(rows[-1]["mass_MeV"])]
    direct = limits(Likelihood("texono-2010", "vector"), "coupling", over={"mass": mass}, minimum="all")
    for expected, row in zip(direct, (rows[0], rows[-1]), strict=True):
        assert float(row["lower"]) == pytest.approx(expected.excluded[0][0], rel=5e-3)


def test_every_panel_has_every_curve_from_end_to_end(run):
    out, _, _ = run
    page = report_of(out)
    rows = rows_of(out / "fig5_limits.csv")
    for panel in mediators.PANELS:
        for name in mediators.CURVES:
            mass = [float(r["mass_MeV"]) for r in rows if (r["panel"], r["curve"]) == (panel, name)]
            assert (min(mass), max(mass)) == mediators.ENDS, (panel, name)
    closed = {(r["panel"], r["curve"]) for r in rows if r["upper"]}
    assert ("vector", "8B") in closed
    for missing in ("limits of others on scalars", "CONUS", "CONNIE", "N_eff", "SN1987A", "reconstruction"):
        assert missing in page
    for credit in ("1801.04847", "BaBar 2014: Lees et al. 2014", "Bauer et al. 2018"):
        assert credit in page


def test_report_and_csv_have_a_verdict_for_each_sentence(run):
    out, summary, _ = run
    page = report_of(out)
    found = summary["results"]["fig5_statements"]
    assert [row["paper"] for row in found] == [said.text for said in STATEMENTS]
    assert len(rows_of(out / "fig5_statements.csv")) == len(STATEMENTS)
    for row in found:
        assert row["valid"]
        assert row["verdict"].startswith(statements.VERDICTS)
        assert 0 < row["smallest_advantage"] <= row["largest_advantage"]
        kind = next(v for v in statements.VERDICTS if row["verdict"].startswith(v)).replace(" ", "-")
        assert f'<span class="{kind}">{row["verdict"].replace("<", "&lt;")}</span>' in page


def test_verdicts_on_the_paper(run):
    """6 MeV follows from none of these curves; the vectors' lower ends from electrons in CsI."""
    _, summary, _ = run
    rows = {row["panel"]: row for row in summary["results"]["fig5_statements"]}
    for panel in ("scalar", "axial"):
        assert rows[panel]["verdict"].startswith("not comparable in lower end (6 MeV is no crossing")
    # The paper has 0.1 and 0.3 MeV.
    for panel, expected in (("b-l", 0.31), ("vector", 0.168)):
        ((low, _),) = rows[panel]["ranges_MeV"]
        assert low == pytest.approx(expected, rel=0.05), panel
