"""The likelihood of one experiment or several under a theory, and the list of all its parameters."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.compiled import compiled
from jcevns.experiments.catalogue import experiment
from jcevns.experiments.experiment import SIGNAL, Experiment, Source, signal_by_source, sources_of
from jcevns.experiments.groups import expand
from jcevns.experiments.names import listed
from jcevns.likelihood import model as models
from jcevns.likelihood.anchors import groups_of, rows_of, spread
from jcevns.likelihood.arrangement import Arrangement, arrange
from jcevns.likelihood.layout import Layout
from jcevns.likelihood.model import Model
from jcevns.likelihood.normalisation import Normalisation, normalisations
from jcevns.parameters import Parameters
from jcevns.physics.interaction import Interaction, theory_parameters, with_values
from jcevns.physics.standard_model import StandardModel
from jcevns.physics.theories import theory as theory_by_name
from jcevns.precision import not_forked

__all__ = [
    "Experiments",
    "Likelihood",
    "arranged",
    "as_likelihood",
    "chi2",
    "component_counts",
    "internal",
    "join_signals",
    "penalty",
    "signal",
    "source_mask",
    "with_data",
]

Experiments = Experiment | str | Iterable[Experiment | str]
"""What a likelihood is made of: experiments, or their names as on the command line, where commas join several.

