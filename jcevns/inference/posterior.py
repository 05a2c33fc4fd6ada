"""Bayesian posteriors of flux, sin^2(theta_W), mediator mass and coupling, by NUTS around the same likelihood.

Nuisances are the factors themselves, truncated normals within their bounds (a normal in the pulls, cut where the
yield would be negative), and the positions of the shapes. The sampler moves in standard normal scores: every prior,
uniform or truncated, is the image of a normal under its quantile function. No trajectory runs into an edge, and the
prior is a unit sphere whatever the units.
"""

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import SIN2_THETA_W
from jcevns.inference.priors import Prior, choose_priors, truncated_normal
from jcevns.likelihood import joint, morphing, poisson
from jcevns.likelihood.joint import FLUX_PULL, Likelihood, as_morphing
from jcevns.likelihood.merging import merge
from jcevns.likelihood.poisson import TemplateModel
from jcevns.physics.cross_sections import StandardModel
from jcevns.physics.flux import B8_FLUX
from jcevns.physics.interactions import interaction
from jcevns.physics.recoil import Theory
from jcevns.precision import require_x64
from jcevns.spelling import unknown

__all__ = ["PARAMETERS", "Posterior", "Sampled", "check_names", "numpyro_model", "sample", "signal_function"]

PARAMETERS = ("flux", "sin2w", "mass", "coupling")
"""What can be sampled."""

_UNITS = {"flux": "cm^-2 s^-1", "sin2w": "", "mass": "MeV", "coupling": ""}
_R_HAT, _ESS_PER_CHAIN, _DIVERGENT = 1.01, 100.0, 0.0


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Marginal posterior of one parameter.

    Attributes:
        mean: posterior mean.
        sd: standard deviation.
        median: of the samples.
        hdi_68: shortest interval of 68.27% probability.
        hdi_90: shortest interval of 90% probability.
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
    quantiles_68: tuple[float, float]
    r_hat: float
    ess_bulk: float
    ess_tail: float
    prior: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A sampled posterior.

    Attributes:
        parameters: marginals of the parameters of interest.
        divergences: divergent transitions.
        seconds: wall time of warm-up and sampling, compilation included.
        problems: what the diagnostics object to, with the remedy; empty if the run can be used.
        experiments: names.
        settings: chains, samples, seed and the like.
        data: samples of everything, posterior predictive counts and data, for ArviZ.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> posterior = jc.sample(likelihood, "sin2w", chains=2, samples=200, warmup=200)
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

    def samples(self, name: str) -> Float[np.ndarray, " draw"]:
        """All draws of a parameter, chains one after the other."""
        return np.asarray(self.data.posterior[name]).reshape(-1)

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


def signal_function(
    likelihood: Likelihood, names: Sequence[str], name: str | None, mass: float | None
) -> Callable[[Mapping[str, Any]], Array]:
    """Parameters to signal at all anchors; folded beforehand wherever it is a polynomial."""
    if "mass" not in names and not ("coupling" in names and "sin2w" in names):
        if "coupling" in names:
            from jcevns.inference.grid import coupling_terms

            assert name is not None
            assert mass is not None
            terms, key, powers = coupling_terms(likelihood, interaction(name, mass, 0.0)), "coupling", (0, 2, 4)
        else:
            units = np.array([0.0, 0.5, 1.0])
            rows = [joint.signal(likelihood, Theory(StandardModel(sin2w=jnp.asarray(u)))) for u in units]
            vandermonde = np.linalg.inv(np.vander(units, 3, increasing=True))
            terms, key, powers = jnp.asarray(vandermonde @ np.stack(rows)), "sin2w", (0, 1, 2)

        def polynomial(values: Mapping[str, Any]) -> Array:
            u = jnp.asarray(values.get(key, SIN2_THETA_W))
            flux = values.get("flux", B8_FLUX) / B8_FLUX
            return flux * (jnp.stack([u**p for p in powers]) @ terms)

        return polynomial

    def direct(values: Mapping[str, Any]) -> Array:
        model = StandardModel(sin2w=values["sin2w"]) if "sin2w" in values else StandardModel()
        theory: Any = model
        if "coupling" in values:
            assert name is not None
            where = values.get("mass", mass)
            theory = interaction(name, where, values["coupling"], standard_model=model)
        return joint.signal(likelihood, Theory(theory, b8_flux=values.get("flux", B8_FLUX)))

    return direct


