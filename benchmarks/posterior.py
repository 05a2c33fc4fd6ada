"""Effective samples per second: the package, the same model written directly in NumPyro, and emcee.

Both experiments of the paper, sin2w and eight nuisances. The direct model does what a first version does: a site per
nuisance, and the recoil spectrum integrated over the neutrino energy in every evaluation. emcee gets what it is best
at: the signal as a polynomial, in NumPy, all walkers in one call. Calls are timed twice: first with an empty cache of
compiled code, then warm.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jcevns as jc
from jcevns.physics.nuclei import mirror_sin2w
from jcevns.statistics.sample import sample

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz
import emcee
import numpyro
from numpyro import distributions as dist

TARGETS = {
    "least_ess_posterior": (">=", 4000.0),
    "most_seconds_posterior_warm": ("<", 30.0),
    "ratio_posterior_naive": (">=", 1.0),
    "ratio_posterior_emcee": (">=", 1.0),
    "ratio_independence_emcee": (">=", 2.0),
}

_NAMES = ("xenonnt-2024-s2", "pandax4t-us2")
_CHAINS, _SAMPLES, _WARMUP = 16, 2000, 1000  # as in `jcevns reproduce --full`
_PEER_CHAINS, _PEER_SAMPLES, _PEER_WARMUP = 4, 200, 200  # a rate is wanted, and this is slow
_WALKERS, _STEPS, _BURN = 64, 6000, 1000
_LOW, _HIGH = mirror_sin2w(jc.physics.xenon()), 1.2386


def _naive(likelihood: jc.Likelihood) -> Callable[[], None]:
    """The model as one writes it: the energy integral inside, a site per nuisance."""
    model = likelihood.model
    widths, observed = np.asarray(model.sigma), np.asarray(model.observed)

    class Plain(jc.Interaction):
        """The Standard Model as an unknown interaction: nothing is factored out of the energy integral."""

        sin2w: jax.Array = jc.parameter(0.23857)

        def dsigma_dT(self, energy, recoil, particle, flavour):
            return jc.StandardModel(sin2w=self.sin2w).dsigma_dT(energy, recoil, particle, flavour)

    plain = likelihood.under(Plain())
    loading = np.asarray(model.linear) + np.asarray(model.logarithmic)
    owner, signals = np.asarray(model.owner), len(model.signals)

    def run() -> None:
        sin2w = numpyro.sample("sin2w", dist.Uniform(_LOW, _HIGH))
        counts = jc.signal(plain, {"sin2w": sin2w})
        pairs = zip(likelihood.nuisances, widths, strict=True)
        factors = jnp.stack([numpyro.sample(n, dist.TruncatedNormal(1.0, w, low=0.0)) for n, w in pairs])
        scale = jnp.exp(loading @ jnp.log(factors))
        expected = (scale[:signals] @ owner) * counts + scale[signals:] @ model.background
        numpyro.sample("counts", dist.Poisson(expected).to_event(1), obs=observed)

    return run


def _run_naive(likelihood: jc.Likelihood) -> float:
    """Effective samples of sin2w."""
    mcmc = numpyro.infer.MCMC(
        numpyro.infer.NUTS(_naive(likelihood), dense_mass=True, target_accept_prob=0.9),
        num_warmup=_PEER_WARMUP,
        num_samples=_PEER_SAMPLES,
        num_chains=_PEER_CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(1))
    draws = np.asarray(mcmc.get_samples(group_by_chain=True)["sin2w"])
    return float(arviz.ess(draws, method="bulk"))


def _run_emcee(likelihood: jc.Likelihood) -> float:
    """Effective samples of sin2w: samples over the integrated autocorrelation time."""
    model, units = likelihood.model, np.array([0.0, 0.5, 1.0])
    rows = np.stack([np.asarray(jc.signal(likelihood, {"sin2w": u})) for u in units])
    terms = np.linalg.inv(np.vander(units, 3, increasing=True)) @ rows
    sigma, observed, background = (np.asarray(x) for x in (model.sigma, model.observed, model.background))
    both, owner = np.asarray(model.linear) + np.asarray(model.logarithmic), np.asarray(model.owner)
    loading, other = both[: len(model.signals)], both[len(model.signals) :]

    def log_posterior(x: np.ndarray) -> np.ndarray:
        sin2w, factors = x[:, 0], x[:, 1:]
        inside = (sin2w > _LOW) & (sin2w < _HIGH) & np.all(factors > 0, axis=1)
        logs = np.log(np.where(factors > 0, factors, 1.0))
        counts = np.stack([np.ones_like(sin2w), sin2w, sin2w**2], axis=1) @ terms
        expected = np.exp(logs @ loading.T) @ owner * counts + np.exp(logs @ other.T) @ background
        value = (
            np.sum(observed * np.log(expected) - expected, axis=1) - np.sum(((factors - 1) / sigma) ** 2, axis=1) / 2
        )
        return np.where(inside, value, -np.inf)

    rng = np.random.default_rng(1)
    start = np.column_stack(
        [rng.uniform(0.1, 0.4, _WALKERS), 1 + 0.1 * sigma * rng.standard_normal((_WALKERS, sigma.size))]
    )
    sampler = emcee.EnsembleSampler(_WALKERS, start.shape[1], log_posterior, vectorize=True)
    sampler.random_state = np.random.RandomState(1).get_state()
    sampler.run_mcmc(start, _STEPS + _BURN)
    chain = sampler.get_chain(discard=_BURN)[:, :, 0]
    return chain.size / float(emcee.autocorr.integrated_time(chain, quiet=True)[0])


def _timed(call: Callable[[], float], rounds: int = 2) -> tuple[float, float, float]:
    """Effective samples, seconds of the first call, seconds of the last."""
    found = []
    for _ in range(rounds):
        before = time.perf_counter()
        ess = call()
        found.append(time.perf_counter() - before)
    return ess, found[0], found[-1]


def run() -> dict[str, Any]:
    """Sample all of them; keys as in `TARGETS`."""
    folder = tempfile.TemporaryDirectory()
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    results: dict[str, Any] = {}
    least, slowest, bulk = np.inf, 0.0, 0.0
    for parameter in ("flux", "sin2w"):
        for names in (_NAMES[:1], _NAMES[1:], _NAMES):
            likelihood = jc.Likelihood(names)

            def ours(likelihood: jc.Likelihood = likelihood, parameter: str = parameter) -> float:
                found = sample(likelihood, parameter, chains=_CHAINS, samples=_SAMPLES, warmup=_WARMUP)
                found.check()
                nonlocal bulk
                bulk = found.parameters[likelihood.parameters[parameter].name].ess_bulk
                return min(bulk, found.parameters[likelihood.parameters[parameter].name].ess_tail)

            ess, cold, warm = _timed(ours)
            label = f"{parameter}_{'combined' if len(names) == 2 else names[0].split('-')[0]}"
            results |= {f"ess_posterior_{label}": ess, f"seconds_posterior_{label}_warm": warm}
            results[f"seconds_posterior_{label}_cold"] = cold
            least, slowest = min(least, ess), max(slowest, warm)
    results |= {"least_ess_posterior": least, "most_seconds_posterior_warm": slowest}
    # The peers count effective samples in the bulk: so does the comparison, for the last of the runs above.
    rate = bulk / results["seconds_posterior_sin2w_combined_warm"]
    results["ess_per_second_posterior"] = rate
    likelihood = jc.Likelihood(_NAMES)

    def independent() -> float:
        found = sample(likelihood, "sin2w", method="independence", chains=_CHAINS, samples=_SAMPLES)
        found.check()
        return found.parameters["sin2w"].ess_bulk

    ess, cold, warm = _timed(independent)
    results |= {"ess_independence": ess, "seconds_independence_cold": cold, "seconds_independence_warm": warm}
    results["ess_per_second_independence"] = ess / warm
    for name, call in (("naive", _run_naive), ("emcee", _run_emcee)):
        # Minutes of sampling, seconds of compiling: one call is enough for the first.
        ess, cold, warm = _timed(lambda call=call: call(likelihood), 1 if name == "naive" else 2)
        results |= {f"ess_{name}": ess, f"seconds_{name}_warm": warm, f"seconds_{name}_cold": cold}
        results[f"ess_per_second_{name}"] = ess / warm
        results[f"ratio_posterior_{name}"] = rate / (ess / warm)
        results[f"ratio_independence_{name}"] = results["ess_per_second_independence"] / (ess / warm)
    folder.cleanup()
    return results
