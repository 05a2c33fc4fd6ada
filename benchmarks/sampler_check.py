"""Simulation-based calibration of the sampler (arXiv:1804.06788): `python -m benchmarks.sampler_check`.

Parameters and nuisances are drawn from their priors, data from them, and the posterior of each data set is sampled
with the model of `jcevns.sample`. The rank of the true value among thinned draws is uniform if the sampler is right.
All data sets are sampled side by side. Writes a figure to docs/images and numbers to benchmarks/results.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from numpyro.handlers import seed, trace  # noqa: E402
from numpyro.infer.hmc import hmc  # noqa: E402
from numpyro.infer.util import initialize_model  # noqa: E402
from scipy.stats import binom, chisquare  # noqa: E402

import jcevns as jc  # noqa: E402
from benchmarks import machine  # noqa: E402
from jcevns.plot import style  # noqa: E402
from jcevns.statistics.sampled_model import SampledModel  # noqa: E402

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ("xenonnt-2024-s2", "pandax4t-us2")
RUNS = {"flux alone": ("flux.b8",), "flux and sin2w": ("flux.b8", "sin2w")}
DRAWS, THIN, WARMUP, SEED, BINS = 99, 10, 1000, 20241118, 10
LABELS = {"flux.b8": r"$^8$B flux", "sin2w": r"$\sin^2\theta_W$"}


def ranks(names: tuple[str, ...], data_sets: int, seed_number: int) -> dict[str, np.ndarray]:
    """Ranks, 0 to `DRAWS`, of the true values in the posteriors of simulated data sets."""
    target = SampledModel(jc.Likelihood(EXPERIMENTS), names)
    model = target.numpyro_model()
    simulate, start, run = jax.random.split(jax.random.key(seed_number), 3)

    def truth(key: Any) -> tuple[Any, Any]:
        drawn = trace(seed(model, key)).get_trace(None)
        return drawn["parameters"]["value"], drawn["counts"]["value"]

    true, observed = jax.vmap(truth)(jax.random.split(simulate, data_sets))
    observed = observed.astype(float)
    info = initialize_model(start, model, dynamic_args=True, model_args=(observed[0],))
    first = info.param_info.z

    def posterior(key: Any, counts: Any) -> Any:
        init, step = hmc(potential_fn_gen=info.potential_fn, algo="NUTS")
        state = init(
            first, num_warmup=WARMUP, dense_mass=True, target_accept_prob=0.9, rng_key=key, model_args=(counts,)
        )
        state = jax.lax.fori_loop(0, WARMUP, lambda i, s: step(s, model_args=(counts,)), state)

        def thinned(state: Any, _: None) -> tuple[Any, Any]:
            state = jax.lax.fori_loop(0, THIN, lambda i, s: step(s, model_args=(counts,)), state)
            return state, info.postprocess_fn(counts)(state.z)

        _, kept = jax.lax.scan(thinned, state, None, length=DRAWS)
        return kept["parameters"]

    drawn = jax.jit(jax.vmap(posterior))(jax.random.split(run, data_sets), observed)
    below = np.asarray(jnp.sum(drawn < true[:, None], axis=1))  # (data set, parameter)
    return dict(zip(names, below.T, strict=True))


def draw(found: np.ndarray, ax: Axes, title: str) -> None:
    """Histogram of ranks with the central 95% band of a uniform one."""
    edges = np.linspace(0, DRAWS + 1, BINS + 1)
    counts, _ = np.histogram(found, edges)
    low, high = binom.ppf([0.025, 0.975], found.size, 1 / BINS)
    ax.axhspan(low, high, color="#DDDDDD", lw=0, label="uniform, 95% of bins")
    ax.axhline(found.size / BINS, color="#888888", lw=0.8)
    ax.stairs(counts, edges, color="#0072B2", lw=1.5, label="ranks")
    ax.set_xlim(0, DRAWS + 1)
    ax.set_ylim(0, 1.6 * found.size / BINS)
    ax.set_xlabel(f"rank of the truth among {DRAWS} draws")
    ax.set_ylabel("data sets")
    ax.set_title(title, fontsize=9.5)


def main() -> None:
    """Sample, test for uniformity, write figure and numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampler_check")
    parser.add_argument("--data-sets", type=int, default=400)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "images" / "sampler_check.png")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "sampler_check.json")
    options = parser.parse_args()
    started, rows, panels = time.perf_counter(), [], []
    with jax.numpy_dtype_promotion("standard"):
        for label, names in RUNS.items():
            for name, found in ranks(names, options.data_sets, SEED).items():
                counts, _ = np.histogram(found, np.linspace(0, DRAWS + 1, BINS + 1))
                test = chisquare(counts)
                rows.append(
                    {
                        "sampled": label,
                        "parameter": name,
                        "counts": counts.tolist(),
                        "chi2": float(test.statistic),
                        "p_value": float(test.pvalue),
                        "mean_rank": float(found.mean() / DRAWS),
                    }
                )
                panels.append((found, f"{LABELS[name]}, {label}: p = {test.pvalue:.2f}"))
                print(f"{label:16} {name:6} chi2 {test.statistic:6.2f} / {BINS - 1}   p = {test.pvalue:.3f}")
    settings = {
        "experiments": EXPERIMENTS,
        "data_sets": options.data_sets,
        "draws": DRAWS,
        "thinning": THIN,
        "warmup": WARMUP,
        "seed": SEED,
        "priors": {
            label: {n: str(p) for n, p in SampledModel(jc.Likelihood(EXPERIMENTS), names).priors.items()}
            for label, names in RUNS.items()
        },
    }
    content = {"settings": settings, "seconds": time.perf_counter() - started, "machine": machine.describe()}
    options.out.write_text(json.dumps(content | {"ranks": rows}, indent=2) + "\n", encoding="utf-8")
    with style.style():
        fig, axes = style.figure(columns=len(panels), width=3.0, height=2.8)
        for ax, (found, title) in zip(axes, panels, strict=True):
            draw(found, ax, title)
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        fig.savefig(options.figure, dpi=130, metadata={"Software": None})
    print(f"written: {options.figure}, {options.out}")


if __name__ == "__main__":
    main()
