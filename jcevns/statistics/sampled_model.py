"""What a posterior is sampled from: priors, constraints and Poisson counts, as a model of NumPyro."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.fit.batch import logarithmic
from jcevns.likelihood import model as models
from jcevns.likelihood.folding import Folding, folded_parameters
from jcevns.likelihood.likelihood import (
    Experiments,
    Likelihood,
    arranged,
    factor_at,
    signal,
    theory_at,
    with_data,
)
from jcevns.likelihood.merging import merge
from jcevns.physics.interaction import theory_parameters, with_values
from jcevns.statistics.priors import Prior, choose_priors, default_prior, truncated_normal

__all__ = ["OTHERS", "VALUES", "SampledModel"]

VALUES, OTHERS = "parameters", "nuisances"
"""Sites of NumPyro."""


class SampledModel:
    """What is sampled: parameters with priors, nuisances with their constraints, and the counts they give.

    Args:
        likelihood: the experiments and the theory.
        free: parameters of interest, full or short names.
        priors: of these; `default_prior` otherwise.
        at: values of other parameters, fixed.

    Attributes:
        names: parameters of interest.
        priors: of these, and of parameters of the theory that have a constraint.
        nuisances: the others, as factors and positions.

    Raises:
        ValueError: an unknown parameter, one in two roles, a prior without its parameter or beyond its bounds.
    """

    def __init__(
        self,
        likelihood: Likelihood | Experiments,
        free: str | Sequence[str],
        priors: Mapping[str, Prior | str] | None = None,
        at: Mapping[str, Any] | None = None,
    ):
        self.likelihood = likelihood = with_data(likelihood, "a posterior")
        parameters = likelihood.parameters
        self.names = parameters.full(free)
        if not self.names:
            raise ValueError("name at least one parameter to sample: " + ", ".join(parameters))
        self.at = {n: float(v) for n, v in parameters.full_values(at).items()}
        for name in self.names:
            if name in self.at:
                raise ValueError(f"parameter {name!r} is both sampled and fixed: name it once")
        own, norms = theory_parameters(likelihood.theory), likelihood.normalisations
        self.priors = choose_priors([parameters[n] for n in self.names], priors)
        for name, record in parameters.items():
            if name in own and record.constrained and not record.still and name not in (*self.names, *self.at):
                self.priors[name] = default_prior(record, joint=True)
        chosen = (*self.priors, *self.at)
        signals = tuple(n for n in chosen if n in norms and norms[n].signal_only)
        self.arrangement = arranged(likelihood, signals)
        every = self.arrangement.nuisances
        self.nuisances = tuple(n for n in every if n not in chosen)
        self._places = np.array([every.index(n) for n in self.nuisances], int)
        self._named = tuple(n for n in chosen if n in every)
        self._signal = self._folded(own, signals)

    def _folded(self, own: Mapping[str, Any], signals: Sequence[str]) -> Callable[[Mapping[str, Any]], Array]:
        """Parameters to signal at all anchors: folded beforehand unless the terms depend on what is sampled."""
        likelihood, varied = self.likelihood, tuple(n for n in self.priors if n in own)
        fixed = {n: v for n, v in self.at.items() if n in own or n in signals}

        def scaled(counts: Array, values: Mapping[str, Any]) -> Array:
            return counts * factor_at(likelihood, {n: {**fixed, **values}[n] for n in signals})

        def direct(values: Mapping[str, Any]) -> Array:
            return signal(likelihood, {**fixed, **{n: values[n] for n in self.priors if n in own or n in signals}})

        def weighted(values: Mapping[str, Any]) -> Array:
            return scaled(with_values(theory, {n: values[n] for n in varied}).weights() @ terms, values)

        if folded_parameters(likelihood, varied):
            return direct
        theory = theory_at(likelihood, fixed)
        terms = jnp.asarray(Folding(likelihood, theory)({})[0, 0])
        if varied:
            return weighted
        still = theory.weights() @ terms
        return lambda values: scaled(still, values)

    def signal(self, values: Mapping[str, Any]) -> Float[Array, " anchor_bin"]:
        """Expected signal at values of `priors`, before nuisances."""
        return self._signal(values)

    def require_effect(self) -> None:
        """Raise ValueError if the counts do not depend on a parameter of the theory: its posterior is its prior."""
        middle = {name: prior.from_normal(jnp.zeros(())) for name, prior in self.priors.items()}
        before = np.asarray(self.signal(middle))
        for name, prior in self.priors.items():
            if self.likelihood.parameters[name].kind != "theory":
                continue
            looks = [self.signal({**middle, name: prior.from_normal(jnp.asarray(z))}) for z in (-1.0, 1.0)]
            if all(np.array_equal(before, np.asarray(look)) for look in looks):
                names = ", ".join(self.likelihood.names)
                raise ValueError(f"{names}: counts do not depend on {name}, nothing to sample")

    def factors(self, values: Mapping[str, Any], others: Float[Array, " other"]) -> Float[Array, " nuisance"]:
        """Factors and positions of all nuisances of the model: those that are sampled by name, and the others."""
        parameters, every = self.likelihood.parameters, self.arrangement.nuisances
        factors = self.arrangement.model.unit.at[self._places].set(others) if self._named else others
        for name in self._named:
            record, value = parameters[name], {**self.at, **values}[name]
            factors = factors.at[every.index(name)].set(value / record.reference)
        return factors

    def numpyro_model(self) -> Callable[..., None]:
        """The NumPyro model: standard normal scores of all priors, and Poisson counts.

        Its argument `observed` is the data by default. Sites: `scores`, `parameters` in the order of `priors` and
        `nuisances` (deterministic), `counts`.
        """
        import numpyro
        from numpyro import distributions as dist

        model, places, priors = self.arrangement.model, self._places, self.priors
        low, high = (jnp.where(model.is_log, jnp.exp(limit), limit)[places] for limit in (model.lower, model.upper))
        mean, sigma = (model.unit + model.centre)[places], model.sigma[places]
        edges = (low - mean) / sigma, (high - mean) / sigma
        log, merged = logarithmic(model), merge(model)
        observed = merged.model.observed

        @jax.jit  # NumPyro looks at a model several times outside a compiled function
        def forward(scores: Array) -> tuple[dict[str, Array], Array]:
            values = {name: prior.from_normal(scores[i]) for i, (name, prior) in enumerate(priors.items())}
            others = mean + sigma * truncated_normal(scores[len(priors) :], *edges)
            factors = self.factors(values, others)
            x = jnp.where(log, jnp.log(jnp.where(log, factors, 1.0)), factors)
            counts = (self.signal(values).reshape(-1, merged.place.size) @ merged.sums).ravel()
            expected = models.expected_counts(merged.model, counts, x)
            return {VALUES: jnp.stack(list(values.values())), OTHERS: others}, expected

        def run(observed: Array = observed) -> None:
            # One vector, not a site for each: the sampler's time goes by the number of operations, not by their size.
            size = len(priors) + len(places)
            scores = numpyro.sample("scores", dist.Normal(0.0, 1.0).expand([size]).to_event(1))
            found, counts = forward(scores)
            for name, value in found.items():
                numpyro.deterministic(name, value)
            numpyro.sample("counts", dist.Poisson(counts).to_event(1), obs=observed)

        return run
