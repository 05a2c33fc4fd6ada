"""The page of reproductions says what the commands give, and every built-in experiment is on it."""

from __future__ import annotations

import json

import pytest

from benchmarks.reproductions import RESULTS, key, measure, rows
from jcevns.experiments.catalogue import EXPERIMENTS

NOTHING_PUBLISHED = {
    "xenonnt-2026": "the release has templates, its result was not at hand",
    "lz-er-ws2024": "no limit on what is built in was at hand",
    "xenonnt-s2only-2026": "its limits are on WIMPs: the page on ionisation signals has them beside ours",
    "dresden-ii": "no number with the same quenching and flux was at hand",
    "coherent-ge-2024": "the one number, the rate, is what it is made of",
    "pandax4t-er-run1": "the exposure is not published, limits on the moment scale with it",
}
"""Built-in experiments without a row, and why."""

WRITTEN = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]


@pytest.mark.parametrize("row", rows(), ids=key)
def test_the_page_says_what_the_command_gives(row) -> None:
    assert measure(row) == pytest.approx(WRITTEN[key(row)], rel=1e-4)


def test_no_row_is_stale() -> None:
    assert list(WRITTEN) == [key(row) for row in rows()]


def test_every_experiment_is_there() -> None:
    named = {row["experiment"] for row in rows()}
    assert named | set(NOTHING_PUBLISHED) == set(EXPERIMENTS)
    assert not named & set(NOTHING_PUBLISHED)
