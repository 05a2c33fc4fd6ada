from __future__ import annotations

import json
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from jcevns import Likelihood, Nuisance, StandardModel, TabulatedSpectrum, experiment, profile, signal
from jcevns.likelihood.likelihood import internal
from jcevns.likelihood.model import chi2
from jcevns.likelihood.pyhf_model import POI, to_pyhf
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


def test_shape_nuisances_are_refused() -> None:
    with pytest.raises(ValueError, match="xenonnt-2024 has shape nuisances"):
        to_pyhf(Likelihood(experiment("xenonnt-2024")))


def test_several_sources_are_refused() -> None:
    spectrum = StandardModel() + TabulatedSpectrum([0.5, 3.0], [40.0, 0.0])
    with pytest.raises(
        ValueError, match=r"xenonnt-2024-s2 has signals from several sources \(b8, a recoil spectrum\)"
    ):
        to_pyhf(Likelihood(experiment("xenonnt-2024-s2"), spectrum))


def test_correlated_widths_are_refused() -> None:
    nuisances = (Nuisance("yield", 0.1, {"flat": 0.1, "signal": 0.3}),)
    with pytest.raises(ValueError, match=r"wide\.yield has different widths on its components"):
        to_pyhf(Likelihood(problems.counting("wide", [3.0], [2.0], {"flat": [1.0]}, nuisances)))