`all-8b` is a group.
"""


class Likelihood(eqx.Module):
    """Joint likelihood (eq. 17 of arXiv:2411.11749): Poisson bins, shared and private nuisances, a theory.

    Args:
        experiments: one experiment or several, or their names, each once, or the name of a group
            (`jcevns.experiments.groups`).
        theory: predicts the signal; an interaction, or its name. The Standard Model if absent.

    Attributes:
        experiments: in the order given.
        theory: its parameters have the values that are used where nothing else is said.
        moments: flux moments of each channel of each experiment, computed once.
        model: its numbers.
        nuisances: full names, in the order of the model's parameters; shape nuisances last.
        layout: structure of the model.

    Raises:
        ValueError: no experiment, an experiment or a run twice, or shared parameters that disagree.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(["xenonnt-2024-s2", "pandax4t-us2"])
        >>> likelihood.names
        ('xenonnt-2024-s2', 'pandax4t-us2')
        >>> len(likelihood.nuisances)  # one of them, the 8B flux, is shared
        8
        >>> print(jc.Likelihood("texono-2010").parameters)
        parameter               default  constraint   bounds    unit
        sin2w                   0.23857
        a_k                     0.7                   [0, 5]    fm
        r0                      1.23                  [0, 5]    fm
        flux.reactor            1                     [0, inf]
        texono-2010.systematic  1        +- 0.000766  [0, inf]
    """

    experiments: tuple[Experiment, ...]
    theory: Interaction
    moments: tuple[tuple[Float[Array, "_ _ 3 _"], ...], ...]
    model: Model
    nuisances: tuple[str, ...] = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)

    def __init__(self, experiments: Experiments, theory: Interaction | str | None = None):
        pieces = [experiments] if isinstance(experiments, Experiment | str) else experiments
        given = expand([name for e in pieces for name in (listed(e) if isinstance(e, str) else [e])])
        built = tuple(experiment(e) if isinstance(e, str) else e for e in given)
        if not built:
            raise ValueError("a likelihood needs at least one experiment")
        _check_distinct(built)
        self.experiments = built
        given_theory = theory_by_name(theory) if isinstance(theory, str) else theory or StandardModel()
        self.theory = given_theory.seeing(channel.flux for e in built for channel in e.channels)
        self.moments = tuple(e.moments() for e in built)
        self.model, self.layout, self.nuisances = arrange(built, self.sources, self.normalisations)
        self.parameters  # noqa: B018 - names that collide are refused here

    def under(self, theory: Interaction | str) -> "Likelihood":
        """The same experiments under another theory."""
        return Likelihood(self.experiments, theory)

    @cached_property
    def parameters(self) -> Parameters:
        """All parameters: of the theory, of the fluxes, nuisances."""
        targets = tuple(c.target for e in self.experiments for c in e.channels if not c.faint)
        records = []
        for _, record in theory_parameters(self.theory).values():
            changes = record.adapt(targets) if record.adapt is not None else {}
            low, high = changes.get("lower", record.lower), changes.get("upper", record.upper)
            inside = min(max(record.default, low), high)
            records.append(dataclasses.replace(record, **{**changes, "default": inside}))
        factors = self.normalisations.values()
        records += [n.parameter for n in factors if n.flux] + [n.parameter for n in factors if not n.flux]
        records += [s.parameter(e.name) for e in self.experiments for s in e.shapes]
        return Parameters(records)

    @cached_property
    def normalisations(self) -> dict[str, Normalisation]:
        """Factors on components by full name."""
        return normalisations(self.experiments, self.sources)

    @property
    def sources(self) -> tuple[tuple[Source, ...], ...]:
        """Where the signal of each experiment comes from."""
        return tuple(sources_of(e, self.theory) for e in self.experiments)

    @property
    def signal_size(self) -> int:
        """Numbers in a signal: one per bin, source, and anchor of the shape nuisances."""
        return rows_of(groups_of(self.experiments)) * self.model.sources * self.model.observed.size

    @cached_property
    def unlabelled(self) -> "Likelihood":
        """The same numbers without names and notes: what compiled functions take, so that variants share them."""
        blank: dict[str, Any] = {"observable": "", "bin_edges": (), "exposure": 0.0, "nuisances": ()}
        blank |= {"status": "user", "notes": (), "tables": (), "runs": (), "overlap": ""}
        blank |= {"measured": True, "recipe": None}
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


def as_likelihood(given: Likelihood | Experiments) -> Likelihood:
    """A likelihood as it is, or that of experiments or names under the Standard Model."""
    not_forked()
    return given if isinstance(given, Likelihood) else Likelihood(given)


def with_data(given: Likelihood | Experiments, what: str) -> Likelihood:
    """The likelihood, as `as_likelihood`, for what needs data.

    Raises:
        ValueError: an experiment has no observed counts.
    """
    likelihood = as_likelihood(given)
    for one in likelihood.experiments:
        if not one.measured:
            raise ValueError(
                f"experiment {one.name!r} has no observed counts, and {what} needs data: give `observed`, or "
                "take jcevns project, expected_limit, expected_error, expected_significance, simulate"
            )
    return likelihood


def _check_distinct(experiments: Sequence[Experiment]) -> None:
    names = [e.name for e in experiments]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"experiment {twice[0]!r} is given twice: it would be counted twice")
    for i, one in enumerate(experiments):
        for other in experiments[:i]:
            common = [run for run in one.runs if run in other.runs]
            if common:
                known = [e.overlap for e in (one, other) if e.overlap]
                if known:
                    raise ValueError(
                        f"{other.name} and {one.name} are of the same runs ({', '.join(common)}): {known[0]}"
                    )
                raise ValueError(
                    f"{other.name} and {one.name} hold the same events ({', '.join(common)}): they would be "
                    "counted twice, take one of them"
                )


def arranged(likelihood: Likelihood, absent: Sequence[str] = (), free: Sequence[str] = ()) -> Arrangement:
    """Numbers, structure and nuisances of a likelihood.

    Args:
        likelihood: the experiments and the theory.
        absent: factors that are no nuisances here: they are one.
        free: factors without their constraint, from 0 up.
    """
    if not free and not any(name in likelihood.nuisances for name in absent):
        return Arrangement(likelihood.model, likelihood.layout, likelihood.nuisances)
    return arrange(likelihood.experiments, likelihood.sources, likelihood.normalisations, absent, free)


def source_mask(likelihood: Likelihood, name: str) -> Float[np.ndarray, " source_bin"]:
    """Exponent of a factor on every source and bin of a signal, sources slowest."""
    norm, result = (
        likelihood.normalisations[name],
        np.zeros((likelihood.model.sources, likelihood.model.observed.size)),
    )
    for i, (names, (first, stop)) in enumerate(zip(likelihood.sources, likelihood.layout.bins, strict=True)):
        for place, source in enumerate(names):
            result[place, first:stop] = norm.powers.get((i, SIGNAL, source), 0.0)
    return result.ravel()


def join_signals(likelihood: Likelihood, parts: Sequence[Any], trailing: int = 0) -> Any:
    """Signals of the experiments side by side, over anchors, sources and bins as one axis.

    Args:
        likelihood: the experiments.
        parts: one array per experiment, shape (source, *anchor, bin, ...); NumPy arrays stay NumPy arrays.
        trailing: number of axes after the bins, the same in all parts.
    """
    library: Any = np if all(isinstance(p, np.ndarray) for p in parts) else jnp
    groups = groups_of(likelihood.experiments)
    axis = -1 - trailing
    most = likelihood.model.sources
    joined = []
    for i, part in enumerate(parts):
        flat = part.reshape(part.shape[0], -1, *part.shape[axis:])  # (source, row, bin, ...)
        if len(flat) < most:
            flat = library.concatenate([flat, library.zeros((most - len(flat), *flat.shape[1:]), flat.dtype)])
        joined.append(spread(groups, i, library.moveaxis(flat, 0, 1), library))  # (row, source, bin, ...)
    whole = library.concatenate(joined, axis=axis)
    return whole.reshape(-1, *whole.shape[3:])


def signal(
    likelihood: Likelihood | Experiments, values: Mapping[str, Any] | None = None
) -> Float[Array, " anchor_bin"]:
    """Expected signal in all bins of all experiments, before nuisances.

    One number per bin; with shape nuisances, per anchor and bin, bins fastest; per source too where a theory or an
    experiment has several.

    Args:
        likelihood: the experiments and the theory.
        values: of parameters of the theory and of factors on the signal, by name; the rest at their defaults.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> [round(n, 2) for n in jc.signal(likelihood).tolist()]  # events per bin
        [3.22, 5.15, 2.76]
        >>> [round(n, 2) for n in jc.signal(likelihood, {"sin2w": 0.25, "flux": 5e6}).tolist()]
        [3.14, 5.03, 2.7]
    """
    likelihood = as_likelihood(likelihood)
    given = likelihood.parameters.full_values(values)
    theory = theory_at(likelihood, given)
    counts = _signal(likelihood.unlabelled, theory)
    return counts * factor_at(likelihood, {n: v for n, v in given.items() if n in likelihood.normalisations})


def theory_at(likelihood: Likelihood, values: Mapping[str, Any]) -> Interaction:
    """The theory with those of the values that belong to it."""
    own = theory_parameters(likelihood.theory)
    return with_values(likelihood.theory, {n: v for n, v in values.items() if n in own})


def factor_at(likelihood: Likelihood, values: Mapping[str, Any]) -> Any:
    """Factor of normalisations on every entry of a signal."""
    factor: Any = 1.0
    for name, value in values.items():
        power, default = source_mask(likelihood, name), likelihood.parameters[name].default
        ratio = jnp.asarray(value) / default
        factor = factor * jnp.where(
            power == 1, ratio, jnp.where(power == 0, 1.0, jnp.where(ratio > 0, ratio, 1.0) ** power)
        )
    rows = rows_of(groups_of(likelihood.experiments))
    return jnp.tile(factor, rows) if values else factor


@compiled
def _signal(likelihood: Likelihood, theory: Interaction) -> Array:
    pairs = zip(likelihood.experiments, likelihood.moments, strict=True)
    return join_signals(likelihood, [signal_by_source(e, theory, m) for e, m in pairs])


def internal(likelihood: Likelihood, values: Mapping[str, Any], arrangement: Arrangement | None = None) -> Array:
    """Parameters of the model at values of nuisances by full name, the others at their defaults."""
    model = likelihood.model if arrangement is None else arrangement.model
    names = likelihood.nuisances if arrangement is None else arrangement.nuisances
    x = model.nominal
    for name, value in values.items():
        place, record = names.index(name), likelihood.parameters[name]
        factor = jnp.asarray(value) / record.reference
        # Of a factor that is zero the logarithm is kept finite, for the components that it does not act on.
        none = jnp.where(factor == 0, jnp.finfo(factor.dtype).tiny, 0.0)
        x = x.at[place].set(
            jnp.where(model.is_log[place], jnp.log(jnp.where(model.is_log[place], factor + none, 1.0)), factor)
        )
    return x


def penalty(likelihood: Likelihood, values: Mapping[str, Any], skip: Sequence[str] = ()) -> Any:
    """Constraints of the theory's own parameters at values by full name; zero at their defaults."""
    total: Any = 0.0
    for name, record in likelihood.parameters.items():
        if record.kind == "theory" and record.constrained and name not in skip:
            total = total + ((jnp.asarray(values.get(name, record.default)) - record.default) / record.width) ** 2
    return total


