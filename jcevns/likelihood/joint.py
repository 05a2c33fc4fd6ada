"""The likelihood of one experiment or several."""

from collections.abc import Callable, Iterable, Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.experiments.experiment import SIGNAL, Experiment, signal_counts
from jcevns.likelihood import nuisances
from jcevns.likelihood.layout import Layout, layout_of
from jcevns.likelihood.poisson import TemplateModel
from jcevns.physics.cross_sections import AbstractInteraction
from jcevns.physics.recoil import Theory, as_theory, flux_moments
from jcevns.precision import as_float_array

__all__ = ["FLUX_PULL", "Likelihood", "component_counts", "signal"]

FLUX_PULL = "b8_flux"
"""Name of the shared 12% nuisance on the 8B flux."""


def _join(arrays: list[Array], join: Callable, traced: Callable) -> Array:
    """Joined arrays; by NumPy where there are values, which needs no compilation."""
    if any(isinstance(a, Tracer) for a in arrays):
        return traced(arrays)
    return as_float_array(join([np.asarray(a) for a in arrays]))


def _pad(counts: Array, before: int, after: int) -> Array:
    widths = (before, after)
    return (
        jnp.pad(counts, widths) if isinstance(counts, Tracer) else as_float_array(np.pad(np.asarray(counts), widths))
    )


class Likelihood(eqx.Module):
    """Joint likelihood (eq. 17 of arXiv:2411.11749): Poisson bins, shared and private normalisation pulls.

    Args:
        experiments: one experiment or several, each once.
        flux_pull: keep the 8B flux nuisance; switch it off when the flux itself is fitted.

    Attributes:
        experiments: in the order given.
        moments: flux moments of each experiment at its response's energies, computed once.
        model: its numbers.
        nuisances: names, in the order of the pulls.
        layout: structure of the model.

    Raises:
        ValueError: no experiment, an experiment twice, or shared nuisances that disagree.
    """

    experiments: tuple[Experiment, ...]
    moments: tuple[Float[Array, "..."], ...]
    model: TemplateModel
    nuisances: tuple[str, ...] = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)

    def __init__(self, experiments: Experiment | Iterable[Experiment], flux_pull: bool = True):
        experiments = (experiments,) if isinstance(experiments, Experiment) else tuple(experiments)
        if not experiments:
            raise ValueError("a likelihood needs at least one experiment")
        names = [e.name for e in experiments]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"experiment {twice[0]!r} is given twice: it would be counted twice")
        every = nuisances.collect(experiments)
        widths = nuisances.collect(experiments, drop=() if flux_pull or FLUX_PULL not in every else (FLUX_PULL,))
        bins = [e.observed.size for e in experiments]
        edges = np.concatenate([[0], np.cumsum(bins)])
        owner = np.zeros((len(bins), edges[-1]))
        backgrounds = []
        for i, experiment in enumerate(experiments):
            owner[i, edges[i] : edges[i + 1]] = 1.0
            for counts in experiment.backgrounds.values():
                backgrounds.append(_pad(counts, int(edges[i]), int(edges[-1] - edges[i + 1])))
        signal_loading, background_loading = nuisances.loading_matrix(experiments, tuple(widths))
        self.experiments = experiments
        self.moments = tuple(flux_moments(e.flux, e.target, e.response.recoil_keV) for e in experiments)
        self.nuisances = tuple(widths)
        self.layout = layout_of(experiments, self.nuisances)
        self.model = TemplateModel(
            observed=_join([e.observed for e in experiments], np.concatenate, jnp.concatenate),
            owner=as_float_array(owner),
            background=_join(backgrounds, np.stack, jnp.stack) if backgrounds else jnp.zeros((0, int(edges[-1]))),
            signal_loading=as_float_array(signal_loading),
            background_loading=as_float_array(background_loading),
            sigma=as_float_array(np.array(list(widths.values()), float)),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the experiments."""
        return tuple(e.name for e in self.experiments)

    def data_status(self) -> Mapping[str, dict]:
        """Status, caveats and tables of each experiment."""
        return {
            e.name: {"status": e.status, "notes": list(e.notes), "tables": list(e.tables)} for e in self.experiments
        }


@eqx.filter_jit
def signal(likelihood: Likelihood, theory: Theory | AbstractInteraction) -> Float[Array, " bin"]:
    """Expected signal in all bins of all experiments, before nuisances."""
    theory = as_theory(theory)
    pairs = zip(likelihood.experiments, likelihood.moments, strict=True)
    return jnp.concatenate([signal_counts(e, theory, m) for e, m in pairs])


def component_counts(
    likelihood: Likelihood, counts: Float[Array, " bin"], pulls: Float[Array, " nuisance"]
) -> dict[str, dict[str, Float[Array, " bin"]]]:
    """Expected counts of every component of every experiment at given pulls.

    Args:
        likelihood: the experiments.
        counts: signal before nuisances, as `signal` returns it.
        pulls: relative pulls, as in a fit.

    Returns:
        Experiment to component to counts per bin; the signal is called `signal`.
    """
    log_factors = jnp.log1p(jnp.asarray(pulls))
    model = likelihood.model
    signal_factor = jnp.exp(model.signal_loading @ log_factors)
    background = model.background * jnp.exp(model.background_loading @ log_factors)[:, None]
    result: dict[str, dict[str, Array]] = {}
    first_bin, row = 0, 0
    for i, experiment in enumerate(likelihood.experiments):
        bins = slice(first_bin, first_bin + experiment.observed.size)
        parts = {SIGNAL: counts[bins] * signal_factor[i]}
        for name in experiment.backgrounds:
            parts[name] = background[row, bins]
            row += 1
        result[experiment.name] = parts
        first_bin = bins.stop
    return result
