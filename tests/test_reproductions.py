"""The page of reproductions says what the commands give, and every built-in experiment is on it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from benchmarks.reproductions import HEAD, RESULTS, ROOT, cells, key, left, measure, missing, rows
from jcevns.experiments.catalogue import EXPERIMENTS
from tests.reference_s2only import wimp_rate

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


def test_every_experiment_has_a_number_that_nobody_chose_or_a_reason() -> None:
    free = {row["experiment"] for row in rows() if not row["tuned"]}
    assert free.isdisjoint(missing())
    assert free | set(missing()) == set(EXPERIMENTS)
    assert {row["experiment"] for row in rows()} <= set(EXPERIMENTS)
    assert all(len(reason) > 40 for reason in missing().values())


def test_the_page_shows_all_of_it() -> None:
    """Every command with its ratio; every experiment without a number, with the reason."""
    shown = cells()
    assert all(len(line) == len(HEAD) for line in shown)
    for row, line in zip(rows(), shown, strict=True):
        assert line[0] == f"`{row['experiment']}`"
        assert float(line[4]) == pytest.approx(WRITTEN[key(row)][0] / row["value"], abs=6e-4)
        assert line[5:] == [row["tuned"], f"`{row['command']}`"]
    for (name, reason), text in zip(missing().items(), left(), strict=True):
        assert name in text
        assert reason in text
