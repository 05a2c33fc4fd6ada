"""Single precision: a fresh process without x64 reaches the same chi2."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from jcevns import StandardModel, Theory, profile, signal_counts
from jcevns.experiments.catalogue import parse_experiment
from tests.problems import BOTH, joint
from tests.reference import run_python

POINTS = [
    (0.23857, 5.46e6),
    (0.23857, 0.0),
    (0.23857, 5.46e5),
    (0.23857, 5.46e7),
    (0.23857, 1e9),
    (0.3, 5.46e6),
    (-0.1078, 5.46e6),
    (-1.0, 5.46e6),
    (2.0, 5.46e6),
]  # sin2w, 8B flux
KEYS = ("chi2", "gradient", "valid", "edm", "pulls", "dtypes")

SCRIPT = f"""
import json
import jax
jax.config.update("jax_numpy_dtype_promotion", "strict")
import jax.numpy as jnp
from jcevns import Likelihood, StandardModel, Theory, experiment, profile
from jcevns.inference.fit import profile_signal

likelihood = Likelihood([experiment("xenonnt-2024-s2"), experiment("pandax4t-us2")])
slope = jax.jit(jax.grad(lambda s: profile_signal(likelihood.model, s).chi2))
from jcevns import signal
for sin2w, flux in {POINTS!r}:
    theory = Theory(StandardModel(sin2w=sin2w), flux)
    fit = profile(likelihood, theory)
    gradient = slope(signal(likelihood, theory))
    floating = jax.tree.leaves((fit.chi2, fit.pulls, fit.expected, fit.slope, fit.edm, gradient))
    print(json.dumps(dict(
        chi2=float(fit.chi2), valid=bool(fit.valid), edm=float(fit.edm), pulls=fit.pulls.tolist(),
        gradient=gradient.tolist(), dtypes=sorted(set(str(x.dtype) for x in floating)),
    )))
"""


@pytest.fixture(scope="module")
def single() -> list[dict]:
    # Warnings are errors and promotion is strict: nothing truncates a float64 silently.
    done = run_python(SCRIPT, "-W", "error")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(POINTS)
    return rows


def test_everything_is_single_finite_and_valid(single) -> None:
    for point, row in zip(POINTS, single, strict=True):
        assert set(row) == set(KEYS)
        assert row["dtypes"] == ["float32"], point
        assert row["valid"], (point, row["edm"])
        assert np.isfinite([row["chi2"], *row["pulls"], *row["gradient"]]).all(), point


def test_chi2_agrees_with_double_precision(single) -> None:
    assert jax.config.jax_enable_x64
    likelihood = joint(BOTH)
    double = [float(profile(likelihood, Theory(StandardModel(s), f)).chi2) for s, f in POINTS]
    differences = np.abs([row["chi2"] - chi2 for row, chi2 in zip(single, double, strict=True)])
    print(f"largest difference of chi2 in float32: {differences.max():.2e} at {POINTS[differences.argmax()]}")  # noqa: T201
    assert differences.max() < 1e-3


def test_sources_of_all_kinds() -> None:
    """A line, ramps at the ends of spectra, shells of electrons: events of the Standard Model in both precisions."""
    names = ["coherent-csi-2021:shapes=none", "coherent-lar-2020:correction=none", "xenonnt-er-2022", "texono-2010"]
    script = f"""
import jcevns as jc
from jcevns.experiments.catalogue import parse_experiment
for name in {names!r}:
    print(float(jc.signal_counts(parse_experiment(name), jc.StandardModel()).mean()))
"""
    done = run_python(script, "-W", "error")
    assert done.returncode == 0, done.stderr
    for name, mean in zip(names, map(float, done.stdout.split()), strict=True):
        assert mean == pytest.approx(float(signal_counts(parse_experiment(name), StandardModel()).mean()), rel=1e-3)