def chi2(likelihood: Likelihood | Experiments, values: Mapping[str, Any] | None = None) -> Float[Array, ""]:
    """chi2 (eq. 17 of arXiv:2411.11749) at values of any parameters, constraints of the nuisances included.

    Pure and differentiable; nothing is fitted.

    Args:
        likelihood: the experiments and the theory.
        values: by name, full or short; the rest at their defaults.

    Example:
        >>> import jax
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> round(float(jc.chi2(likelihood, {"sin2w": 0.25, "accidental": 1.03})), 3)
        4.378
        >>> slope = jax.grad(lambda s: jc.chi2(likelihood, {"sin2w": s}))(0.25)
        >>> round(float(slope), 2)
        1.43
    """
    likelihood = with_data(likelihood, "chi2")
    given = likelihood.parameters.full_values(values)
    inside = {n: v for n, v in given.items() if n in likelihood.nuisances}
    counts = signal(likelihood, {n: v for n, v in given.items() if n not in inside})
    return models.chi2(likelihood.model, counts, internal(likelihood, inside)) + penalty(likelihood, given)


def component_counts(
    likelihood: Likelihood | Experiments, values: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Float[Array, " bin"]]]:
    """Expected counts of every component of every experiment at values of any parameters.

    Args:
        likelihood: the experiments and the theory.
        values: by name; the rest at their defaults. A fit's `values` are such.

    Returns:
        Experiment to component to counts per bin; the signal is called `signal`, all sources together.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> parts = jc.component_counts(likelihood, jc.profile(likelihood).values)["xenonnt-2024-s2"]
        >>> [f"{name} {counts.sum():.1f}" for name, counts in sorted(parts.items())]  # fitted events
        ['accidental 25.2', 'electronic 0.5', 'neutron 0.5', 'signal 11.2']
    """
    likelihood = as_likelihood(likelihood)
    given, norms = likelihood.parameters.full_values(values), likelihood.normalisations
    # What acts on signals alone is a plain factor: it may be zero, which has no logarithm.
    plain = {n for n in given if n in norms and norms[n].signal_only}
    inside = {n: v for n, v in given.items() if n in likelihood.nuisances and n not in plain}
    counts = signal(likelihood, {n: v for n, v in given.items() if n not in inside})
    rows = models.parts(likelihood.model, counts, internal(likelihood, inside))
    result: dict[str, dict[str, Array]] = {}
    signals = len(likelihood.layout.signals)
    for i, (one, (first, stop)) in enumerate(zip(likelihood.experiments, likelihood.layout.bins, strict=True)):
        own = [k for k, c in enumerate(likelihood.layout.signals) if c.experiment == i]
        found = {SIGNAL: jnp.sum(rows[np.array(own, int), first:stop], axis=0)}
        for component, name in zip(likelihood.layout.backgrounds_of(i), one.backgrounds, strict=True):
            found[name] = rows[signals + component.place, first:stop]
        result[one.name] = found
    return result
