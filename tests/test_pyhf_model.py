from __future__ import annotations

import json
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

import jcevns as jc
from jcevns import (
    Channel,
    Experiment,
    Likelihood,
    Nuisance,
    ShapeNuisance,
    StandardModel,
    TabulatedSpectrum,
    experiment,
    physics,
    profile,
    signal,
)
from jcevns.detectors import Response
from jcevns.likelihood.likelihood import internal
from jcevns.likelihood.model import chi2
from jcevns.likelihood.pyhf_model import to_pyhf
from jcevns.likelihood.samples import POI
from tests import problems

# pyhf 0.7.6 validates with an interface that jsonschema has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")

SCALES = (0.0, 0.3, 1.0, 3.0)


@pytest.fixture(autouse=True)
def numpy_backend() -> Iterator[None]:
    """pyhf's state is global: leave it as it was."""
    before = pyhf.get_backend()
    pyhf.set_backend(
        "numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-7, strategy=2, maxiter=100_000), precision="64b"
    )
    yield
    pyhf.set_backend(*before)


def exported(likelihood: Likelihood, at: dict | None = None) -> tuple[pyhf.Model, list[float], float]:
    """Model, data, and -2 ln L of the saturated model."""
    workspace = pyhf.Workspace(json.loads(json.dumps(to_pyhf(likelihood, at))))  # validates against the schema
    model = workspace.model()
    data = workspace.data(model)
    main = np.array(data[: model.config.nmaindata])
    poisson, gauss = pyhf.probability.Poisson, pyhf.probability.Normal
    saturated = -2 * np.sum(poisson(main).log_prob(main))
    widths = [0.12 if name == "lumi" else 1.0 for name in model.config.auxdata_order]
    return model, data, saturated - 2 * np.sum(gauss(np.zeros(len(widths)), np.array(widths)).log_prob(0.0))


def parameters(likelihood: Likelihood, model: pyhf.Model, pulls: np.ndarray) -> list[float]:
    """Of pyhf, at relative pulls."""
    sigma = np.asarray(likelihood.model.sigma)
    alphas = dict(zip(likelihood.nuisances, pulls / sigma, strict=True))
    flux = {"lumi": 1 + pulls[likelihood.nuisances.index(problems.FLUX)]} if problems.FLUX in alphas else {}
    values = {**alphas, **flux, POI: 1.0}
    return [values[name] for name in model.config.par_order]


def at_pulls(likelihood: Likelihood, pulls: np.ndarray):
    """Parameters of the likelihood's model there."""
    return jnp.where(likelihood.model.is_log, jnp.log1p(pulls), 1 + pulls)


@pytest.mark.parametrize("constrained", [True, False])
def test_chi2_at_random_nuisances_is_that_of_pyhf(constrained):
    likelihood = problems.joint(problems.BOTH)
    at = {} if constrained else {"flux": problems.NOMINAL}
    counts = signal(likelihood)
    model, data, constant = exported(likelihood, at)
    assert ("lumi" in model.config.par_order) is constrained
    rng = np.random.default_rng(7)
    for _ in range(12):
        pulls = np.exp(rng.normal(0.0, 0.7, len(likelihood.nuisances))) - 1
        pulls[0] *= constrained
        theirs = -2 * model.logpdf(parameters(likelihood, model, pulls), data)[0] - constant
        ours = float(chi2(likelihood.model, counts, at_pulls(likelihood, pulls)))
        assert theirs == pytest.approx(ours, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("keys", [(problems.XENONNT,), problems.BOTH], ids=["xenonnt", "combined"])
def test_profiled_chi2_is_that_of_pyhf(keys):
    likelihood = problems.joint(keys)
    for scale in SCALES:
        at = {"flux": scale * problems.NOMINAL}
        model, data, constant = exported(likelihood, at)
        _, twice = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)
        assert float(twice) - constant == pytest.approx(float(profile(likelihood, at).chi2), abs=1e-6)
    model, data, constant = exported(likelihood)
    _, twice = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)
    assert float(twice) - constant == pytest.approx(float(profile(likelihood).chi2), abs=1e-6)


def test_strength_scales_the_signal():
    likelihood = problems.joint(problems.BOTH)
    model, data, constant = exported(likelihood, {"flux": problems.NOMINAL})
    _, twice = pyhf.infer.mle.fixed_poi_fit(3.0, data, model, return_fitted_val=True)
    expected = profile(likelihood, {"flux": 3 * problems.NOMINAL}).chi2
    assert float(twice) - constant == pytest.approx(float(expected), abs=1e-6)


