"""Bayesian posteriors of any parameters, by NUTS or by independent draws, around the same likelihood.

Nuisances are the factors themselves, truncated normals within their bounds (a normal in the pulls, cut where the
yield would be negative), and the positions of the shapes. The sampler moves in standard normal scores: every prior,
uniform or truncated, is the image of a normal under its quantile function. No trajectory runs into an edge, and the
prior is a unit sphere whatever the units.
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.export import Exported, plain
from jcevns.likelihood.likelihood import (
    Experiments,
    Likelihood,
)
from jcevns.likelihood.poisson import log_probability
from jcevns.parameters import Parameters
from jcevns.physics.interaction import label_of
from jcevns.precision import check_seed, require_x64
from jcevns.spelling import unknown
from jcevns.statistics.independence import independent_draws
from jcevns.statistics.priors import DistributionPrior, Prior
from jcevns.statistics.sampled_model import OTHERS, VALUES, SampledModel, sampled_model

__all__ = ["METHODS", "Posterior", "Sampled", "sample"]

METHODS = ("nuts", "independence")
"""Samplers by name."""

_R_HAT, _ESS_PER_CHAIN, _DIVERGENT = 1.01, 100.0, 0.0
_GAP = 0.5  # of the density at the ends of a range: what is less between two ranges sets them apart
_STEEP, _USUAL = 0.99, 0.95
_PARETO_K = 0.7  # above it the weights of the proposals have no useful mean (arXiv:1507.02646)
_AT_ONCE = 64  # draws
_PREDICTED = 500  # draws of the posterior predictive


@dataclasses.dataclass(frozen=True)
class Sampled(Exported):
    """Marginal posterior of one parameter.

    Attributes:
        mean: posterior mean.
        sd: standard deviation.
        median: of the samples.
        hdi_68: shortest interval of 68.27% probability.
        hdi_90: shortest interval of 90% probability.
        segments_68: region of highest density, 68.27%: more than one range if there are several modes.
        segments_90: the same of 90%.
        quantiles_68: central interval of 68.27% probability.
        r_hat: split R-hat, rank normalised.
        ess_bulk: effective samples in the bulk.
        ess_tail: effective samples in the tails.
        prior: as on the command line.
        unit: of the numbers.
    """

    mean: float
    sd: float
    median: float
    hdi_68: tuple[float, ...]
    hdi_90: tuple[float, ...]
    segments_68: tuple[tuple[float, ...], ...]
    segments_90: tuple[tuple[float, ...], ...]
    quantiles_68: tuple[float, float]
    r_hat: float
    ess_bulk: float
    ess_tail: float
    prior: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Posterior(Exported):
    """A sampled posterior.

    Attributes:
        parameters: marginals of the parameters of interest, by full name.
        divergences: divergent transitions of NUTS.
        seconds: wall time of warm-up and sampling, compilation included.
        problems: what the diagnostics object to, with the remedy; empty if the run can be used.
        experiments: names.
        settings: chains, samples, seed and the like.
        data: samples of everything, posterior predictive counts, log-likelihood of each bin and data, for ArviZ:
            `arviz.loo(posterior.data)` and `arviz.waic` compare theories by what they predict.
        records: of all that is sampled, the nuisances too.
        priors: of the parameters of interest, by full name.

    Example:
        >>> import jcevns as jc
        >>> posterior = jc.sample("xenonnt-2024-s2", "sin2w", chains=2, samples=200, warmup=200)
        >>> posterior.samples("sin2w").shape, posterior.parameters["sin2w"].prior
        ((400,), 'uniform:-0.108277:1.23857')
    """

    parameters: dict[str, Sampled]
    divergences: int
    seconds: float
    problems: tuple[str, ...]
    experiments: tuple[str, ...]
    settings: dict[str, Any]
    data: Any = dataclasses.field(repr=False)
    records: Parameters = dataclasses.field(repr=False)
    priors: dict[str, Prior | DistributionPrior] = dataclasses.field(repr=False)

    def samples(self, name: str) -> Float[np.ndarray, " draw"]:
        """All draws of a parameter or a nuisance (factor, position), chains one after the other."""
        return np.asarray(self.data.posterior[self.records[name].name]).reshape(-1)

    def to_dict(self) -> dict[str, Any]:
        """Marginals by parameter and diagnostics; intervals say their kind and probability in their names."""
        about = {"divergences": self.divergences, "seconds": round(self.seconds, 2), "problems": self.problems}
        about |= {"experiments": self.experiments, "settings": self.settings}
        about["intervals"] = "hdi: shortest, 68.27% and 90%; quantiles_68: central 68.27%"
        return plain(self.parameters | about)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each parameter of interest."""
        return [{"parameter": name} | row for name, found in self.parameters.items() for row in found.rows()]

    def check(self) -> None:
        """Raise RuntimeError if the diagnostics object."""
        if self.problems:
            raise RuntimeError("do not use this posterior: " + "; ".join(self.problems))