def check_names(names: Sequence[str], name: str | None, mass: float | None) -> None:
    """Refuse parameters that are unknown, or that have no effect or no meaning together."""
    for wrong in (n for n in names if n not in PARAMETERS):
        raise ValueError(unknown("parameter", wrong, PARAMETERS))
    if not names or len(set(names)) != len(names):
        raise ValueError(f"parameters must be named, each once: choose from {', '.join(PARAMETERS)}")
    if "coupling" in names and name is None:
        raise ValueError("a coupling needs an interaction: scalar, vector, b-l, axial or tensor")
    if "mass" in names and "coupling" not in names:
        raise ValueError("a mass without a coupling has no effect: sample both")
    if "coupling" in names and "mass" not in names and mass is None:
        raise ValueError("a coupling needs a mass: give it in MeV, or sample it too")
    if "coupling" not in names and name is not None:
        raise ValueError("an interaction without a coupling to sample has no effect")
    if mass is not None and not (np.isfinite(mass) and mass >= 0):
        raise ValueError(f"mediator mass {mass!r} MeV must be finite and not negative")


def numpyro_model(
    likelihood: Likelihood, signal: Callable[[Mapping[str, Any]], Array], priors: Mapping[str, Prior]
) -> Callable[..., None]:
    """The NumPyro model: standard normal scores of all priors, and Poisson counts; without shapes for other data too.

    Args:
        likelihood: the experiments.
        signal: from `signal_function`.
        priors: of the parameters of interest.

    Returns:
        A model whose argument `observed` is the data by default. Sites: `scores`, the parameters and `nuisances`
        (deterministic), `counts`.
    """
    import numpyro
    from numpyro import distributions as dist

    full = as_morphing(likelihood)
    low, high = (jnp.where(full.is_log, jnp.exp(limit), limit) for limit in (full.lower, full.upper))
    mean = full.unit + full.centre
    edges = (low - mean) / full.sigma, (high - mean) / full.sigma
    if isinstance(likelihood.model, TemplateModel):
        plain = likelihood.model
        observed = plain.observed

        def expected(counts: Array, factors: Array) -> Array:
            return poisson.expected_counts(plain, counts, jnp.log(factors))

    else:
        merged = merge(full)
        observed = merged.model.observed

        def expected(counts: Array, factors: Array) -> Array:
            x = jnp.where(full.is_log, jnp.log(jnp.where(full.is_log, factors, 1.0)), factors)
            return morphing.expected_counts(
                merged.model, (counts.reshape(-1, merged.place.size) @ merged.sums).ravel(), x
            )

    @jax.jit  # NumPyro looks at a model several times outside a compiled function
    def forward(scores: Array) -> tuple[dict[str, Array], Array]:
        values = {name: prior.from_normal(scores[i]) for i, (name, prior) in enumerate(priors.items())}
        factors = mean + full.sigma * truncated_normal(scores[len(priors) :], *edges)
        return {**values, _NUISANCES: factors}, expected(signal(values), factors)

    def run(observed: Array = observed) -> None:
        # One vector, not a site for each: the sampler's time goes by the number of operations, not by their size.
        size = len(priors) + full.sigma.size
        scores = numpyro.sample("scores", dist.Normal(0.0, 1.0).expand([size]).to_event(1))
        values, counts = forward(scores)
        for name, value in values.items():
            numpyro.deterministic(name, value)
        numpyro.sample("counts", dist.Poisson(counts).to_event(1), obs=observed)

    return run


_NUISANCES = "nuisances"


