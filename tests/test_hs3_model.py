"""Exported HS3 workspaces against pyhs3, which builds the likelihood from the JSON alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log, pi

import numpy as np
import pyhs3
import pytensor
import pytest
from scipy.stats import poisson

import jcevns as jc
from jcevns.likelihood.samples import POI
from tests import problems
from tests.test_pyhf_model import BENT, LINE, SIGNAL_AT, shaped


def read(likelihood: jc.Likelihood, at: dict | None = None) -> tuple[Callable[[dict], float], pyhs3.Workspace]:
    """Chi2 by the reader at values of ours and `mu`, and the workspace."""
    workspace = pyhs3.Workspace(**json.loads(json.dumps(jc.to_hs3(likelihood, at), allow_nan=False)))
    model = workspace.model(workspace.analyses["jcevns"], progress=False)
    inputs = list(pytensor.graph.traversal.explicit_graph_inputs([model.log_prob]))
    compiled = pytensor.function(inputs, model.log_prob, mode="FAST_COMPILE")
    given, records = likelihood.parameters.full_values(at), likelihood.parameters
    moving = [n for n in likelihood.nuisances if n not in given]
    factors = [n for n in moving if n in likelihood.normalisations]
    assert {x.name for x in inputs} <= {POI, *moving}
    counts = np.concatenate([np.asarray(one.observed, float) for one in likelihood.experiments])
    widths = [records[n].width / records[n].default for n in factors] + [1.0] * (len(moving) - len(factors))
    saturated = float(np.sum(poisson.logpmf(counts, counts))) - sum(log(w) + log(2 * pi) / 2 for w in widths)
    # A parameter that no sample depends on is no input; its constraint is in the likelihood all the same.

    def chi2(values: dict) -> float:
        theirs = {POI: values.get(POI, 1.0)}
        for name in moving:
            value = values.get(name, records[name].default)
            theirs[name] = value / (records[name].default if name in factors else records[name].width)
        found = compiled(*(np.full((1,) * x.ndim, theirs[x.name]) for x in inputs))
        return -2 * (float(np.squeeze(found)) - saturated)

    return chi2, workspace


def compared(likelihood: jc.Likelihood, at: dict | None = None, count: int = 6) -> None:
    """Chi2 of both at random values of everything that moves, within its bounds; its constant too."""
    theirs, _ = read(likelihood, at)
    records, given = likelihood.parameters, likelihood.parameters.full_values(at)
    still = [n for n in likelihood.nuisances if n in given]
    constraint = sum(((given[n] - records[n].default) / records[n].width) ** 2 for n in still)
    rng = np.random.default_rng(3)
    for _ in range(count):
        values = dict(given)
        for name in set(likelihood.nuisances) - set(given):
            record = records[name]
            low, high = (record.default + k * record.width for k in (-3, 3))
            values[name] = float(rng.uniform(max(low, record.lower), min(high, record.upper)))
        assert theirs(values) == pytest.approx(float(jc.chi2(likelihood, values)) - constraint, rel=1e-10, abs=1e-9)


SHIPPED = (
    "xenonnt-2024-s2",
    "xenonnt-2024-s2,pandax4t-us2",
    "coherent-csi-2021:shapes=none",
    "lz-er-ws2022,xenonnt-er-2022",
)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_likelihoods_are_the_same_when_read_back(name) -> None:
    compared(jc.Likelihood(name))


def test_what_stands_still_has_no_constraint() -> None:
    compared(jc.Likelihood("xenonnt-2024-s2,pandax4t-us2"), {"accidental": 1.1, "sin2w": 0.3, "flux": 4e6})


def test_strength_multiplies_the_signal() -> None:
    likelihood = problems.joint(problems.BOTH)
    theirs, _ = read(likelihood, {"flux": problems.NOMINAL})
    expected = float(jc.chi2(likelihood, {"flux": 2.5 * problems.NOMINAL}))
    constraint = ((2.5 - 1) / 0.12) ** 2
    assert theirs({POI: 2.5}) == pytest.approx(expected - constraint, rel=1e-10)


def test_factors_multiply_and_shapes_bend_beside_them() -> None:
    """Two efficiencies and a shape that bends at nominal, on the same signal: pyhf takes none of it."""
    nuisances = (jc.Nuisance("one", 0.3, ("signal",)), jc.Nuisance("two", 0.2, ("signal", "flat")))
    likelihood = shaped(BENT, [4.0, 4.0], (LINE,), nuisances=nuisances)
    with pytest.raises(ValueError, match=r"has the nuisances bent\.one, bent\.two, bent\.tilt.*write `to_hs3`"):
        jc.to_pyhf(likelihood)
    compared(likelihood, count=20)
    compared(shaped(SIGNAL_AT, [4.0, 4.0], (LINE,), nuisances=nuisances), {"two": 1.3})


def test_bounds_are_the_domain_and_the_start_is_nominal() -> None:
    nuisances = (jc.Nuisance("rate", 0.5, ("flat",), bounds=(0.8, 1.2)),)
    likelihood = jc.Likelihood(problems.counting("tight", [40.0], [2.0], {"flat": [10.0]}, nuisances))
    _, workspace = read(likelihood)
    assert workspace.domains["default_domain"].get("tight.rate") == (0.8, 1.2)
    assert workspace.parameter_points["nominal"]["tight.rate"].value == 1.0
    assert workspace.analyses["jcevns"].parameters_of_interest == [POI]
    shape = shaped(SIGNAL_AT, [4.0, 4.0], (jc.ShapeNuisance("wide", LINE.anchors, sigma=0.5),))
    _, workspace = read(shape)
    assert workspace.domains["default_domain"].get("bent.wide") == (-4.0, 4.0)
    assert workspace.parameter_points["nominal"]["bent.wide"].value == 0.0
    compared(shape)


def test_samples_of_several_sources_and_parts() -> None:
    compared(jc.Likelihood(jc.experiment("xenonnt-2024-s2").replace(flux=["b8", "hep"])))
    nuisances = (jc.Nuisance("first", 0.1, ("signal:a",)), jc.Nuisance("second", 0.2, ("signal:b",)))
    compared(shaped([3.0, 4.0], [4.0, 4.0], (), nuisances=nuisances, parts=(("a", 1), ("b", 1))))


def test_what_histfactory_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="signal: the changes of the shapes t_ly, t_qy do not add up"):
        jc.to_hs3(jc.Likelihood("xenonnt-2024"))
    with pytest.raises(ValueError, match=r"bends at .* of the shape"):
        jc.to_hs3(jc.Likelihood("coherent-csi-2021"))
    powers = (jc.Nuisance("yield", 0.1, {"flat": 0.1, "signal": 0.3}),)
    with pytest.raises(ValueError, match=r"wide\.yield has different widths on its components"):
        jc.to_hs3(jc.Likelihood(problems.counting("wide", [3.0], [2.0], {"flat": [1.0]}, powers)))
    shared = (jc.Nuisance("mu", 0.1, ("flat",), shared=True),)
    with pytest.raises(ValueError, match="a shared nuisance is named 'mu'"):
        jc.to_hs3(jc.Likelihood(problems.counting("t", [3.0], [2.0], {"flat": [1.0]}, shared)))


def test_random_models_are_the_same_when_read_back() -> None:
    """Any number of components and of factors on any of them."""
    rng = np.random.default_rng(11)
    for trial in range(8):
        bins = int(rng.integers(1, 6))
        flat = {f"b{k}": rng.uniform(0.5, 20, bins).tolist() for k in range(int(rng.integers(1, 4)))}
        components = ["signal", *flat]
        nuisances = []
        for k in range(int(rng.integers(0, 5))):
            acting = rng.permutation(components)[: int(rng.integers(1, len(components) + 1))]
            nuisances.append(jc.Nuisance(f"n{k}", float(rng.uniform(0.02, 0.8)), tuple(map(str, acting))))
        observed, expected = rng.poisson(20, bins).astype(float).tolist(), rng.uniform(0.1, 9, bins).tolist()
        compared(jc.Likelihood(problems.counting(f"r{trial}", observed, expected, flat, tuple(nuisances))), count=3)
