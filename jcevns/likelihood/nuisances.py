"""Nuisance parameters of one or several experiments, as arrays.

Each normalisation factor is 1 + pull = exp(theta). The fit moves theta, so that every component stays
positive and every yield physical however far a pull is dragged; the Gaussian penalty stays on the pull.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.experiments.experiment import SIGNAL, Experiment, Nuisance

__all__ = ["bounds", "collect", "label", "loading_matrix", "penalty", "pulls"]


def label(experiment: Experiment, nuisance: Nuisance) -> str:
    """Name of a nuisance in a fit: its own if shared, else with the experiment in front."""
    return nuisance.name if nuisance.shared else f"{experiment.name}.{nuisance.name}"


def collect(experiments: Sequence[Experiment], drop: Sequence[str] = ()) -> dict[str, float]:
    """Names and widths of all nuisances, shared ones once, in order of appearance.

    Args:
        experiments: the experiments of a fit.
        drop: names to leave out, so that the factor stays at one (`b8_flux` when the flux is fitted).

    Raises:
        ValueError: two experiments share a nuisance of different width, or `drop` names an unknown one.
    """
    widths: dict[str, float] = {}
    for experiment in experiments:
        for nuisance in experiment.nuisances:
            name = label(experiment, nuisance)
            if widths.setdefault(name, nuisance.sigma) != nuisance.sigma:
                raise ValueError(
                    f"shared nuisance {name!r} has width {widths[name]} in one experiment and "
                    f"{nuisance.sigma} in {experiment.name!r}: make them equal or not shared"
                )
    unknown = set(drop) - set(widths)
    if unknown:
        raise ValueError(f"cannot drop unknown nuisance {sorted(unknown)}: known are {', '.join(widths)}")
    return {name: sigma for name, sigma in widths.items() if name not in drop}


def bounds(experiments: Sequence[Experiment], labels: Sequence[str]) -> list[tuple[float, float]]:
    """Hard limits of the factor of every nuisance."""
    found = {label(e, n): n.bounds for e in experiments for n in e.nuisances}
    return [found[name] for name in labels]


def loading_matrix(
    experiments: Sequence[Experiment], labels: Sequence[str]
) -> tuple[Float[np.ndarray, "experiment nuisance"], Float[np.ndarray, "background nuisance"]]:
    """Which nuisance scales which component: 1 or 0, for the signals and for all backgrounds in order."""
    column = {name: i for i, name in enumerate(labels)}
    signal = np.zeros((len(experiments), len(labels)))
    rows = [(e, name) for e in experiments for name in e.backgrounds]
    background = np.zeros((len(rows), len(labels)))
    for i, experiment in enumerate(experiments):
        for nuisance in experiment.nuisances:
            j = column.get(label(experiment, nuisance))
            if j is None:
                continue
            signal[i, j] = SIGNAL in nuisance.components
            for k, (owner, name) in enumerate(rows):
                if owner is experiment and name in nuisance.components:
                    background[k, j] = 1.0
    return signal, background


def pulls(theta: Float[Array, " nuisance"]) -> Float[Array, " nuisance"]:
    """Relative pulls exp(theta) - 1."""
    return jnp.expm1(theta)


def penalty(
    theta: Float[Array, " nuisance"], sigma: Float[Array, " nuisance"]
) -> tuple[Float[Array, ""], Float[Array, " nuisance"], Float[Array, " nuisance"]]:
    """Sum of (pull/sigma)^2 of eq. 17 of arXiv:2411.11749, with gradient and diagonal Hessian in theta."""
    factor, pull = jnp.exp(theta), jnp.expm1(theta)
    weight = 2 / sigma**2
    return jnp.sum((pull / sigma) ** 2), weight * factor * pull, weight * factor * (factor + pull)
