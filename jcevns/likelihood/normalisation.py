"""Factors on the components of a likelihood: fluxes and nuisances, shared by name."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jcevns.experiments.experiment import SIGNAL, Experiment, Source
from jcevns.parameters import Parameter

__all__ = ["Normalisation", "normalisations"]


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """A factor on components, as a column of the model.

    Attributes:
        parameter: its record; the factor is value over default.
        powers: exponent of the factor on each component, by (experiment, component, source): a background has no
            source.
        flux: whether it belongs to a flux.
    """

    parameter: Parameter
    powers: Mapping[tuple[int, str, Source | None], float]
    flux: bool

    @property
    def sigma(self) -> float:
        """Width of the factor; infinite if it is free."""
        sigma, default = self.parameter.sigma, self.parameter.default
        return np.inf if sigma is None else sigma / default

    @property
    def signal_only(self) -> bool:
        """Whether it multiplies nothing but signals."""
        return all(component == SIGNAL for _, component, _ in self.powers)


def normalisations(
    experiments: Sequence[Experiment], sources: Sequence[tuple[Source, ...]]
) -> dict[str, Normalisation]:
    """Factors by name, in the order of appearance: of each experiment its fluxes, then its nuisances."""
    records: dict[str, Parameter] = {}
    powers: dict[str, dict[tuple[int, str, Source | None], float]] = {}
    fluxes: set[str] = set()
    acting: dict[str, tuple[bool, str]] = {}

    def enter(record: Parameter, own: Mapping[tuple[int, str, Source | None], float], where: str) -> None:
        before = records.setdefault(record.name, record)
        if before != record:
            changed = next(
                f.name for f in dataclasses.fields(Parameter) if getattr(before, f.name) != getattr(record, f.name)
            )
            raise ValueError(
                f"shared parameter {record.name!r} has {changed} {getattr(before, changed)!r} in one experiment and "
                f"{getattr(record, changed)!r} in {where!r}: make them equal or not shared"
            )
        powers.setdefault(record.name, {}).update(own)

    for i, (one, names) in enumerate(zip(experiments, sources, strict=True)):
        for name, flux in one.fluxes.items():
            record = flux.parameter
            fluxes.add(record.name)
            enter(record, {(i, SIGNAL, source): 1.0 for source in names if source.flux == name}, one.name)
        for nuisance in one.nuisances:
            own: dict[tuple[int, str, Source | None], float] = {}
            here = False
            for component in nuisance.components:
                if component in one.backgrounds:
                    own[i, component, None] = nuisance.power(component)
                else:
                    own |= {(i, SIGNAL, s): nuisance.power(component) for s in names if s.is_of(component)}
                    here = True
            record = nuisance.parameter(one.name)
            enter(record, own, one.name)
            there, other = acting.setdefault(record.name, (here, one.name))
            if there != here:
                first, second = (one.name, other) if here else (other, one.name)
                raise ValueError(
                    f"shared parameter {record.name!r} acts on the signal in {first!r} and on backgrounds alone in "
                    f"{second!r}: give them two names, or do not share them"
                )
    return {name: Normalisation(records[name], powers[name], name in fluxes) for name in records}
