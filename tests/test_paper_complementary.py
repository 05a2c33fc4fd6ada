"""Figs. 3 and 5 of `jcevns reproduce`: points, limits, and the paper's sentences about them."""

import csv
import dataclasses

import numpy as np
import pytest

from jcevns import Likelihood, interval, limits
from jcevns.paper import mediators, running, statements
from jcevns.paper.reproduce import reproduce
from jcevns.paper.statements import STATEMENTS, TOLERANCE, Statement


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("complementary")
    summary = reproduce(out, ["fig3", "fig5"])
    return out, summary, (out / "report.html").read_text(encoding="utf-8")


def test_figure_3_has_our_points_and_those_of_others(run):
    out, summary, page = run
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
    out, summary, page = run
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
    from jcevns.paper.run import Run

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
    out, _, page = run
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
    out, summary, page = run
    found = summary["results"]["fig5_statements"]
    assert [row["paper"] for row in found] == [said.text for said in STATEMENTS]
    assert len(rows_of(out / "fig5_statements.csv")) == len(STATEMENTS)
    for row in found:
        assert row["valid"]
        assert row["verdict"].startswith(statements.VERDICTS)
        assert 0 < row["smallest_advantage"] <= row["largest_advantage"]
        kind = next(v for v in statements.VERDICTS if row["verdict"].startswith(v)).replace(" ", "-")
        assert f'<span class="{kind}">{row["verdict"].replace("<", "&lt;")}</span>' in page


MASS = np.geomspace(1e-2, 1e5, 15)
SAID = Statement("scalar", "ours leads", ("flat", "steep"), 10.0, 1000.0)


def curves(low=10.0, high=1000.0):
    """Ours is the best between two masses: `steep` is better below, `flat` above."""
    ours = 1e-5 * MASS**0.5
    steep = 1e-5 * MASS / low**0.5
    flat = np.full(MASS.size, 1e-5 * high**0.5)
    return {"8B": (MASS, ours), "steep": (MASS, steep), "flat": (MASS, flat)}


def test_crossings_of_power_laws_are_exact():
    found = curves()
    ((low, high),) = statements.leading(found["8B"], [found["steep"], found["flat"]])
    assert (low, high) == pytest.approx((10.0, 1000.0), rel=1e-6)
    mass, factor = statements.advantage(found["8B"], [found["flat"]])
    assert factor == pytest.approx((1000.0 / mass) ** 0.5, rel=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (10.0, 1000.0, "agrees: 8B leads for 10 < m < 1000 MeV"),
        (10.0 * TOLERANCE * 0.98, 1000.0, "agrees"),
        (10.0 * TOLERANCE * 1.02, 1000.0, "differs in lower end: 8B leads for 15 < m < 1000 MeV"),
        (10.0, 300.0, "differs in upper end"),
        (1.0, 1e4, "differs in lower end and upper end"),
        (1000.0, 10.0, "differs: 8B leads for no mass"),
    ],
)
def test_verdict_falls_as_the_curves_do(low, high, start):
    text, ranges = statements.verdict(SAID, curves(low, high))
    assert text.startswith(start)
    assert len(ranges) == (low < high)


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (10.0, 1000.0, "not comparable in lower end (another limit): 8B leads for 10 < m < 1000 MeV"),
        (1.0, 1000.0, "not comparable in lower end (another limit): 8B leads for 1 < m < 1000 MeV"),
        (1.0, 300.0, "differs in upper end: 8B leads for 1 < m < 300 MeV"),
        (1000.0, 10.0, "differs: 8B leads for no mass"),
    ],
)
def test_an_end_from_a_limit_that_is_not_ours_is_not_judged(low, high, start):
    said = dataclasses.replace(SAID, low_from="another limit")
    assert statements.verdict(said, curves(low, high))[0] == start


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


def test_verdict_names_open_ends_and_several_ranges():
    found = curves()
    worse = {**found, "steep": (MASS, 10 * found["flat"][1])}
    text, _ = statements.verdict(SAID, worse)
    assert text == "differs in lower end: 8B leads for m < 1000 MeV"
    bump = found["8B"][1] * np.where(np.abs(np.log10(MASS) - 2) < 0.2, 30.0, 1.0)
    text, ranges = statements.verdict(SAID, {**found, "8B": (MASS, bump)})
    assert text.startswith("differs: 8B leads for 10 < m < ")
    assert len(ranges) == 2
    assert " and " in text


def test_a_curve_without_limit_is_beaten():
    found = curves()
    nothing = (MASS, np.full(MASS.size, np.nan))
    assert statements.leading(found["8B"], [nothing]) == [(pytest.approx(1e-2), pytest.approx(1e5))]
    assert statements.leading(nothing, [found["8B"]]) == []
    with pytest.raises(ValueError, match="no masses in common"):
        statements.advantage(found["8B"], [(MASS * 1e8, MASS)])