def sample(
    likelihood: Likelihood,
    parameters: Sequence[str] | str,
    priors: Mapping[str, Prior] | None = None,
    interaction: str | None = None,
    mass: float | None = None,
    chains: int = 4,
    samples: int = 2000,
    warmup: int = 1000,
    seed: int = 1,
    target_accept: float | None = None,
    progress: bool = False,
) -> Posterior:
    """Sample a posterior with NUTS (dense mass matrix, chains vectorised on one device).

    Args:
        likelihood: the experiments. When the flux is sampled, build it with `flux_pull=False`: the prior is the pull.
        parameters: any of `flux`, `sin2w`, `mass`, `coupling`.
        priors: by parameter; `default_prior` otherwise.
        interaction: name of the mediator, for a coupling.
        mass: of the mediator in MeV, if it is not sampled.
        chains: number of chains.
        samples: per chain, after warm-up.
        warmup: steps of adaptation per chain, discarded.
        seed: of everything random.
        target_accept: acceptance probability to aim at; raise it against divergences. By default 0.95, with a
            coupling 0.99: its likelihood ends in a wall, the signal grows with the fourth power.
        progress: a progress bar.

    Returns:
        Marginals, diagnostics and samples. Look at `problems`, or call `check`: the diagnostics are not silent.

    Raises:
        ImportError: numpyro or arviz is missing.
        ValueError: unknown parameters, a prior without its parameter, the flux sampled with its pull on.
        RuntimeError: in single precision.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False)
        >>> posterior = jc.sample(likelihood, "flux", chains=2, samples=200, warmup=200)
        >>> 5e6 < posterior.parameters["flux"].mean < 8e6  # cm^-2 s^-1
        True
    """
    numpyro, arviz = _require()
    require_x64("a posterior")
    names = [parameters] if isinstance(parameters, str) else list(parameters)
    check_names(names, interaction, mass)
    if "flux" in names and FLUX_PULL in likelihood.nuisances:
        raise ValueError("the flux is sampled and its pull is on: build Likelihood(..., flux_pull=False)")
    extra = set(priors or {}) - set(names)
    if extra:
        raise ValueError(f"prior for {sorted(extra)[0]!r}, which is not sampled")
    accept = (0.99 if "coupling" in names else 0.95) if target_accept is None else target_accept
    chosen = choose_priors(names, priors)
    signal = signal_function(likelihood, names, interaction, mass)
    started = time.perf_counter()
    kernel = numpyro.infer.NUTS(
        numpyro_model(likelihood, signal, chosen),
        dense_mass=True,
        target_accept_prob=accept,
        init_strategy=numpyro.infer.init_to_uniform(radius=1.0),
    )
    method = "vectorized" if jax.local_device_count() < chains else "parallel"
    mcmc = numpyro.infer.MCMC(
        kernel, num_warmup=warmup, num_samples=samples, num_chains=chains, chain_method=method, progress_bar=progress
    )
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():  # NumPyro adds integers to floats
        warnings.filterwarnings("ignore", message="IProgress not found")  # its bar in a notebook, even if off
        mcmc.run(jax.random.key(seed), extra_fields=("diverging",))
    drawn = {k: np.asarray(v) for k, v in mcmc.get_samples(group_by_chain=True).items()}
    draws = {name: drawn[name] for name in names}
    draws |= {name: drawn[_NUISANCES][..., i] for i, name in enumerate(likelihood.nuisances)}
    diverging = np.asarray(mcmc.get_extra_fields(group_by_chain=True)["diverging"])
    seconds = time.perf_counter() - started
    predictive, observed = _predictive(likelihood, signal, draws, seed)
    data = arviz.from_dict(
        posterior=draws,
        sample_stats={"diverging": diverging},
        posterior_predictive={"counts": predictive},
        observed_data={"counts": observed},
    )
    settings = {
        "chains": chains,
        "samples": samples,
        "warmup": warmup,
        "seed": seed,
        "target_accept": accept,
        "interaction": interaction,
        "mass_MeV": mass,
        "priors": {n: str(p) for n, p in chosen.items()},
        "data_status": {e.name: e.status for e in likelihood.experiments},
        "nuisances": "factors: truncated normals in their bounds; shapes: unit normals within their anchors",
    }
    data.attrs.update({k: str(v) for k, v in settings.items()} | {"experiments": ",".join(likelihood.names)})
    return summarise(data, chosen, int(diverging.sum()), seconds, likelihood.names, settings)


def summarise(
    data: Any,
    priors: Mapping[str, Prior],
    divergences: int,
    seconds: float,
    experiments: tuple[str, ...],
    settings: dict[str, Any],
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
    least = _ESS_PER_CHAIN * settings["chains"]
    for name in r_hat:
        if not r_hat[name] < _R_HAT:
            problems.append(f"R-hat of {name} is {r_hat[name]:.4f}, not below {_R_HAT}: more samples or warm-up")
        if not min(bulk[name], tail[name]) >= least:
            problems.append(
                f"{name} has {min(bulk[name], tail[name]):.0f} effective samples of {least:.0f}: more samples"
            )
    marginals = {}
    for name in priors:
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
            quantiles_68=(low, high),
            r_hat=r_hat[name],
            ess_bulk=bulk[name],
            ess_tail=tail[name],
            prior=str(priors[name]),
            unit=_UNITS[name],
        )
    return Posterior(marginals, divergences, seconds, tuple(problems), experiments, settings, data)


def _predictive(
    likelihood: Likelihood, signal: Callable, draws: Mapping[str, np.ndarray], seed: int, most: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Counts drawn from the posterior predictive, (1, draw, bin), of at most so many draws; and the data."""
    model = as_morphing(likelihood)
    flat = {k: v.reshape(-1) for k, v in draws.items()}
    total = next(iter(flat.values())).size
    chosen = np.linspace(0, total - 1, min(most, total)).astype(int)
    factors = np.zeros((chosen.size, 0))
    if likelihood.nuisances:
        factors = np.stack([flat[n][chosen] for n in likelihood.nuisances], axis=1)
    values = {k: jnp.asarray(flat[k][chosen]) for k in PARAMETERS if k in flat}

    def expected(point: Mapping[str, Array], factors: Array) -> Array:
        return jnp.sum(morphing.component_counts(model, signal(point), factors - model.unit), axis=0)

    means = np.asarray(jax.lax.map(lambda a: expected(*a), (values, jnp.asarray(factors))))
    return np.random.default_rng(seed).poisson(means)[None], np.asarray(model.observed)
