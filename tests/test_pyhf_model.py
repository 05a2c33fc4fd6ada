from __future__ import annotations

import json
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from jcevns import Likelihood, Nuisance, StandardModel, Theory, experiment, profile, signal
from jcevns.likelihood.poisson import chi2
from jcevns.likelihood.pyhf_model import POI, to_pyhf
from jcevns.physics.flux import B8_FLUX
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


def exported(likelihood: Likelihood, theory: Theory | None = None) -> tuple[pyhf.Model, list[float], float]:
    """Model, data, and -2 ln L of the saturated model."""
    workspace = pyhf.Workspace(json.loads(json.dumps(to_pyhf(likelihood, theory))))  # validates against the schema
    model = workspace.model()
    data = workspace.data(model)
    main = np.array(data[: model.config.nmaindata])
    poisson, gauss = pyhf.probability.Poisson, pyhf.probability.Normal
    saturated = -2 * np.sum(poisson(main).log_prob(main))
    widths = [0.12 if name == "lumi" else 1.0 for name in model.config.auxdata_order]
    return model, data, saturated - 2 * np.sum(gauss(np.zeros(len(widths)), np.array(widths)).log_prob(0.0))


def parameters(likelihood: Likelihood, model: pyhf.Model, pulls: np.ndarray) -> list[float]:
    sigma = np.asarray(likelihood.model.sigma)
    alphas = dict(zip(likelihood.nuisances, pulls / sigma, strict=True))
    flux = {"lumi": 1 + pulls[likelihood.nuisances.index("b8_flux")]} if "b8_flux" in alphas else {}
    values = {**alphas, **flux, POI: 1.0}
    return [values[name] for name in model.config.par_order]


@pytest.mark.parametrize("flux_pull", [True, False])
def test_chi2_at_random_nuisances_is_that_of_pyhf(flux_pull):
    likelihood = problems.joint(problems.BOTH, flux_pull)
    counts = signal(likelihood, Theory())
    model, data, constant = exported(likelihood)
    rng = np.random.default_rng(7)
    for _ in range(12):
        pulls = np.exp(rng.normal(0.0, 0.7, len(likelihood.nuisances))) - 1
        theirs = -2 * model.logpdf(parameters(likelihood, model, pulls), data)[0] - constant
        ours = float(chi2(likelihood.model, counts, jnp.log1p(pulls)))
        assert theirs == pytest.approx(ours, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("keys", [(problems.XENONNT,), problems.BOTH], ids=["xenonnt", "combined"])
def test_profiled_chi2_is_that_of_pyhf(keys):
    likelihood = problems.joint(keys)
    for scale in SCALES:
        theory = Theory(b8_flux=scale * B8_FLUX)
        model, data, constant = exported(likelihood, theory)
        _, twice = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)
        assert float(twice) - constant == pytest.approx(float(profile(likelihood, theory).chi2), abs=1e-6)


def test_strength_scales_the_signal():
    likelihood = problems.joint(problems.BOTH)
    model, data, constant = exported(likelihood)
    _, twice = pyhf.infer.mle.fixed_poi_fit(3.0, data, model, return_fitted_val=True)
    expected = profile(likelihood, Theory(b8_flux=3 * B8_FLUX)).chi2
    assert float(twice) - constant == pytest.approx(float(expected), abs=1e-6)


def test_an_interaction_is_a_theory():
    likelihood = problems.joint(problems.BOTH)
    assert to_pyhf(likelihood, StandardModel()) == to_pyhf(likelihood)


def test_bounds_keep_every_yield_positive():
    model, _, _ = exported(problems.joint(problems.BOTH))
    low = np.array([bounds[0] for bounds in model.config.suggested_bounds()])
    assert np.all(np.asarray(model.expected_actualdata(low)) >= -1e-12)
    assert model.config.suggested_init() == pytest.approx(
        parameters(problems.joint(problems.BOTH), model, np.zeros(8))
    )


def test_two_pulls_on_one_component_are_refused():
    nuisances = (Nuisance("rate", 0.1, ("flat",)), Nuisance("shape", 0.2, ("flat", "signal")))
    experiment = problems.counting("double", [3.0], [2.0], {"flat": [1.0]}, nuisances)
    with pytest.raises(ValueError, match=r"double: flat has the pulls double\.rate, double\.shape.*merge them"):
        to_pyhf(Likelihood(experiment))


def test_no_nuisance_no_modifier():
    experiment = problems.counting("bare", [3.0], [2.0], {"flat": [1.0]}, ())
    model, data, constant = exported(Likelihood(experiment))
    ours = float(chi2(Likelihood(experiment).model, signal(Likelihood(experiment), Theory()), jnp.zeros(0)))
    assert -2 * model.logpdf([1.0], data)[0] - constant == pytest.approx(ours, abs=1e-12)


def test_shape_nuisances_are_refused() -> None:
    with pytest.raises(ValueError, match="xenonnt-2024 has shape nuisances"):
        to_pyhf(Likelihood(experiment("xenonnt-2024")))
