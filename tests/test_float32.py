"""Single precision: a fresh process without x64 reaches the same chi2."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from jcevns import StandardModel, profile, signal, signal_counts
from jcevns.experiments.catalogue import parse_experiment
from tests.problems import BOTH, compiled, joint
from tests.reference import run_python

POINTS = [
    (0.23857, 1.0),
    (0.23857, 0.0),
    (0.23857, 0.1),
    (0.23857, 10.0),
    (0.23857, 1e9 / 5.46e6),
    (0.3, 1.0),
    (-0.1078, 1.0),
    (-1.0, 1.0),
    (2.0, 1.0),
]  # sin2w, factor on the signal
KEYS = ("chi2", "gradient", "valid", "edm", "pulls", "dtypes")

SCRIPT = f"""
import json
import jax
jax.config.update("jax_numpy_dtype_promotion", "strict")
import jax.numpy as jnp
from jcevns import Likelihood, StandardModel, profile, signal
from jcevns.fit.profile import profile_model
from jcevns.likelihood import model as models

likelihood = Likelihood(["xenonnt-2024-s2", "pandax4t-us2"])
fit = jax.jit(profile_model)
slope = jax.jit(jax.grad(lambda s: profile_model(likelihood.model, s)[0]))
named = profile(likelihood, {{"sin2w": 0.3}})
assert named.chi2.dtype == jnp.float32 and bool(named.valid)
for sin2w, factor in {POINTS!r}:
    counts = factor * signal(likelihood.under(StandardModel(sin2w)))
    chi2, x, expected, edm, valid, steps = fit(likelihood.model, counts)
    pulls, gradient = models.pulls(likelihood.model, x), slope(counts)
    floating = jax.tree.leaves((chi2, pulls, expected, edm, gradient))
    print(json.dumps(dict(
        chi2=float(chi2), valid=bool(valid), edm=float(edm), pulls=pulls.tolist(),
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
    double = [
        float(compiled(likelihood.model, f * signal(likelihood.under(StandardModel(s)))).chi2) for s, f in POINTS
    ]
    assert double[5] == pytest.approx(float(profile(likelihood, {"sin2w": 0.3}).chi2), abs=1e-9)
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
