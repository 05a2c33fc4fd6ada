"""The likelihood of one experiment or several."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.experiments.experiment import SIGNAL, Experiment, ShapeNuisance, signal_counts
from jcevns.likelihood import morphing, nuisances
from jcevns.likelihood.anchors import groups_of, nominal_row, rows_of, spread
from jcevns.likelihood.layout import Layout, layout_of
from jcevns.likelihood.morphing import MorphingModel
from jcevns.likelihood.poisson import TemplateModel
from jcevns.physics.recoil import AnyTheory, as_theory
from jcevns.precision import as_float_array

__all__ = ["FLUX_PULL", "Likelihood", "as_morphing", "component_counts", "join_signals", "signal"]

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


def _template_model(experiments: tuple[Experiment, ...], widths: Mapping[str, float]) -> TemplateModel:
    """Templates of all experiments side by side, those that move at their nominal place."""
    bins = [e.observed.size for e in experiments]
    edges = np.concatenate([[0], np.cumsum(bins)])
    owner = np.zeros((len(bins), edges[-1]))
    backgrounds = []
    for i, experiment in enumerate(experiments):
        owner[i, edges[i] : edges[i + 1]] = 1.0
        for counts in experiment.backgrounds.values():
            still = counts.reshape(-1, counts.shape[-1])[nominal_row(experiment)] if counts.ndim > 1 else counts
            backgrounds.append(_pad(still, int(edges[i]), int(edges[-1] - edges[i + 1])))
    signal_loading, background_loading = nuisances.loading_matrix(experiments, tuple(widths))
    return TemplateModel(
        observed=_join([e.observed for e in experiments], np.concatenate, jnp.concatenate),
        owner=as_float_array(owner),
        background=_join(backgrounds, np.stack, jnp.stack) if backgrounds else jnp.zeros((0, int(edges[-1]))),
        signal_loading=as_float_array(signal_loading),
        background_loading=as_float_array(background_loading),
        sigma=as_float_array(np.array(list(widths.values()), float)),
    )


def _shapes(experiments: tuple[Experiment, ...]) -> dict[str, ShapeNuisance]:
    """Shape nuisances by label."""
    return {f"{e.name}.{s.name}": s for e in experiments for s in e.shapes}


def _morphing_model(
    likelihood: "Likelihood",
    templates: TemplateModel,
    shapes: Mapping[str, ShapeNuisance],
    bounds: Sequence[tuple[float, float]],
) -> MorphingModel:
    """The general model, from the templates at their nominal place."""
    moves, moving, row = [], [], 0
    groups = groups_of(likelihood.experiments)
    for i, (experiment, (first, stop)) in enumerate(zip(likelihood.experiments, likelihood.layout.bins, strict=True)):
        for counts in experiment.backgrounds.values():
            if counts.ndim > 1:
                rows = spread(groups, i, np.asarray(counts).reshape(-1, stop - first), np)
                moving.append(np.pad(rows, [(0, 0), (first, templates.observed.size - stop)]))
                moves.append(row)
            row += 1
    anchors = tuple(as_float_array(np.array(s.anchors)) for s in shapes.values())
    nothing = np.zeros((0, rows_of(groups), templates.observed.size))
    # A factor is a parameter itself where it multiplies backgrounds of its own alone; else its logarithm is.
    loading = np.concatenate([np.asarray(templates.signal_loading), np.asarray(templates.background_loading)])
    alone = np.sum(loading, axis=1) == 1
    background_only = np.all(loading[: len(likelihood.experiments)] == 0, axis=0)
    by_factor = background_only & np.all((loading == 0) | alone[:, None], axis=0)
    low, high = np.array(bounds, float).reshape(-1, 2).T
    with np.errstate(divide="ignore"):
        low, high = (np.where(by_factor, limit, np.log(limit)) for limit in (low, high))
    ends = np.array([[a[0], a[-1]] for a in anchors]).reshape(-1, 2)
    return MorphingModel(
        observed=templates.observed,
        owner=templates.owner,
        background=templates.background,
        moving=as_float_array(np.stack(moving) if moving else nothing),
        linear=as_float_array(loading * by_factor),
        logarithmic=as_float_array(loading * ~by_factor),
        sigma=as_float_array(np.concatenate([np.asarray(templates.sigma), np.ones(len(anchors))])),
        centre=as_float_array(np.zeros(low.size + len(anchors))),
        lower=as_float_array(np.concatenate([low, ends[:, 0]])),
        upper=as_float_array(np.concatenate([high, ends[:, 1]])),
        anchors=anchors,
        moves=tuple(moves),
        groups=groups,
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
        nuisances: names, in the order of the pulls; shape nuisances last.
        layout: structure of the model.

    Raises:
        ValueError: no experiment, an experiment or a run twice, or shared nuisances that disagree.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood([jc.experiment("xenonnt-2024-s2"), jc.experiment("pandax4t-us2")])
        >>> likelihood.names
        ('xenonnt-2024-s2', 'pandax4t-us2')
        >>> len(likelihood.nuisances)  # one of them, the 8B flux, is shared
        8
    """

    experiments: tuple[Experiment, ...]
    moments: tuple[tuple[Float[Array, "_ particle 3 _"], ...], ...]
    model: TemplateModel | MorphingModel
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
        for i, one in enumerate(experiments):
            for other in experiments[:i]:
                common = [run for run in one.runs if run in other.runs]
                if common:
                    raise ValueError(
                        f"{other.name} and {one.name} hold the same events ({', '.join(common)}): they would be "
                        "counted twice, take one of them"
                    )
        every = nuisances.collect(experiments)
        widths = nuisances.collect(experiments, drop=() if flux_pull or FLUX_PULL not in every else (FLUX_PULL,))
        self.experiments = experiments
        self.moments = tuple(e.moments() for e in experiments)
        self.layout = layout_of(experiments, tuple(widths))
        shapes = _shapes(experiments)
        self.nuisances = (*widths, *shapes)
        bounds = nuisances.bounds(experiments, tuple(widths))
        self.model = _template_model(experiments, widths)
        if shapes or any(limits != (0.0, np.inf) for limits in bounds):
            self.model = _morphing_model(self, self.model, shapes, bounds)

    @property
    def signal_size(self) -> int:
        """Numbers in a signal: one per bin, and per anchor of the shape nuisances."""
        return rows_of(groups_of(self.experiments)) * self.model.observed.size

    @cached_property
    def unlabelled(self) -> "Likelihood":
        """The same numbers without names and notes: what compiled functions take, so that variants share them."""
        blank: dict[str, Any] = {"nuisances": (), "observable": "", "bin_edges": (), "exposure": 0.0}
        blank |= {"status": "user", "notes": (), "tables": (), "runs": ()}
        bare = tuple(dataclasses.replace(e, name=str(i), **blank) for i, e in enumerate(self.experiments))
        copy = eqx.tree_at(lambda likelihood: likelihood.experiments, self, bare)
        object.__setattr__(copy, "nuisances", ())  # static: no part of the tree
        return copy

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the experiments."""
        return tuple(e.name for e in self.experiments)

    def data_status(self) -> Mapping[str, dict]:
        """Status, caveats and tables of each experiment."""
        return {
            e.name: {"status": e.status, "notes": list(e.notes), "tables": list(e.tables)} for e in self.experiments
        }


def as_morphing(likelihood: Likelihood) -> MorphingModel:
    """The likelihood's numbers as the general model, which toys and free strengths need."""
    if isinstance(likelihood.model, MorphingModel):
        return likelihood.model
    bounds = nuisances.bounds(likelihood.experiments, likelihood.nuisances)
    return _morphing_model(likelihood, likelihood.model, {}, bounds)


