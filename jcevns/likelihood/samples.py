"""A likelihood at one theory point as samples of counts: what formats of exchange write down."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jcevns.experiments.experiment import SIGNAL, Experiment, Source, signal_by_source
from jcevns.likelihood.likelihood import Likelihood, factor_at, theory_at, with_data
from jcevns.likelihood.templates import Templates, decomposed

__all__ = ["POI", "Contents", "HistFactorySample", "contents"]

POI = "mu"
"""Parameter of interest of an exported workspace: a factor on every signal, 1 at the theory."""

_LARGEST = 10.0  # bound of a normalisation factor without one: JSON has no infinity, and Minuit likes it small
_LARGEST_STRENGTH = 1e4
_ABOVE = 10.0  # how far above what the data ask for such a bound lies


class HistFactorySample(NamedTuple):
    """A component of one experiment.

    Attributes:
        name: in the workspace.
        where: name of the experiment.
        templates: counts and how shapes change them.
        acting: full names of the normalisations that multiply it.
        signal: whether the theory predicts it.
    """

    name: str
    where: str
    templates: Templates
    acting: tuple[str, ...]
    signal: bool

    def shapes(self) -> dict[str, str]:
        """Full names of the shapes that change it, by their short ones."""
        return {name: f"{self.where}.{name}" for name in self.templates.changes}


class Contents(NamedTuple):
    """What a workspace holds, whatever its format.

    Attributes:
        likelihood: with its data.
        moving: names of the nuisances that do not stand still.
        samples: of each experiment.
        bounds: of the strength of the signal and of each normalisation, as factors, by name.
    """

    likelihood: Likelihood
    moving: list[str]
    samples: list[list[HistFactorySample]]
    bounds: dict[str, tuple[float, float]]


def contents(likelihood: Likelihood, at: Mapping[str, Any] | None, taken: Mapping[str, str]) -> Contents:
    """The likelihood at one theory point, as samples.

    Args:
        likelihood: the experiments and the theory.
        at: values by name of what stands still, or of the theory.
        taken: names that mean something else in the workspace beside `mu`, and what.

    Raises:
        ValueError: what HistFactory cannot say: shapes whose changes do not add up, widths that differ between
            components, a nuisance with a name that is taken; no data.
    """
    likelihood = with_data(likelihood, "a workspace")
    given = likelihood.parameters.full_values(at)
    moving = _moving(likelihood, given, {POI: "the strength of the signal", **taken})
    every = [_samples(likelihood, i, given, moving) for i in range(len(likelihood.experiments))]
    return Contents(likelihood, moving, every, _bounds(likelihood, every))


def _moving(likelihood: Likelihood, given: Mapping[str, Any], taken: Mapping[str, str]) -> list[str]:
    """Names of the nuisances that do not stand still; ValueError if one cannot be written."""
    moving = [n for n in likelihood.nuisances if n not in given]
    for name, norm in likelihood.normalisations.items():
        if name in taken:
            raise ValueError(
                f"a shared nuisance is named {name!r}, which in a workspace is {taken[name]}: rename it to export"
            )
        if name in moving and any(power != 1 for power in norm.powers.values()):
            raise ValueError(
                f"{name} has different widths on its components, as powers of one factor, which a workspace cannot "
                "say; give the components nuisances of their own before exporting, or fix it with `at`"
            )
    return moving


def _samples(
    likelihood: Likelihood, i: int, given: Mapping[str, Any], moving: Sequence[str]
) -> list[HistFactorySample]:
    """Components of one experiment, at values of what stands still."""
    one, norms = likelihood.experiments[i], likelihood.normalisations
    still = {s.name: float(given[f"{one.name}.{s.name}"]) for s in one.shapes if f"{one.name}.{s.name}" in given}
    theory = theory_at(likelihood, given)
    tables = np.asarray(signal_by_source(one, theory, likelihood.moments[i]), float)
    factors = np.ones((likelihood.model.sources, likelihood.model.observed.size))
    fixed = {n: v for n, v in given.items() if n in norms}
    if fixed:
        size = factors.size
        factors = np.asarray(factor_at(likelihood, fixed), float)[:size].reshape(factors.shape)
    first, stop = likelihood.layout.bins[i]

    def acting(component: str, source: Source | None) -> tuple[str, ...]:
        powers = {n: norms[n].powers.get((i, component, source), 0.0) for n in moving if n in norms}
        return tuple(n for n, power in powers.items() if power)

    def templates(name: str, table: np.ndarray) -> Templates:
        return decomposed(f"{one.name}: {name}", table, one.shapes, one.morphing, still)

    found = []
    for place, (source, table) in enumerate(zip(likelihood.sources[i], tables, strict=True)):
        name = _name(one, source, likelihood.sources[i])
        found.append(
            HistFactorySample(
                name, one.name, templates(name, table * factors[place, first:stop]), acting(SIGNAL, source), True
            )
        )
    for name, table in one.backgrounds.items():
        factor = 1.0
        for label, value in fixed.items():
            power = norms[label].powers.get((i, name, None), 0.0)
            factor *= (float(value) / likelihood.parameters[label].default) ** power if power else 1.0
        counts = factor * np.asarray(table, float)
        found.append(HistFactorySample(name, one.name, templates(name, counts), acting(name, None), False))
    return found


def _name(experiment: Experiment, source: Source, every: Sequence[Source]) -> str:
    """Of a sample of signal: with its flux and its part of the bins where there are several."""
    flux = [source.flux or "spectrum"] if len({s.flux for s in every}) > 1 else []
    name = "_".join([SIGNAL, *flux, *([source.part] if source.part else [])])
    while name in experiment.backgrounds:
        name += "_"
    return name


def _bounds(likelihood: Likelihood, every: Sequence[Sequence[HistFactorySample]]) -> dict[str, tuple[float, float]]:
    """Of the strength of the signal and of each normalisation, as factors, by name.

    One that is infinite becomes a number out of reach: ten times the factor at which a component alone has all the
    events of a bin.
    """
    largest: dict[str, float] = dict.fromkeys(likelihood.nuisances, _LARGEST) | {POI: _LARGEST_STRENGTH}
    for one, own in zip(likelihood.experiments, every, strict=True):
        data = np.asarray(one.observed, float)
        for sample in own:
            counts = sample.templates.nominal
            asked = float(_ABOVE * np.max(data[counts > 0] / counts[counts > 0], initial=0.0))
            for name in (*sample.acting, *([POI] if sample.signal else [])):
                largest[name] = max(largest[name], asked)
    found = {POI: (0.0, largest[POI])}
    for name in likelihood.normalisations.keys() & set(likelihood.nuisances):
        record = likelihood.parameters[name]
        high = record.upper / record.default
        found[name] = (record.lower / record.default, high if np.isfinite(high) else largest[name])
    return found
