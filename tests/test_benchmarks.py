from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import coverage_s2only, engine, peers, scale
from benchmarks.batched_numpy import NumpyModel, fit_batched
from benchmarks.testbench.page import page, text
from jcevns.fit.batch import Profiles
from jcevns.likelihood import model as models
from tests import problems


@pytest.fixture(scope="module")
def points() -> tuple[np.ndarray, Profiles]:
    """Signals of about fifty points that are not far from the data, and their fits by jcevns."""
    likelihood = problems.joint(problems.BOTH)
    signals = engine.all_signals(likelihood, 5, 12)
    fit = engine.fit(likelihood, signals, 512)
    near = np.flatnonzero(fit.chi2 - fit.chi2.min() < 25)
    chosen = np.random.default_rng(3).permutation(near)[:50]
    return signals[:, chosen], Profiles(*(x[..., chosen] for x in fit))


def test_batched_numpy_newton_agrees(points):
    signals, ours = points
    theirs = fit_batched(NumpyModel(problems.joint(problems.BOTH)), signals, chunk=16)
    assert theirs.valid.all()
    assert theirs.chi2 == pytest.approx(ours.chi2, abs=1e-8)
    model = problems.joint(problems.BOTH).model
    pulls = np.stack([models.pulls(model, jnp.asarray(x)) for x in ours.x.T], axis=1)
    assert np.expm1(theirs.theta) == pytest.approx(pulls, abs=1e-4)


def test_batched_numpy_newton_agrees_where_the_signal_is_excluded():
    likelihood = problems.joint(problems.BOTH)
    signals = engine.all_signals(likelihood, 3, 5)
    theirs, ours = fit_batched(NumpyModel(likelihood), signals), engine.fit(likelihood, signals, 512)
    assert theirs.valid.all()
    assert theirs.chi2 == pytest.approx(ours.chi2, rel=1e-9)


def test_iminuit_on_numpy_agrees(points):
    signals, ours = points
    tight = peers.iminuit_numpy(problems.joint(problems.BOTH), signals, tight=True, grad=True)
    assert tight.chi2 == pytest.approx(ours.chi2, abs=1e-6)
    loose = peers.iminuit_numpy(problems.joint(problems.BOTH), signals[:, :5])
    assert loose.chi2 == pytest.approx(ours.chi2[:5], abs=1e-2)


def test_gradient_of_the_numpy_likelihood():
    likelihood = problems.joint(problems.BOTH)
    chi2 = peers.NumpyChi2(likelihood).at(engine.all_signals(likelihood, 2, 2)[:, 0])
    theta = np.random.default_rng(1).normal(0, 0.2, 8)
    steps = 1e-5 * np.eye(8)
    numeric = [(chi2(theta + h) - chi2(theta - h)) / 2e-5 for h in steps]
    assert chi2.gradient(theta) == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_operations_of_a_step_are_counted():
    assert 500 < engine.flops_per_step(problems.joint(problems.BOTH).layout) < 2000


def test_roofline_of_a_step():
    """XLA's kernels do what the algorithm needs, and more; no step is ten times faster than its own traffic."""
    likelihood = engine.combined()
    found = engine.roofline(likelihood, 512)
    assert found["xla_operations"] > engine.flops_per_step(likelihood.layout)
    assert found["transcendentals"] >= len(likelihood.nuisances)
    assert found["bytes"] > found["bytes_of_input_and_output"] > 8 * likelihood.model.observed.size
    assert found["ns"] > found["ns_for_the_bytes"] / 10


def test_page_of_the_test_bench_is_that_of_its_results():
    root = Path(__file__).parents[1]
    stored = (root / "benchmarks" / "results" / "testbench.json").read_text(encoding="utf-8")
    assert (root / "docs" / "testbench.md").read_text(encoding="utf-8") == page(json.loads(stored))
    assert text(json.loads(stored)) == stored


@pytest.mark.parametrize(
    "name",
    sorted(p.stem for p in (Path(__file__).parents[1] / "benchmarks").glob("[a-z]*.py") if p.stem != "alea_peer"),
)
def test_every_benchmark_can_be_imported(name):
    """All but the one whose peers are not among the requirements."""
    import_module(f"benchmarks.{name}")


def test_the_page_has_the_coverage_that_was_measured():
    """Of limits from ionisation signals alone; the toys themselves are those of `tests/test_upper_limits.py`."""
    page = (coverage_s2only.RESULTS.parents[2] / "docs" / "concepts" / "ionisation_only.md").read_text("utf-8")
    content = json.loads(coverage_s2only.RESULTS.read_text("utf-8"))
    assert f"Thresholds are from {content['settings']['toys']} toys" in page
    cells = {}
    for row in content["results"]:
        cells.setdefault(row["strength"], []).append(f"{100 * row['coverage']:.1f} ± {100 * row['error']:.1f}%")
        assert row["invalid"] == 0
        assert row["toys"] == content["settings"]["toys"]
    assert list(cells) == list(coverage_s2only.STRENGTHS)
    assert f"| 0 | {cells[0.0][0]} | {cells[0.0][1]} | 100% (never excluded) | 100% |" in page
    for strength in (0.5, 1.0):
        assert f"| {strength:g} | {' | '.join(cells[strength])} |" in page


def test_the_how_to_has_the_scales_that_were_measured():
    """Rows of the table, and the sentence below it from the last one."""
    measured = json.loads(scale.RESULT.read_text(encoding="utf-8"))["sizes"]
    written = (scale.ROOT / "docs" / "howto" / "sharded_scans.md").read_text(encoding="utf-8")
    for row in measured:
        figures = f"{row['us_per_point']:.1f} | {row['peak_gigabytes']:.2f} | {row['bytes_per_point']:.1f}"
        assert f"| {row['points']:,} | {figures} |".replace(",", " ") in written
        assert row["invalid"] == 0
    last = measured[-1]
    assert f"{round(last['million_points_per_core_hour'], -2):.0f} million points" in written
    assert max(row["peak_gigabytes"] for row in measured) < 1.2 * measured[0]["peak_gigabytes"]