def _require() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of changes to come in ArviZ, none in what is used here
            import arviz
        import numpyro
    except ImportError as error:
        raise ImportError(f"posteriors need {error.name}: pip install 'jcevns[bayes]'") from None
    return numpyro, arviz


def sample(
    likelihood: Likelihood | Experiments,
    free: str | Sequence[str],
    priors: Mapping[str, Prior | str | Any] | None = None,
    at: Mapping[str, Any] | None = None,
    chains: int = 4,
    samples: int = 2000,
    warmup: int | None = None,
    seed: int = 1,
    target_accept: float | None = None,
    progress: bool = False,
    method: str = "nuts",
) -> Posterior:
    """Sample a posterior.

    NUTS (dense mass matrix, chains vectorised on one device) takes any number of parameters of interest.
    `independence` takes up to three and needs milliseconds once compiled: its proposals are drawn from the posterior
    of Laplace's method and accepted as Metropolis and Hastings say (`jcevns.statistics.independence`). It gives the
    evidence too, and objects where its proposals do not cover the posterior.

    What has a constraint and is not named is sampled along with it as its prior; what has none stays at its default.

    Args:
        likelihood: the experiments and the theory.
        free: parameters of interest: of the theory, fluxes, nuisances. Their constraint is replaced by a prior.
        priors: by parameter, as in `"uniform:0:4e7"`, or a distribution of NumPyro, or any object with the methods
            `log_prob` and `icdf`; `jcevns.statistics.priors.default_prior` otherwise.
        at: values of other parameters, fixed.
        chains: number of chains.
        samples: per chain, after warm-up.
        warmup: steps of adaptation of NUTS per chain, discarded; 1000 by default.
        seed: of everything random.
        target_accept: acceptance probability to aim at; raise it against divergences. By default 0.95, and 0.99 with
            a parameter of the theory whose usual prior is log-uniform, as a coupling: its likelihood ends in a wall.
        progress: a progress bar, of NUTS.
        method: of `METHODS`.

    Returns:
        Marginals, diagnostics and samples. Look at `problems`, or call `check`: the diagnostics are not silent.

    Raises:
        ImportError: numpyro or arviz is missing.
        ValueError: unknown parameters or method, a prior without its parameter or beyond its bounds, a parameter
            without one, a setting of NUTS with another method.
        RuntimeError: in single precision.

    Example:
        >>> import jcevns as jc
        >>> posterior = jc.sample("xenonnt-2024-s2", "flux", chains=2, samples=200, warmup=200)
        >>> 5e6 < posterior.parameters["flux.b8"].mean < 8e6  # cm^-2 s^-1
        True
    """
    check_seed(seed)
    if method not in METHODS:
        raise ValueError(unknown("method", method, METHODS))
    for name, value in (("warmup", warmup), ("target_accept", target_accept)):
        if method != "nuts" and value is not None:
            raise ValueError(f"{name} belongs to the method nuts: leave it out with {method}")
    if target_accept is not None and not 0 < target_accept < 1:
        raise ValueError(f"target_accept {target_accept!r} is a probability, between 0 and 1")
    _, arviz = _require()
    require_x64("a posterior")
    sampled = sampled_model(likelihood, free, priors, at)
    likelihood, records = sampled.likelihood, sampled.likelihood.parameters
    steep = any(records[n].kind == "theory" and records[n].prior.startswith("log-uniform") for n in sampled.names)
    sampled.require_effect()
    accept = (_STEEP if steep else _USUAL) if target_accept is None else target_accept
    started = time.perf_counter()
    if method == "nuts":
        steps = 1000 if warmup is None else warmup
        drawn, diverging, settings = _by_nuts(sampled, chains, samples, steps, seed, accept, progress)
    else:
        drawn, diverging, settings = _by_independence(sampled, chains, samples, seed)
    draws = {name: drawn[VALUES][..., i] for i, name in enumerate(sampled.priors)}
    draws |= {name: drawn[OTHERS][..., i] for i, name in enumerate(sampled.nuisances)}
    seconds = time.perf_counter() - started
    expected, by_bin = _by_bin(sampled, draws)
    data = arviz.from_dict(
        posterior=draws,
        sample_stats={"diverging": diverging},
        posterior_predictive={"counts": _predictive(expected, seed)},
        log_likelihood={"counts": by_bin},
        observed_data={"counts": np.asarray(sampled.arrangement.model.observed)},
    )
    settings |= {
        "method": method,
        "chains": chains,
        "samples": samples,
        "seed": seed,
        "theory": label_of(likelihood.theory),
        "at": sampled.at,
        "priors": {n: str(p) for n, p in sampled.priors.items()},
        "data_status": {e.name: e.status for e in likelihood.experiments},
        "nuisances": "factors: truncated normals in their bounds; shapes: unit normals within their anchors",
    }
    data.attrs.update({k: str(v) for k, v in settings.items()} | {"experiments": ",".join(likelihood.names)})
    return _summary(data, sampled, int(diverging.sum()), seconds, settings)


