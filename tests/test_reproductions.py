"""The page of reproductions says what the commands give, and nearly every built-in experiment is on it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from benchmarks.reproductions import RESULTS, ROOT, key, measure, rows
from jcevns.experiments.catalogue import EXPERIMENTS
from tests.reference_s2only import wimp_rate

NOTHING_PUBLISHED = {
    "lz-er-ws2024": "no limit on what is built in was at hand",
    "pandax4t-er-run1": "no limit from this run alone was at hand, and its exposure is not published",
}
"""Built-in experiments without a row, and why."""

WRITTEN = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]


@pytest.mark.parametrize("row", rows(), ids=key)
def test_the_page_says_what_the_command_gives(row) -> None:
    assert measure(row) == pytest.approx(WRITTEN[key(row)], rel=1e-4)


@pytest.mark.parametrize("mass", [6.0, 8.0])
def test_spectra_of_wimps(mass) -> None:
    with (ROOT / "benchmarks" / f"wimp_si_{mass:g}GeV.csv").open(encoding="utf-8", newline="") as file:
        table = np.array([[float(cell) for cell in row.values()] for row in csv.DictReader(file)])
    np.testing.assert_allclose(table[:, 1], wimp_rate(table[:, 0], mass, 1e-45), rtol=1e-5)


def test_no_row_is_stale() -> None:
    assert list(WRITTEN) == [key(row) for row in rows()]


def test_every_experiment_is_there() -> None:
    named = {row["experiment"] for row in rows()}
    assert named | set(NOTHING_PUBLISHED) == set(EXPERIMENTS)
    assert not named & set(NOTHING_PUBLISHED)


ONE_NUMBER = {"coherent-ge-2026"}
"""Experiments that are nothing but the published number they are compared with."""


def test_every_experiment_has_a_number_that_nobody_tuned() -> None:
    named, free = {row["experiment"] for row in rows()}, {row["experiment"] for row in rows() if not row["tuned"]}
    assert named - free == ONE_NUMBER