def test_theory_and_background_at_values():
    """A parameter of the theory, and a background whose factor stands still without its constraint."""
    likelihood = problems.joint(problems.BOTH)
    at = {"sin2w": 0.3, "accidental": 1.1}
    model, data, constant = exported(likelihood, at)
    assert "xenonnt-2024-s2.accidental" not in model.config.par_order
    _, twice = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)
    assert float(twice) - constant == pytest.approx(float(profile(likelihood, at).chi2), abs=1e-6)
    assert to_pyhf(likelihood.under(StandardModel(0.3))) == to_pyhf(likelihood, {"sin2w": 0.3})


def test_bounds_are_those_of_the_factors():
    """Data that pull an efficiency beyond its bound: pyhf stops there as well."""
    nuisances = (Nuisance("rate", 0.5, ("flat",), bounds=(0.8, 1.2)),)
    likelihood = Likelihood(problems.counting("tight", [40.0], [2.0], {"flat": [10.0]}, nuisances))
    model, data, constant = exported(likelihood)
    low, high = model.config.suggested_bounds()[model.config.par_order.index("tight.rate")]
    assert (low, high) == pytest.approx((-0.4, 0.4))
    _, twice = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)
    ours = profile(likelihood)
    assert float(ours.factors[1]) == pytest.approx(1.2)
    assert float(twice) - constant == pytest.approx(float(ours.chi2), abs=1e-6)


def test_bounds_keep_every_yield_positive():
    model, _, _ = exported(problems.joint(problems.BOTH))
    low = np.array([bounds[0] for bounds in model.config.suggested_bounds()])
    assert np.all(np.asarray(model.expected_actualdata(low)) >= -1e-12)
    assert model.config.suggested_init() == pytest.approx(
        parameters(problems.joint(problems.BOTH), model, np.zeros(8))
    )


def test_two_nuisances_on_one_component_are_refused():
    nuisances = (Nuisance("rate", 0.1, ("flat",)), Nuisance("shape", 0.2, ("flat", "signal")))
    likelihood = Likelihood(problems.counting("double", [3.0], [2.0], {"flat": [1.0]}, nuisances))
    with pytest.raises(ValueError, match=r"double: flat has the nuisances double\.rate, double\.shape.*merge them"):
        to_pyhf(likelihood)
    model, data, constant = exported(likelihood, {"rate": 1.0})
    ours = float(chi2(likelihood.model, signal(likelihood), internal(likelihood, {})))
    assert -2 * model.logpdf(parameters(likelihood, model, np.zeros(3)), data)[0] - constant == pytest.approx(ours)


def test_no_nuisance_no_modifier():
    likelihood = Likelihood(problems.counting("bare", [3.0], [2.0], {"flat": [1.0]}, (), error=None))
    model, data, constant = exported(likelihood)
    ours = float(chi2(likelihood.model, signal(likelihood), jnp.zeros(0)))
    assert -2 * model.logpdf([1.0], data)[0] - constant == pytest.approx(ours, abs=1e-12)


# Shapes: positions of a few anchors, signal and a background that move ------------------------------------------

CODE0 = {"histosys": {"interpcode": "code0"}}
SIGNAL_AT = np.array([[2.0, 5.0], [3.0, 4.0], [4.0, 3.0]])  # a line in the shape
BENT = np.array([[2.5, 4.0], [3.0, 4.0], [5.0, 1.0]])  # another slope on each side


def shaped(signal_rows, flat_rows, shapes, morphing="grid", nuisances=(), observed=(7.0, 9.0), **more):
    """Two bins, templates at the anchors of shapes; tables of shape (*anchor, 2)."""
    rows = np.asarray(signal_rows, float)
    response = Response([0.95, 1.05], rows[..., None] * np.eye(2) / 200.0)
    channel = Channel(physics.b8(), physics.xenon(), response)
    return Likelihood(
        Experiment(
            "bent", channel, list(observed), {"flat": flat_rows}, nuisances, shapes=shapes, morphing=morphing, **more
        )
    )