def _by_nuts(
    sampled: SampledModel, chains: int, samples: int, warmup: int, seed: int, accept: float, progress: bool
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """Draws by site, divergent transitions, and what to keep about the run."""
    numpyro, _ = _require()
    chosen = chains, samples, warmup, accept, progress
    if chosen not in sampled.samplers:
        kernel = numpyro.infer.NUTS(
            sampled.numpyro_model(),
            dense_mass=True,
            target_accept_prob=accept,
            init_strategy=numpyro.infer.init_to_uniform(radius=1.0),
        )
        way = "vectorized" if jax.local_device_count() < chains else "parallel"
        sampled.samplers[chosen] = numpyro.infer.MCMC(
            kernel, num_warmup=warmup, num_samples=samples, num_chains=chains, chain_method=way, progress_bar=progress
        )
    mcmc = sampled.samplers[chosen]
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():  # NumPyro adds integers to floats
        warnings.filterwarnings("ignore", message="IProgress not found")  # its bar in a notebook, even if off
        mcmc.run(jax.random.key(seed), extra_fields=("diverging",))
    drawn = {k: np.asarray(v) for k, v in mcmc.get_samples(group_by_chain=True).items()}
    diverging = np.asarray(mcmc.get_extra_fields(group_by_chain=True)["diverging"])
    return drawn, diverging, {"warmup": warmup, "target_accept": accept}


def _by_independence(
    sampled: SampledModel, chains: int, samples: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """As `_by_nuts`: without warm-up and divergences, with the evidence and the Pareto shape of the weights."""
    _, arviz = _require()
    found = independent_draws(sampled, chains, samples, seed)
    flat = jax.jit(jax.vmap(sampled.sites))(found.scores.reshape(-1, sampled.size))
    drawn = {k: np.asarray(v).reshape(chains, samples, -1) for k, v in flat.items()}
    highest = found.log_weights.max()
    weights = np.exp(found.log_weights - highest)
    middle = jnp.zeros(sampled.size)
    bins = sampled.log_likelihood(*sampled.from_scores(middle)).sum()  # of all bins; merged ones differ by a constant
    split = float(bins - log_probability(sampled.counts(middle), sampled.observed).sum())
    settings = {
        "acceptance": found.acceptance,
        "pareto_k": float(arviz.psislw(found.log_weights)[1]),
        "log_evidence": float(np.log(weights.mean()) + highest + split),
        "log_evidence_error": float(weights.std(ddof=1) / weights.mean() / np.sqrt(weights.size)),
    }
    return drawn, np.zeros((chains, samples), bool), settings


def _summary(
    data: Any, sampled: SampledModel, divergences: int, seconds: float, settings: dict[str, Any]
) -> Posterior:
    """Marginals and diagnostics of samples."""
    _, arviz = _require()
    r_hat, bulk, tail = (
        {k: float(v) for k, v in found.items()}
        for found in (arviz.rhat(data), arviz.ess(data, method="bulk"), arviz.ess(data, method="tail"))
    )
    problems = []
    if divergences > _DIVERGENT:
        problems.append(f"{divergences} divergent transitions: raise target_accept (0.99, 0.999)")
    if settings.get("pareto_k", 0.0) > _PARETO_K:
        problems.append(
            f"the proposals do not cover the posterior (Pareto k {settings['pareto_k']:.2f} above {_PARETO_K}): "
            "take the method nuts"
        )
    least = _ESS_PER_CHAIN * settings["chains"]
    for name in r_hat:
        if not r_hat[name] < _R_HAT:
            problems.append(f"R-hat of {name} is {r_hat[name]:.4f}, not below {_R_HAT}: more samples or warm-up")
        if not min(bulk[name], tail[name]) >= least:
            problems.append(
                f"{name} has {min(bulk[name], tail[name]):.0f} effective samples of {least:.0f}: more samples"
            )
    marginals = {}
    for name in sampled.names:
        draws = np.asarray(data.posterior[name])
        flat = draws.reshape(-1)
        low, median, high = map(float, np.quantile(flat, [0.158655, 0.5, 0.841345]))
        hdi_68, hdi_90 = (tuple(map(float, arviz.hdi(flat, hdi_prob=p))) for p in (0.682689, 0.90))
        marginals[name] = Sampled(
            mean=float(flat.mean()),
            sd=float(flat.std(ddof=1)),
            median=median,
            hdi_68=hdi_68,
            hdi_90=hdi_90,
            segments_68=_densest(arviz, flat, 0.682689, hdi_68),
            segments_90=_densest(arviz, flat, 0.90, hdi_90),
            quantiles_68=(low, high),
            r_hat=r_hat[name],
            ess_bulk=bulk[name],
            ess_tail=tail[name],
            prior=str(sampled.priors[name]),
            unit=sampled.likelihood.parameters[name].unit,
        )
    records = Parameters(sampled.likelihood.parameters[n] for n in (*sampled.priors, *sampled.nuisances))
    names = sampled.likelihood.names
    priors = {name: sampled.priors[name] for name in sampled.names}
    return Posterior(marginals, divergences, seconds, tuple(problems), names, settings, data, records, priors)


def _densest(
    arviz: Any, draws: np.ndarray, probability: float, alone: tuple[float, ...]
) -> tuple[tuple[float, ...], ...]:
    """Ranges of highest density, by a kernel estimate; the shortest interval if there is one mode.

    Args:
        arviz: the package.
        draws: samples of one parameter.
        probability: of all ranges together.
        alone: the shortest interval.
    """
    x, density = arviz.kde(draws)
    level = np.quantile(np.interp(draws, x, density), 1 - probability)
    edges = np.flatnonzero(np.diff(np.pad((density >= level).astype(int), 1)))
    starts, stops = edges[::2], edges[1::2] - 1
    # Gaps in which the density stays near the level are noise of the samples.
    deep = [np.min(density[a : b + 1]) < _GAP * level for a, b in zip(stops[:-1], starts[1:], strict=True)]
    if not any(deep):
        return (alone,)
    first, last = np.append(True, deep), np.append(deep, True)
    return tuple((float(x[a]), float(x[b])) for a, b in zip(starts[first], stops[last], strict=True))


def _by_bin(sampled: SampledModel, draws: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Expected counts and log-likelihood of the data, (chain, draw, bin) each."""
    shape = next(iter(draws.values())).shape
    values = {k: jnp.asarray(draws[k].reshape(-1)) for k in sampled.priors}
    others = np.zeros((math.prod(shape), 0))
    if sampled.nuisances:
        others = np.stack([draws[n].reshape(-1) for n in sampled.nuisances], axis=1)

    def one(point: tuple[Mapping[str, Array], Array]) -> tuple[Array, Array]:
        return sampled.expected(*point), sampled.log_likelihood(*point)

    found = jax.lax.map(one, (values, jnp.asarray(others)), batch_size=_AT_ONCE)
    expected, log = (np.asarray(part).reshape(*shape, -1) for part in found)
    return expected, log


def _predictive(expected: np.ndarray, seed: int) -> np.ndarray:
    """Counts drawn from the posterior predictive, (1, draw, bin), of at most so many draws."""
    flat = expected.reshape(-1, expected.shape[-1])
    chosen = np.linspace(0, len(flat) - 1, min(_PREDICTED, len(flat))).astype(int)
    return np.random.default_rng(seed).poisson(flat[chosen])[None]