def signal(likelihood: Likelihood, theory: AnyTheory) -> Float[Array, " anchor_bin"]:
    """Expected signal in all bins of all experiments, before nuisances.

    One number per bin; with shape nuisances, per anchor and bin, bins fastest.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> [round(n, 2) for n in jc.signal(likelihood, jc.StandardModel()).tolist()]  # events per bin
        [3.22, 5.15, 2.76]
    """
    return _signal(likelihood.unlabelled, as_theory(theory))


@eqx.filter_jit
def _signal(likelihood: Likelihood, theory: AnyTheory) -> Array:
    pairs = zip(likelihood.experiments, likelihood.moments, strict=True)
    return join_signals(likelihood, [signal_counts(e, theory, m) for e, m in pairs])


def join_signals(likelihood: Likelihood, parts: Sequence[Any], trailing: int = 0) -> Any:
    """Signals of the experiments side by side, over anchors and bins as one axis.

    Args:
        likelihood: the experiments.
        parts: one array per experiment, shape (*anchor, bin, ...); NumPy arrays stay NumPy arrays.
        trailing: number of axes after the bins, the same in all parts.
    """
    library = np if all(isinstance(p, np.ndarray) for p in parts) else jnp
    groups = groups_of(likelihood.experiments)
    axis = -1 - trailing
    rows = [spread(groups, i, p.reshape(-1, *p.shape[axis:]), library) for i, p in enumerate(parts)]
    joined = library.concatenate(rows, axis=axis)
    return joined.reshape(-1, *joined.shape[2:])


def component_counts(
    likelihood: Likelihood, counts: Float[Array, " anchor_bin"], pulls: Float[Array, " nuisance"]
) -> dict[str, dict[str, Float[Array, " bin"]]]:
    """Expected counts of every component of every experiment at given pulls.

    Args:
        likelihood: the experiments.
        counts: signal before nuisances, as `signal` returns it.
        pulls: relative pulls, as in a fit; positions of the shape nuisances.

    Returns:
        Experiment to component to counts per bin; the signal is called `signal`.

    Example:
        >>> import jcevns as jc
        >>> likelihood, theory = jc.Likelihood(jc.experiment("xenonnt-2024-s2")), jc.StandardModel()
        >>> fit = jc.profile(likelihood, theory)
        >>> parts = jc.component_counts(likelihood, jc.signal(likelihood, theory), fit.pulls)["xenonnt-2024-s2"]
        >>> [f"{name} {counts.sum():.1f}" for name, counts in sorted(parts.items())]  # fitted events
        ['accidental 25.2', 'electronic 0.5', 'neutron 0.5', 'signal 11.2']
    """
    model = likelihood.model
    if isinstance(model, MorphingModel):
        rows = morphing.component_counts(model, counts, jnp.asarray(pulls))
        signals, background = rows[: len(likelihood.experiments)], rows[len(likelihood.experiments) :]
    else:
        log_factors = jnp.log1p(jnp.asarray(pulls))
        signals = jnp.exp(model.signal_loading @ log_factors)[:, None] * counts
        background = model.background * jnp.exp(model.background_loading @ log_factors)[:, None]
    result: dict[str, dict[str, Array]] = {}
    first_bin, row = 0, 0
    for i, experiment in enumerate(likelihood.experiments):
        bins = slice(first_bin, first_bin + experiment.observed.size)
        parts = {SIGNAL: signals[i, bins]}
        for name in experiment.backgrounds:
            parts[name] = background[row, bins]
            row += 1
        result[experiment.name] = parts
        first_bin = bins.stop
    return result
