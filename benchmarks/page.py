"""Tables of `benchmarks/results/latest.json` for the site: `python -m benchmarks.page` prints them."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "latest.json"

_FITS = {
    "scan engine, 1e4 points": "us_per_fit_scan_1e4",
    "scan engine, 1e6 points": "us_per_fit_scan_1e6",
    "batched NumPy Newton, written for the comparison, without a proof of minima": "us_per_fit_numpy_batched",
    "optimistix BFGS": "us_per_fit_optimistix_bfgs",
    "optax L-BFGS": "us_per_fit_optax_lbfgs",
    "iminuit": "us_per_fit_iminuit_numpy",
    "pyhf, numpy backend, rebuilt per point": "us_per_fit_pyhf_numpy",
}
_COMMANDS = {
    "`jcevns --help`": ("jax_help",),
    "`import jcevns`": ("jax_import",),
    "flux on three bins": ("jax_fit_cold", "jax_fit_warm"),
    "flux on XENONnT's own likelihood": ("jax_official_cold", "jax_official_warm"),
    "sin2w on COHERENT CsI, with shapes": ("jax_coherent_cold", "jax_coherent_warm"),
    "scan of 200 x 200 points": ("jax_scan_cold", "jax_scan_warm"),
    "posterior of flux and sin2w, NUTS, figures": ("jax_posterior_cold", "jax_posterior_warm"),
    "the same, independent draws": ("jax_independence_cold", "jax_independence_warm"),
    "`jcevns reproduce`": ("jax_reproduce_cold", "jax_reproduce_warm"),
}


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows))


def _shown(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def tables(results: dict[str, Any] | None = None) -> str:
    """Machine and date, times of a fit with ratios to the engine, commands in J, posteriors.

    Args:
        results: of the benchmark; the committed ones by default.
    """
    found = json.loads(RESULTS.read_text("utf-8")) if results is None else results
    machine, scan, start, posterior = (found[key] for key in ("machine", "scan", "foundation", "posterior"))
    engine = scan["us_per_fit_scan_1e4"]
    fits = [(name, _shown(scan[key]), _shown(scan[key] / engine)) for name, key in _FITS.items()]
    commands = [
        (name, *(_shown(start[key]) for key in keys), *([""] * (2 - len(keys)))) for name, keys in _COMMANDS.items()
    ]
    draws = [
        (name, _shown(posterior[key]), _shown(posterior[key] / posterior["ess_per_second_emcee"]))
        for name, key in {
            "independent draws": "ess_per_second_independence",
            "NUTS": "ess_per_second_posterior",
            "emcee on a NumPy posterior": "ess_per_second_emcee",
        }.items()
    ]
    where = f"{machine['cpu']}, {machine['cores']} cores"
    dates = ", ".join(f"{what} {group['date'][:16]}" for what, group in
                      {"fits": scan, "commands": start, "posteriors": posterior}.items())  # fmt: skip
    return "\n\n".join(
        [
            f"Machine: {where}; J = {start['seconds_import_jax']:.2f} s. Runs of (UTC): {dates}.",
            _table(("one profile fit", "microseconds", "over the engine"), fits),
            f"Largest difference of chi2 from tightly converged iminuit: {scan['max_dchi2_vs_iminuit']:.1g}.",
            _table(("from the prompt", "cold / J", "warm / J"), commands),
            _table(("sin2w and eight nuisances, warm", "bulk ESS per second", "over emcee"), draws),
        ]
    )


if __name__ == "__main__":
    print(tables())