def compared(likelihood: Likelihood, at: dict | None = None, code: str = "code4p", fitted: bool = False) -> None:
    """chi2 of pyhf and ours at random values of everything that moves; and profiled over it."""
    count = 6
    workspace = pyhf.Workspace(json.loads(json.dumps(to_pyhf(likelihood, at, code))))
    model = workspace.model(**({"modifier_settings": CODE0} if code == "code0" else {}))
    data, records = workspace.data(model), likelihood.parameters
    lumi = next((n for n in likelihood.nuisances if n.startswith("flux.") and n not in (at or {})), None)
    nuisances = set(likelihood.nuisances)
    free = [n for n in likelihood.nuisances if n not in records.full_values(at)]
    assert len(model.config.par_order) == len(free) + 1
    rng = np.random.default_rng(5)
    found, still = [], records.full_values(at)  # what stands still has no constraint in the workspace
    constraint = sum(((v - records[n].default) / records[n].width) ** 2 for n, v in still.items() if n in nuisances)
    for _ in range(count):
        values, theirs = dict(still), {POI: 1.0}
        for name in free:
            record = records[name]
            low = max(record.lower, record.default - 3 * record.width) + 0.05 * record.width
            high = min(record.upper, record.default + 3 * record.width)
            values[name] = rng.uniform(low, high)
            pull = (values[name] - record.default) / record.width
            theirs["lumi" if name == lumi else name] = values[name] / record.default if name == lumi else pull
        ours = float(jc.chi2(likelihood, values)) - constraint
        found.append(-2 * model.logpdf([theirs[n] for n in model.config.par_order], data)[0] - ours)
    assert found == pytest.approx([found[0]] * count, abs=1e-8)
    if not fitted:
        return
    _, twice = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)
    assert float(twice) - found[0] == pytest.approx(float(profile(likelihood, at).chi2), abs=1e-5)


LINE = ShapeNuisance("tilt", (-2.0, 0.0, 2.0))


def test_a_shape_that_is_a_line_is_a_histosys():
    compared(shaped(SIGNAL_AT, [[4.0, 4.0]] * 3 * np.array([[1.0], [1.1], [1.2]]), (LINE,)), fitted=True)


def test_a_shape_that_bends_at_nominal_needs_code0():
    likelihood = shaped(BENT, [4.0, 4.0], (LINE,), nuisances=(Nuisance("flat", 0.3, ("flat",)),))
    with pytest.raises(ValueError, match=r'bent: signal bends at the nominal value of tilt.*interpolation="code0"'):
        to_pyhf(likelihood)
    compared(likelihood, code="code0", fitted=True)
    with pytest.raises(ValueError, match="unknown interpolation 'code1'"):
        to_pyhf(likelihood, interpolation="code1")


def test_code4p_would_be_wrong_where_it_is_refused():
    """What is refused is no formality: pyhf's default rounds the bend off."""
    likelihood = shaped(BENT, [4.0, 4.0], (LINE,))
    workspace = pyhf.Workspace(to_pyhf(likelihood, interpolation="code0"))
    values = {"lumi": 1.0, POI: 1.0, "bent.tilt": 0.5}
    default, right = (workspace.model(**k) for k in ({}, {"modifier_settings": CODE0}))
    counts = [m.expected_actualdata([values[n] for n in m.config.par_order]) for m in (default, right)]
    assert np.max(np.abs(np.array(counts[0]) - counts[1])) > 0.02


def test_shapes_whose_changes_add_up():
    """Two shapes of a sum on signal and background; five anchors on a line; one that has a wide constraint."""
    wide = ShapeNuisance("wide", (-10.0, 0.0, 10.0), sigma=5.0)
    signal_rows = np.concatenate([SIGNAL_AT, [[3.0, 4.0]] * 3])
    flat_rows = np.concatenate([[[6.0, 6.0]] * 3, [[5.0, 7.0], [6.0, 6.0], [7.0, 5.0]]])
    compared(shaped(signal_rows, flat_rows, (LINE, wide), "sum"))
    five = ShapeNuisance("five", (-2.0, -1.0, 0.0, 0.5, 1.0))
    rows = np.array([[3.0, 4.0]]) + np.array(five.anchors)[:, None] * [[0.5, -1.0]]
    compared(shaped(rows, [4.0, 4.0], (five,)))
    half = ShapeNuisance("half", (0.0, 1.0, 2.0))
    rows = np.array([[3.0, 4.0]]) + np.array(half.anchors)[:, None] * [[0.5, -1.0]]
    compared(shaped(rows, [4.0, 4.0], (half,)))


