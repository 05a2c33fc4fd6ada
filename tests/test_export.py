"""Every result in every format: JSON that a strict reader takes, CSV that no spreadsheet runs, data frames."""

from __future__ import annotations

import csv
import io
import json
import math
import sys

import numpy as np
import pytest

import jcevns as jc
from jcevns import Likelihood
from jcevns.export import Exported, Results, plain
from jcevns.fit.contour import Contour
from jcevns.fit.interval import Interval
from jcevns.fit.rounding import accepted_text
from jcevns.parameters import Parameter, Parameters
from jcevns.statistics.laplace import GridPosterior
from jcevns.statistics.limits import Limit
from jcevns.statistics.projections import Projection
from jcevns.statistics.results import Coverage, Discovery, FitQuality, ToyInterval
from jcevns.statistics.sample import Posterior, Sampled

LIMIT = Limit(
    "=g", {"mass": 10.0}, ((1e-5, None),), ((None, 1e-5),), 2.71, 3.0, 0.0, method="cls", expected=(1.0, math.inf)
)
LINE = np.array([[0.1, 1.0], [0.2, 2.0], [0.1, 1.0]])
SAMPLED = Sampled(
    1.0,
    0.1,
    1.0,
    (0.9, 1.1),
    (0.8, 1.2),
    ((0.9, 1.1),),
    ((0.8, 1.2),),
    (0.9, 1.1),
    1.0,
    900.0,
    800.0,
    "uniform:0:2",
    "",
)
MADE = {
    "interval": Interval("x", "", 0.9, 2.71, ((None, 1.0), (2.0, 3.0)), 0.5, 0.0, ("look: at, this",)),
    "limit": LIMIT,
    "limits": Results([LIMIT, LIMIT]),
    "contour": Contour(
        ("a", "b"),
        ("", "MeV"),
        ("", ""),
        (0.683, 0.9),
        2,
        (2.3, 4.6),
        (0.15, 1.5),
        7.0,
        {0.683: (LINE,), 0.9: (LINE, LINE)},
        {0.683: (True,), 0.9: (True, False)},
        ((0.0, 1.0), (0.0, 3.0)),
    ),
    "discovery": Discovery("x", 0.0, math.inf, math.inf, 100, 0, 0, 0.0, 0.0, math.inf),
    "coverage": Results([Coverage(1.0, 0.9, 2.71, 0.88, 0.01, 100, 0, 0)]),
    "interval of toys": ToyInterval(
        "x", "", 0.9, ((None, 2.0),), 1.0, (1.0, 2.0), (0.0, 2.0), (2.5, 2.6), 2.71, 10, 0, (0, 0)
    ),
    "quality": FitQuality(3.0, 0.2, 0.01, 100, 0, 0.25),
    "projection": Projection("upper limit on g", "", 0.0, math.inf, (1.0, 2.0, 3.0, 4.0, math.inf), 10, 0, 0),
    "posterior": Posterior(
        {"x": SAMPLED}, 0, 1.234, (), ("e",), {"chains": 2}, object(), Parameters([Parameter("x")]), {}
    ),
    "grid": GridPosterior(
        {"x": np.array([0.0, 1.0])}, np.array([1.0, math.nan]), np.array([True, False]), Parameters([])
    ),
}


@pytest.fixture(scope="module")
def fitted():
    return jc.fit(Likelihood("xenonnt-2024-s2", "vector"), "coupling", at={"mass": 10.0})


def _check(found: Exported) -> list[dict[str, str]]:
    def refuse(name: str):
        raise AssertionError(f"{name} is no JSON")

    assert json.loads(found.to_json(), parse_constant=refuse) == plain(found.to_dict())
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    frame = found.to_dataframe()
    assert list(frame.columns) == [c.removeprefix("'") for c in rows[0]]
    assert len(frame) == len(rows) > 0
    assert not any(cell.startswith(("=", "@")) for row in rows for cell in row.values())
    return rows


@pytest.mark.parametrize("kind", MADE)
def test_results_are_exported(kind) -> None:
    _check(MADE[kind])


def test_what_is_exported_is_what_was_found() -> None:
    assert [row["name"] for row in _check(MADE["limits"])] == ["'=g", "'=g"]
    assert json.loads(LIMIT.to_json())["expected"] == [1.0, None]
    assert [row["mass"] for row in MADE["limits"].rows()] == [10.0, 10.0]
    points = _check(MADE["contour"])
    assert [(p["cl"], p["line"], p["a"], p["b"]) for p in points][3:5] == [
        ("0.9", "0", "0.1", "1"),
        ("0.9", "0", "0.2", "2"),
    ]
    interval = MADE["interval"].to_dict()
    assert (interval["lower"], interval["upper"], interval["valid"]) == (None, 1.0, False)
    assert _check(MADE["interval"])[0]["segments"] == "[none, 1]; [2, 3]"
    posterior = MADE["posterior"].to_dict()
    assert (posterior["x"]["mean"], posterior["seconds"]) == (1.0, 1.23)
    assert _check(MADE["grid"])[1] == {"x": "1", "density": "", "valid": "False"}


def test_a_fit_is_exported_with_its_nuisances(fitted, tmp_path) -> None:
    rows = _check(fitted)
    kinds = [row["kind"] for row in rows]
    assert kinds == ["fitted"] + ["profiled"] * len(fitted.pulls) + ["fixed"]
    assert float(rows[0]["value"]) == pytest.approx(fitted.values["coupling"], rel=1e-9)
    assert float(rows[1]["pull"]) == pytest.approx(fitted.pulls[rows[1]["parameter"]], rel=1e-8)
    fitted.to_csv(tmp_path / "fit.csv")
    assert (tmp_path / "fit.csv").read_text() == fitted.to_csv()
    assert json.loads(fitted.to_json())["full_covariance"]["parameters"] == list(fitted.full_covariance.names)
    _check(fitted.full_covariance)
    _check(fitted.goodness)


def test_without_pandas_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        LIMIT.to_dataframe()


def test_what_json_has_not_is_refused() -> None:
    with pytest.raises(TypeError, match="object, which JSON has not"):
        plain({"a": object()})
    assert plain({0.683: [np.float64(1.0), np.int64(2), math.nan, True]}) == {"0.683": [1.0, 2, None, True]}


@pytest.mark.parametrize(
    ("segments", "unit", "text"),
    [
        (((None, 7.5),), "1e-12 mu_B", "x < 7.5e-12 mu_B"),
        (((None, 1.114e7),), "cm^-2 s^-1", "x < 1.11e7 cm^-2 s^-1"),
        (((2.0, None),), "MeV", "x > 2.00 MeV"),
        (((None, None),), "", "x: no limit"),
        ((), "", "x: nothing accepted"),
        (((None, 1.0), (2.0, 3.0)), "", "x: [open, 1.00] and [2.00, 3.00]"),
        (((None, 8.24e-6),), "", "x < 8.24e-06"),
        (((None, 0.0),), "1e-12 mu_B", "x < 0.00 1e-12 mu_B"),
    ],
)
def test_limits_are_said_as_limits(segments, unit, text) -> None:
    assert accepted_text("x", segments, unit) == text


def test_limits_print_one_to_a_line() -> None:
    assert str(MADE["limits"]).splitlines() == ["=g < 1.00e-05 (90% CLs, mass = 10)"] * 2
