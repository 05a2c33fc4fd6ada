"""What a parameter is: one record for theory, flux and nuisance parameters alike, and how its name is found.

A record is declared where its quantity is defined: on a field of a theory or of a form factor (`parameter`), on a
flux, on an experiment's nuisance. What is fixed, free, constrained or profiled is a choice of each call.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np

from jcevns.precision import as_float_array, optional_array
from jcevns.spelling import unknown

__all__ = ["LARGEST", "Parameter", "Parameters", "declared", "leaves_of", "parameter"]

LARGEST = 1e30
"""Size that no value exceeds: beyond any physics here, and far below what overflows in a square."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A quantity that a likelihood depends on.

    Attributes:
        name: full name, parts separated by dots, as `flux.b8`; unique in a likelihood.
        default: value where nothing else is said, and centre of the constraint.
        unit: of the value; empty for a pure number.
        lower: physical lower bound, included; minus infinity if there is none.
        upper: physical upper bound, included.
        sigma: width of its Gaussian constraint around the default, in units of the value; None without one.
        prior: default prior density, as on the command line; empty if it follows from constraint and bounds.
        label: for axes of figures, in TeX.
        note: what the user must know, printed with a result.
        scale: typical size of a change, for searches; found by them if absent.
        null: value without signal, for a significance; None if there is none.
        still: fixed unless a call names it, although it has a constraint; one that is profiled keeps it.
        kind: `theory`, `flux`, `normalisation` (a factor on components of an experiment) or `shape` (a position
            among anchors, by default in standard deviations).
        adapt: targets of a likelihood to changed attributes, for bounds that belong to a target.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> flux = likelihood.parameters["flux.b8"]
        >>> f"{flux.default:.3g} +- {flux.sigma:.2g} {flux.unit}"
        '5.46e+06 +- 6.6e+05 cm^-2 s^-1'
    """

    name: str
    default: float = 0.0
    unit: str = ""
    lower: float = -math.inf
    upper: float = math.inf
    sigma: float | None = None
    prior: str = ""
    label: str = ""
    note: str = ""
    scale: float | None = None
    null: float | None = None
    still: bool = False
    kind: str = "theory"
    adapt: Callable[[Sequence[Any]], Mapping[str, Any]] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        here = f"parameter {self.name!r}"
        if not self.lower < self.upper:
            raise ValueError(f"{here}: lower bound {self.lower!r} must be below the upper bound {self.upper!r}")
        if not (math.isfinite(self.default) and self.lower <= self.default <= self.upper):
            raise ValueError(f"{here}: default {self.default!r} must be within {self.lower:g} and {self.upper:g}")
        for what in ("sigma", "scale"):
            value = getattr(self, what)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{here}: {what} {value!r} must be positive, or absent")

    @property
    def constrained(self) -> bool:
        """Whether it has a Gaussian constraint."""
        return self.sigma is not None

    @property
    def width(self) -> float:
        """Width of the constraint; infinite without one."""
        return math.inf if self.sigma is None else self.sigma

    @property
    def reference(self) -> float:
        """Value that a likelihood counts in: the default of a factor, one of a position."""
        return 1.0 if self.kind == "shape" else self.default

    def check(self, value: Any) -> None:
        """Raise ValueError if a value is not finite or beyond a bound; nothing is said about tracers."""
        try:
            values = np.asarray(value, float)
        except Exception:  # a tracer has no value to check
            return
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{self.name} {value!s} must be finite")
        if np.any(np.abs(values) > LARGEST):
            raise ValueError(f"{self.name} {value!s} is too large to compute with, {LARGEST:g} at most")
        if np.any(values < self.lower) or np.any(values > self.upper):
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(f"{self.name} {value!s} is outside [{self.lower:g}, {self.upper:g}]{unit}")


def parameter(
    default: float | None = 0.0,
    *,
    unit: str = "",
    lower: float = -math.inf,
    upper: float = math.inf,
    sigma: float | None = None,
    prior: str = "",
    label: str = "",
    note: str = "",
    scale: float | None = None,
    null: float | None = None,
    adapt: Callable[[Sequence[Any]], Mapping[str, Any]] | None = None,
) -> Any:
    """Declare a field of a theory, or of a part of one, as a parameter.

    Args:
        default: value; None for a field that is absent unless given, and no parameter then.
        unit: as in `Parameter`, and so on.
        lower: physical lower bound.
        upper: physical upper bound.
        sigma: width of a Gaussian constraint.
        prior: default prior density.
        label: in TeX.
        note: printed with a result.
        scale: typical size of a change.
        null: value without signal.
        adapt: targets to changed attributes.

    Example:
        >>> import jax
        >>> import jcevns as jc
        >>> class Scaled(jc.Interaction):
        ...     size: jax.Array = jc.parameter(1.0, lower=0.0, upper=10.0)
        ...
        ...     def weights(self):
        ...         return self.size[None]
        ...
        ...     def terms(self, recoil, particle, flavour):
        ...         model = jc.StandardModel()
        ...         return jax.numpy.sum(
        ...             model.weights()[:, None, None] * model.terms(recoil, particle, flavour), axis=0
        ...         )[None]
        >>> print(jc.interval(jc.Likelihood("xenonnt-2024-s2", Scaled()), "size", cl=0.683))
        size: [0.52, 1.66] (68%)
    """
    record = Parameter(
        "",
        min(max(0.0, lower), upper) if default is None else float(default),
        unit,
        lower,
        upper,
        sigma,
        prior,
        label,
        note,
        scale,
        null,
        adapt=adapt,
    )
    convert = optional_array if default is None else as_float_array
    return eqx.field(converter=convert, default=default, metadata={"parameter": record})


def leaves_of(module: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Parameter]]:
    """Declared parameters of a module and of the modules in it: where each leaf is, and its record.

    The record has the field's name and the module's value as default.
    """
    if isinstance(module, tuple):
        for i, part in enumerate(module):
            yield from leaves_of(part, (*path, i))
        return
    if not isinstance(module, eqx.Module):
        return
    for field in dataclasses.fields(module):
        value = getattr(module, field.name, None)
        record = field.metadata.get("parameter")
        if record is None:
            yield from leaves_of(value, (*path, field.name))
        elif value is not None:
            yield (*path, field.name), dataclasses.replace(record, name=field.name, default=_plain(record, value))


def _plain(record: Parameter, value: Any) -> float:
    try:
        number = float(np.asarray(value))
    except Exception:  # a tracer, or several values: the class says what is usual
        return record.default
    usable = math.isfinite(number) and record.lower <= number <= record.upper
    return number if usable else record.default


def declared(module: Any) -> dict[str, Parameter]:
    """Parameters of a module by the name of their field, without checking that the names differ."""
    return {record.name: record for _, record in leaves_of(module)}


class Parameters(Mapping[str, Parameter]):
    """Parameters of a likelihood by full name, in the order theory, fluxes, nuisances; printed as a table.

    A key may be any part of a name at a dot, as long as it means one parameter.

    Example:
        >>> import jcevns as jc
        >>> parameters = jc.Likelihood("xenonnt-2024-s2").parameters
        >>> parameters["flux"].name, parameters["accidental"].name
        ('flux.b8', 'xenonnt-2024-s2.accidental')
    """

    def __init__(self, records: Iterable[Parameter]):
        self._records: dict[str, Parameter] = {}
        for record in records:
            if record.name in self._records:
                raise ValueError(f"two parameters are called {record.name!r}: rename one of them")
            self._records[record.name] = record

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and len(self._matches(name)) == 1

    def _matches(self, name: str) -> list[str]:
        if name in self._records:
            return [name]
        return [n for n in self._records if n.endswith(f".{name}") or n.startswith(f"{name}.")]

    def __getitem__(self, name: str) -> Parameter:
        """The record of a name, which may be short; ValueError if it is unknown or means several."""
        found = self._matches(name)
        if len(found) > 1:
            raise ValueError(f"parameter {name!r} is ambiguous: {', '.join(found)}")
        if not found:
            short = {n.rpartition(".")[2]: n for n in self._records}
            raise ValueError(unknown("parameter", name, self._records, short=short))
        return self._records[found[0]]

    def full(self, names: str | Iterable[str]) -> tuple[str, ...]:
        """Names in full, each once."""
        given = (names,) if isinstance(names, str) else tuple(names)
        found = tuple(self[name].name for name in given)
        twice = [n for n in found if found.count(n) > 1]
        if twice:
            raise ValueError(f"parameter {twice[0]!r} is named twice")
        return found

    def full_values(self, values: Mapping[str, Any] | None) -> dict[str, Any]:
        """Values by full name, checked against the bounds."""
        result: dict[str, Any] = {}
        for name, value in (values or {}).items():
            record = self[name]
            if record.name in result:
                raise ValueError(f"parameter {record.name!r} is named twice")
            record.check(value)
            result[record.name] = value
        return result

    def __str__(self) -> str:
        """A table."""
        rows = [("parameter", "default", "constraint", "bounds", "unit")]
        for p in self.values():
            bounds = "" if math.isinf(p.lower) and math.isinf(p.upper) else f"[{p.lower:g}, {p.upper:g}]"
            rows.append((p.name, f"{p.default:.6g}", f"+- {p.sigma:.3g}" if p.sigma else "", bounds, p.unit))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def __repr__(self) -> str:
        return str(self)