def test_a_grid_that_is_a_sum_and_one_that_is_not():
    other = ShapeNuisance("other", (-1.0, 0.0, 1.0))
    change = np.array([[0.5, 0.2], [0.0, 0.0], [-0.5, -0.2]])
    grid = SIGNAL_AT[:, None, :] + change[None]
    compared(shaped(grid, [4.0, 4.0], (LINE, other)))
    product = SIGNAL_AT[:, None, :] * (1 + change[None])
    with pytest.raises(ValueError, match="bent: signal: the changes of the shapes tilt, other do not add up"):
        to_pyhf(shaped(product, [4.0, 4.0], (LINE, other)))
    compared(shaped(product, [4.0, 4.0], (LINE, other)), {"other": 0.6})
    compared(shaped(product, [4.0, 4.0], (LINE, other)), {"tilt": -1.3})


def test_what_cannot_be_said_is_refused_with_the_reason():
    five = ShapeNuisance("five", (-2.0, -1.0, 0.0, 1.0, 2.0))
    rows = np.array([[3.0, 4.0]]) * np.array([[1.4], [1.1], [1.0], [1.1], [1.4]])
    with pytest.raises(ValueError, match="a line with bends at -1 of the shape five"):
        to_pyhf(shaped(rows, [4.0, 4.0], (five,)))
    compared(shaped(rows, [4.0, 4.0], (five,)), {"five": 1.7})
    both = (Nuisance("rate", 0.1, ("signal",)),)
    with pytest.raises(ValueError, match=r"signal has the nuisances bent\.rate, bent\.tilt; pyhf adds"):
        to_pyhf(shaped(SIGNAL_AT, [4.0, 4.0], (LINE,), nuisances=both))
    compared(shaped(SIGNAL_AT, [4.0, 4.0], (LINE,), nuisances=both), {"rate": 1.05})
    rows, two = [[1.0, 4.0], [3.0, 4.0], [5.0, 4.0]] * 2, ShapeNuisance("two", LINE.anchors)
    with pytest.raises(ValueError, match="counts are negative"):
        to_pyhf(shaped([[3.0, 4.0]] * 6, rows, (LINE, two), "sum"))


def test_shipped_shapes_say_why_they_cannot_be_exported():
    with pytest.raises(ValueError, match="signal: the changes of the shapes t_ly, t_qy do not add up"):
        to_pyhf(Likelihood(experiment("xenonnt-2024")))


def test_several_sources_are_samples_with_one_strength():
    """8B and hep: each flux has its own sample, mu multiplies both."""
    likelihood = Likelihood(experiment("xenonnt-2024-s2").replace(flux=["b8", "hep"]))
    samples = to_pyhf(likelihood)["channels"][0]["samples"]
    assert [s["name"] for s in samples[:2]] == ["signal_b8", "signal_hep"]
    compared(likelihood, {"fiducial_volume": 1.0})
    compared(likelihood, {"fiducial_volume": 1.02, "flux.hep": 3e5, "flux.b8": 4e6})
    spectrum = StandardModel() + TabulatedSpectrum([0.5, 3.0], [40.0, 0.0])
    compared(Likelihood(experiment("xenonnt-2024-s2"), spectrum), {"fiducial_volume": 1.0, "strength": 0.3})


def test_parts_are_samples_too():
    """Two runs of one bin each, with an efficiency of their own."""
    nuisances = (Nuisance("first", 0.1, ("signal:a",)), Nuisance("second", 0.2, ("signal:b",)))
    likelihood = shaped([3.0, 4.0], [4.0, 4.0], (), nuisances=nuisances, parts=(("a", 1), ("b", 1)))
    samples = {s["name"]: s["data"] for s in to_pyhf(likelihood)["channels"][0]["samples"]}
    assert samples["signal_a"][1] == samples["signal_b"][0] == 0.0
    compared(likelihood)


def test_correlated_widths_are_refused() -> None:
    nuisances = (Nuisance("yield", 0.1, {"flat": 0.1, "signal": 0.3}),)
    with pytest.raises(ValueError, match=r"wide\.yield has different widths on its components"):
        to_pyhf(Likelihood(problems.counting("wide", [3.0], [2.0], {"flat": [1.0]}, nuisances)))
