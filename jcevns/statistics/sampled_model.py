"""What a posterior is sampled from: priors, constraints and Poisson counts, as a model of NumPyro."""

from collections import deque
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
from jcevns.likelihood.poisson import log_probability
from jcevns.physics.interaction import theory_parameters, with_values
from jcevns.statistics.priors import choose_priors, default_prior, truncated_normal

__all__ = ["OTHERS", "VALUES", "SampledModel", "sampled_model"]

VALUES, OTHERS = "parameters", "nuisances"
"""Sites of NumPyro."""

_RECENT: deque[tuple[Any, Any, "SampledModel"]] = deque(maxlen=4)


def sampled_model(
    likelihood: Likelihood | Experiments,
    free: str | Sequence[str],
    priors: Mapping[str, Any] | None = None,
    at: Mapping[str, Any] | None = None,
) -> "SampledModel":
    """A `SampledModel`; for the same likelihood and arguments the same object, so that nothing is compiled twice."""
    asked = free, dict(priors or {}), dict(at or {})
    for known, arguments, model in _RECENT:
        if known is likelihood and arguments == asked:
            return model
    model = SampledModel(likelihood, free, priors, at)
    _RECENT.append((likelihood, asked, model))
    return model


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
        samplers: of NumPyro by their settings, kept: one that ran is compiled.

    Raises:
        ValueError: an unknown parameter, one in two roles, a prior without its parameter or beyond its bounds.
    """

    def __init__(
        self,
        likelihood: Likelihood | Experiments,
        free: str | Sequence[str],
        priors: Mapping[str, Any] | None = None,
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
        self.samplers: dict[tuple[Any, ...], Any] = {}

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

    def expected(self, values: Mapping[str, Any], others: Float[Array, " other"]) -> Float[Array, " bin"]:
        """Expected counts of all bins.

        Args:
            values: of `priors`.
            others: factors and positions of `nuisances`.
        """
        model, factors = self.arrangement.model, self.factors(values, others)
        x = jnp.where(model.is_log, jnp.log(jnp.where(model.is_log, factors, 1.0)), factors)
        return models.expected_counts(model, self.signal(values), x)

    def log_likelihood(self, values: Mapping[str, Any], others: Float[Array, " other"]) -> Float[Array, " bin"]:
        """Logarithm of the Poisson probability of the data in each bin.

        Args:
            values: of `priors`.
            others: factors and positions of `nuisances`.
        """
        return log_probability(self.expected(values, others), self.arrangement.model.observed)

    def from_scores(self, scores: Float[Array, " sampled"]) -> tuple[dict[str, Array], Float[Array, " other"]]:
        """Values of `priors`, and factors and positions of `nuisances`, from standard normal scores in that order."""
        model, places = self.arrangement.model, self._places
        low, high = (jnp.where(model.is_log, jnp.exp(limit), limit)[places] for limit in (model.lower, model.upper))
        mean, sigma = (model.unit + model.centre)[places], model.sigma[places]
        values = self.values(scores)
        edges = (low - mean) / sigma, (high - mean) / sigma
        return values, mean + sigma * truncated_normal(scores[len(self.priors) :], *edges)

    @property
    def size(self) -> int:
        """Number of scores."""
        return len(self.priors) + len(self.nuisances)

    @property
    def free(self) -> int:
        """Number of parameters of interest, the first of the scores."""
        return len(self.names)

    @property
    def observed(self) -> Float[Array, " merged"]:
        """Data, with bins merged that no parameter can tell apart."""
        return merge(self.arrangement.model).model.observed

    def values(self, scores: Float[Array, " score"]) -> dict[str, Array]:
        """Values of `priors` at their scores, the first of all: mapped by the quantile function of each prior."""
        return {name: prior.from_normal(scores[i]) for i, (name, prior) in enumerate(self.priors.items())}

    def sites(self, scores: Float[Array, " score"]) -> dict[str, Array]:
        """What `from_scores` gives, as arrays by the names `VALUES` and `OTHERS`."""
        values, others = self.from_scores(scores)
        return {VALUES: jnp.stack(list(values.values())), OTHERS: others}

    def given(self, interest: Float[Array, " free"]) -> Array | None:
        """Signal of the merged bins at scores of the parameters of interest; None where it depends on others too."""
        return self._merged_signal(interest) if len(self.priors) == len(self.names) else None

    def _merged_signal(self, scores: Float[Array, " score"]) -> Float[Array, " anchor_bin"]:
        merged = merge(self.arrangement.model)
        return (self.signal(self.values(scores)).reshape(-1, merged.place.size) @ merged.sums).ravel()

    def counts(self, scores: Float[Array, " score"], given: Array | None = None) -> Float[Array, " merged"]:
        """Expected counts of `observed` at standard normal scores, from the signal at hand or that of the scores."""
        factors = self.factors(*self.from_scores(scores))
        log = logarithmic(self.arrangement.model)
        x = jnp.where(log, jnp.log(jnp.where(log, factors, 1.0)), factors)
        signal = self._merged_signal(scores) if given is None else given
        return models.expected_counts(merge(self.arrangement.model).model, signal, x)

    def numpyro_model(self) -> Callable[..., None]:
        """The NumPyro model: standard normal scores of all priors, and Poisson counts.

        Its argument `observed` is the data by default. Sites: `scores`, `parameters` in the order of `priors` and
        `nuisances` (deterministic), `counts`.
        """
        import numpyro
        from numpyro import distributions as dist

        @jax.jit  # NumPyro looks at a model several times outside a compiled function
        def forward(scores: Array) -> tuple[dict[str, Array], Array]:
            return self.sites(scores), self.counts(scores)

        def run(observed: Array = self.observed) -> None:
            # One vector, not a site for each: the sampler's time goes by the number of operations, not by their size.
            scores = numpyro.sample("scores", dist.Normal(0.0, 1.0).expand([self.size]).to_event(1))
            found, counts = forward(scores)
            for name, value in found.items():
                numpyro.deterministic(name, value)
            numpyro.sample("counts", dist.Poisson(counts).to_event(1), obs=observed)

        return run
