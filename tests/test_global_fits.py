"""Figures of all CEvNS data: the combination against the chi2 of its parts, put together here."""

from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import jcevns as jc
from jcevns.experiments.groups import GROUPS
from jcevns.paper import global_fits
from jcevns.paper.reproduce import reproduce
from tests.pages import report_of, rows_of

SHARED = {"flux.sns": (1.0, 0.10), "flux.b8": (5.46e6, 0.12), "flux.leibstadt": None}
"""Fluxes that experiments have in common: nominal and relative error; one that no other experiment has."""


@cache
def part(member: str, theory: str) -> jc.Likelihood:
    return jc.Likelihood(member, theory)


def total(values: dict[str, float], theory: str = "standard-model") -> float:
    """chi2 of all data: profiles of each experiment at a flux, the flux minimised here with its constraint."""
    found = 0.0
    for flux, known in SHARED.items():
        own = [part(m, theory) for m in GROUPS["all-cevns"].members if flux in part(m, theory).parameters]
        assert own
        if known is None:
            (alone,) = own
            found += float(jc.profile(alone, values).chi2)
            continue
        nominal, error = known

        def at(pull: float, own=own, flux=flux, nominal=nominal, error=error) -> float:
            there = {**values, flux: nominal * (1 + error * pull)}
            return sum(float(jc.profile(one, there).chi2) for one in own) + pull**2

        found += minimize_scalar(at, bounds=(-4, 4), method="bounded", options={"xatol": 1e-3}).fun
    return found


@pytest.mark.slow
def test_weak_mixing_angle_is_the_sum_of_its_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(global_fits, "_ANGLES", np.array([0.15, 0.22, 0.24, 0.30]))
    found = reproduce(tmp_path, ["global-sin2w"])["results"]["global-sin2w"]
    rows = {row["dataset"]: row for row in found["rows"]}
    assert set(rows) == {"all CEvNS data", *(m.partition(":")[0] for m in GROUPS["all-cevns"].members)}
    assert all(row["valid"] for row in rows.values())
    best = rows["all CEvNS data"]
    assert best["chi2_min"] == pytest.approx(total({"sin2w": best["best_fit"]}), abs=1e-3)
    drawn = [row for row in rows_of(tmp_path / "global-sin2w.csv") if row["dataset"] == "all CEvNS data"]
    for row in drawn:
        by_hand = total({"sin2w": float(row["value"])}) - best["chi2_min"]
        assert float(row["delta_chi2"]) == pytest.approx(by_hand, abs=2e-3)
    ((low, high),) = best["segments_90"]
    assert total({"sin2w": low}) - best["chi2_min"] == pytest.approx(2.7055, abs=5e-3)
    # Together they know it better than each alone.
    assert all(high - low < np.inf if None in s else high - low < s[1] - s[0] for s in
               (row["segments_90"][0] for name, row in rows.items() if name != "all CEvNS data"))  # fmt: skip
    page = report_of(tmp_path)
    assert "all-cevns leaves out dresden-ii: it hangs on a contested quenching factor" in page


@pytest.mark.slow
def test_radii_are_the_sum_of_their_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(global_fits, "_RADII", np.array([4.0, 5.0, 6.0]))
    monkeypatch.setattr(global_fits, "_SIZES", np.array([1.1, 1.23, 1.4]))
    found = reproduce(tmp_path, ["global-radius"])["results"]["global-radius"]["rows"]
    assert {row["parameter"] for row in found if row["dataset"] == "all CEvNS data"} == {"r0"}
    (best,) = (row for row in found if row["dataset"] == "all CEvNS data")
    for row in rows_of(tmp_path / "global-radius.csv"):
        if row["dataset"] == "all CEvNS data":
            by_hand = total({"r0": float(row["value"])}) - best["chi2_min"]
            assert float(row["delta_chi2"]) == pytest.approx(by_hand, abs=2e-3)
    (csi,) = (row for row in found if (row["parameter"], row["dataset"]) == ("R_n", "coherent-csi-2021"))
    assert csi["segments_90"] == [pytest.approx([4.65, 6.02], abs=0.01)]


@pytest.mark.slow
def test_contours_and_limits_are_those_of_the_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(global_fits, "_PLANE", np.linspace(-0.10, 0.12, 89))  # around the Standard Model
    monkeypatch.setattr(global_fits, "_MASSES", (10.0, 10.0, 1))
    monkeypatch.setattr(global_fits, "_MEDIATORS", {"scalar": "scalar"})
    results = reproduce(tmp_path, ["global-nsi", "global-mediators"])["results"]
    (plane,) = (row for row in results["global-nsi"] if row["data"] == "all CEvNS data")
    line = [row for row in rows_of(tmp_path / "global-nsi.csv") if row["data"] == "all CEvNS data"]
    assert not any(row["points_not_valid"] for row in results["global-nsi"])
    for row in line[:: max(len(line) // 3, 1)]:
        there = {name: float(row[name]) for name in ("eps_u_ee", "eps_u_mumu")}
        assert total(there, "nsi") - plane["chi2_min"] == pytest.approx(4.605, abs=0.03)  # lines between nodes
    (row,) = (r for r in rows_of(tmp_path / "global-mediators.csv") if r["dataset"] == "all CEvNS data")
    assert row["valid"] == "True"

    def scalar(log_g: float) -> float:
        return total({"coupling": float(np.exp(log_g)), "mass": 10.0}, "scalar")

    limit = np.log(float(row["excluded_from"]))
    lowest = min(
        minimize_scalar(scalar, bounds=(limit - 3, limit), method="bounded", options={"maxiter": 12}).fun,
        scalar(-40.0),
    )
    assert scalar(limit) - lowest == pytest.approx(2.7055, abs=0.01)
