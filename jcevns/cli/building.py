"""From what is written on the command line to a likelihood and to values of its parameters."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from jcevns.cli.shipped import declared_names
from jcevns.spelling import unknown

__all__ = [
    "Asked",
    "Axis",
    "axis_values",
    "check_units",
    "classes",
    "fields_of",
    "load",
    "short_form",
    "with_spectrum",
]


class Axis(NamedTuple):
    """Values of a parameter as written: a list, or a range whose spacing may be left to the parameter.

    Attributes:
        name: of the parameter, as written.
        listed: the values; empty for a range.
        low: of a range.
        high: of a range.
        size: number of values in it.
        spacing: `lin`, `log`, or empty.
    """

    name: str
    listed: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    size: int = 0
    spacing: str = ""

    def values(self, logarithmic: bool) -> list[float]:
        """All values; `logarithmic` is for a range that does not say.

        Raises:
            ValueError: a range in the logarithm that does not begin above 0.
        """
        if self.listed:
            return list(self.listed)
        log = self.spacing == "log" or (not self.spacing and logarithmic)
        if log and self.low <= 0:
            text = f"{self.low:g}:{self.high:g}:{self.size}"
            raise ValueError(f"{self.name} {text}: needs 0 < lo < hi in the logarithm; {text}:lin has even steps")
        if not log:
            step = (self.high - self.low) / (self.size - 1)
            return [self.low + step * i for i in range(self.size - 1)] + [self.high]
        ratio = (self.high / self.low) ** (1 / (self.size - 1))
        return [self.low * ratio**i for i in range(self.size - 1)] + [self.high]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the options say that all commands share.

    Attributes:
        experiments: as written.
        theory: as written, or built; None for the Standard Model.
        shape: of the 8B spectrum, for all experiments.
        at: values of parameters that are fixed.
        profiled: parameters that are minimised over.
        constrained: parameters that keep their constraint.
    """

    experiments: Sequence[Any]
    theory: Any = None
    shape: str | None = None
    at: Mapping[str, float] = dataclasses.field(default_factory=dict)
    profiled: Sequence[str] = ()
    constrained: Sequence[str] = ()

    def likelihood(self, **options: Any) -> Any:
        """The likelihood, the names and fixed values checked; options are of the theory."""
        from jcevns.likelihood.likelihood import Likelihood
        from jcevns.physics.theories import theory as by_name

        found = by_name(self.theory, **options) if isinstance(self.theory, str) else self.theory
        likelihood = Likelihood(load(self.experiments, self.shape), found)
        if self.shape is not None and not any(source.flux for names in likelihood.sources for source in names):
            raise ValueError(
                "--shape is not used here: the theory is a recoil spectrum, there are no neutrinos in it"
            )
        self.names(likelihood, [*self.at, *self.profiled, *self.constrained], distinct=False)
        check_units(likelihood, self.at)
        return likelihood

    def names(self, likelihood: Any, given: Iterable[str], distinct: bool = True) -> tuple[str, ...]:
        """Names in full; where one belongs to a theory that was not asked for, the message says how to ask."""
        parameters = likelihood.parameters
        for name in given:
            owners = [n for n, kind in classes().items() if name in fields_of(kind)]
            if self.theory is None and name not in parameters and owners:
                choice = owners[0] if len(owners) == 1 else f"one of {', '.join(owners)}"
                what = unknown("parameter", name, parameters)
                raise ValueError(f"{what}; it belongs to another theory: add --theory {choice}")
        return parameters.full(given) if distinct else tuple(parameters[name].name for name in given)


def load(texts: Sequence[Any], shape: str | None = None) -> list[Any]:
    """Experiments named on the command line, with an 8B shape for all of them; what is built stays as it is."""
    from jcevns.experiments.catalogue import describe, parse_experiment, takes
    from jcevns.experiments.groups import expand, left_out

    for sentence in left_out(texts):
        click.echo(f"note: {sentence}", err=True)
    texts = expand(texts)
    if shape is None:
        return [parse_experiment(text) if isinstance(text, str) else text for text in texts]
    if not any(isinstance(text, str) and takes(text, "shape") for text in texts):
        shaped = [e["name"] for e in describe() if "shape" in dict(e["options"])]
        raise ValueError(
            f"--shape is not used here: only {', '.join(shaped)} have an 8B shape, where none is written"
        )
    return [parse_experiment(text, shape=shape) if isinstance(text, str) else text for text in texts]


def classes() -> dict[str, type[Any]]:
    """Theories that have a name, by it."""
    from jcevns.physics.recoil import TabulatedSpectrum
    from jcevns.physics.theories import THEORIES

    return {
        **{name: kind for name, (kind, _) in THEORIES.items()},
        "standard-model+spectrum:FILE.csv": TabulatedSpectrum,
    }


def fields_of(kind: type[Any]) -> dict[str, Any]:
    """Records of the parameters that a class declares itself, by name."""
    fields = dataclasses.fields(kind)
    return {f.name: f.metadata["parameter"] for f in fields if "parameter" in f.metadata}


def _signal_parameter(kind: type[Any]) -> str | None:
    """What measures the size of a theory's signal: its parameter with a value without signal, if it is one."""
    found = [name for name, record in fields_of(kind).items() if record.null is not None]
    return found[0] if len(found) == 1 else None


def short_form(name: str, theory: str | None) -> tuple[str | None, str]:
    """Theory and parameter where the name of a theory stands for the size of its signal; else both as given."""
    from jcevns.physics.theories import THEORIES

    if theory is None and name in THEORIES:
        parameter = _signal_parameter(THEORIES[name][0])
        if parameter is None:
            raise ValueError(f"{name} is a theory: name one of its parameters, {', '.join(declared_names(name))}")
        return name, parameter
    return theory, name


def with_spectrum(theory: str | None, spectrum: Path | None, b8: str) -> Any:
    """The theory as it is, or that of a recoil spectrum of one's own, 8B neutrinos beside it or not."""
    if spectrum is None:
        return theory
    from jcevns.physics.recoil import load_spectrum
    from jcevns.physics.standard_model import StandardModel

    if theory is not None:
        raise ValueError("--spectrum is short for --theory standard-model+spectrum:FILE.csv: give one of the two")
    if b8 not in ("background", "none"):
        raise ValueError(f"--b8 {b8!r}: choose background or none")
    found = load_spectrum(spectrum)
    return StandardModel() + found if b8 == "background" else found


def check_units(likelihood: Any, values: Mapping[str, float | Iterable[float]]) -> None:
    """Raise ValueError for a value that was meant in other units: a flux of 5 cm^-2 s^-1."""
    from jcevns.fit.rounding import unit_scale

    for name, given in values.items():
        record = likelihood.parameters[name]
        scale, _ = unit_scale(record.unit)
        for value in [given] if isinstance(given, int | float) else given:
            if scale > 1 and 0 < abs(value) < 1e-3 * scale:
                usual = f"{5 * scale:.0e}".replace("e+0", "e")
                raise ValueError(f"{record.name} {value:g}: it is in {record.unit}, as in {usual}")


def axis_values(asked: Asked, likelihood: Any, axes: Sequence[Axis | None]) -> dict[str, list[float]]:
    """Values of axes by full name; a range that does not say is logarithmic if the parameter's prior is."""
    there = [axis for axis in axes if axis is not None]
    found: dict[str, list[float]] = {}
    for axis, name in zip(there, asked.names(likelihood, [axis.name for axis in there]), strict=True):
        found[name] = axis.values(likelihood.parameters[name].prior.startswith("log-"))
        check_units(likelihood, {name: found[name] if axis.listed else found[name][-1:]})
    return found
