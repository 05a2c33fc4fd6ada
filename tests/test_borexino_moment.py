"""Why three rates of Borexino do not reach its limit on the magnetic moment: what the table of the site says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import borexino_moment as bm
from benchmarks import reproductions
from tests import reference_moment

WRITTEN = dict(zip((*bm.RATES, *bm.SPECTRA), json.loads(bm.RESULTS.read_text("utf-8"))["limits"], strict=True))


@pytest.mark.parametrize("variant", bm.RATES, ids=lambda v: v.fluxes)
def test_limits_of_the_rates(variant) -> None:
    assert bm.limit(variant) == pytest.approx(WRITTEN[variant], rel=1e-3)


def test_first_row_is_that_of_the_experiment() -> None:
    (row,) = [r for r in reproductions.rows() if r["experiment"] == "borexino-phase2" and r["value"] == bm.PUBLISHED]
    stored = json.loads(reproductions.RESULTS.read_text("utf-8"))["results"]
    assert WRITTEN[bm.RATES[0]] == pytest.approx(stored[reproductions.key(row)][0], rel=3e-3)


def test_gallium() -> None:
    """The captures of the solar model are those that were counted, within their error."""
    captures, others = bm.capture_rates()
    assert captures == pytest.approx(reference_moment.SNU, rel=5e-3)
    assert sum(captures.values()) + others == pytest.approx(bm.GALLIUM, abs=bm.GALLIUM_ERROR)


def test_spectrum_from_190_keV_by_numpy() -> None:
    """What was published is within 15% of what a spectrum with gallium can do."""
    published_way = bm.Variant("free+gallium", 190.0)
    assert bm.limit(published_way) == pytest.approx(reference_moment.expected_limit(190.0), rel=0.02)
    assert bm.limit(published_way) == pytest.approx(WRITTEN[published_way], rel=1e-3)
    assert WRITTEN[published_way] == pytest.approx(bm.PUBLISHED, rel=0.15)


def test_table() -> None:
    shown = bm.cells()
    assert all(len(line) == len(bm.HEAD) for line in shown)
    np.testing.assert_allclose([float(line[4]) for line in shown], list(WRITTEN.values()), atol=0.051)
