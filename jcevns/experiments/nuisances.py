"""Nuisances of an experiment: normalisations and shapes, and what may be a name."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jcevns.parameters import Parameter

__all__ = ["SIGMAS", "Nuisance", "ShapeNuisance", "check_name"]

_SEPARATORS = "./\\:,=<>&$`\"'"
"""What no name holds: these separate names and options, or are markup in files that names go into."""

SIGMAS = (1e-8, 1e8)
"""Relative widths that can be computed with: beyond them a nuisance is fixed, or free."""


def check_name(what: str, name: str) -> None:
    """Raise ValueError for a name that would not be one everywhere: in options, tables, files."""
    good = isinstance(name, str) and name.isprintable() and name[:1].isalnum() and name == name.strip()
    if not good or any(c in _SEPARATORS for c in name):
        raise ValueError(
            f"{what} {name!r}: a name begins with a letter or a digit, and has no dot or slash and none of "
            f"{' '.join(_SEPARATORS[3:])}: they separate names, or are markup"
        )


def _number(here: str, what: str, value: Any) -> float:
    """A number that is no truth value and no text; NaN is refused."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{here}: {what} {value!r} must be a number")
    return number


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """A normalisation uncertainty: a factor on every component it names, ((factor - 1)/sigma)^2 in chi2.

    Attributes:
        name: label; prefixed by the experiment's name in a fit unless shared.
        sigma: relative 1 sigma width.
        components: `signal` or names of backgrounds; or a mapping of them to relative widths of their own, fully
            correlated: component c is then multiplied by factor^(width_c/sigma).
        shared: one factor for all experiments that use this name. The normalisation of a flux is no nuisance: the
            flux brings it.
        bounds: hard limits of the factor.

    Example:
        >>> import jcevns as jc
        >>> jc.Nuisance("efficiency", sigma=0.05, components=("signal",))
        Nuisance(name='efficiency', sigma=0.05, components=('signal',), shared=False, bounds=(0.0, inf), widths=())
    """

    name: str
    sigma: float
    components: Any
    shared: bool = False
    bounds: tuple[float, float] = (0.0, np.inf)
    widths: tuple[float, ...] = ()

    def __post_init__(self):
        check_name("nuisance", self.name)
        here = f"nuisance {self.name!r}"
        sigma = _number(here, "sigma", self.sigma)
        if not (np.isfinite(sigma) and sigma > 0):
            raise ValueError(f"{here}: sigma {self.sigma!r} must be positive (0.12 for 12%)")
        if not SIGMAS[0] <= sigma <= SIGMAS[1]:
            remedy = "leave the nuisance out to fix it" if sigma < 1 else "give a wide one, as 10, to free it"
            raise ValueError(f"{here}: sigma {sigma:g} is outside [{SIGMAS[0]:g}, {SIGMAS[1]:g}]: {remedy}")
        try:
            low, high = (_number(here, "bound", bound) for bound in self.bounds)
        except TypeError:
            raise ValueError(f"{here}: bounds {self.bounds!r} must be two factors, lower and upper") from None
        if not 0 <= low < 1 < high:
            raise ValueError(f"{here}: bounds {self.bounds!r} of the factor must enclose 1, from 0 up")
        object.__setattr__(self, "sigma", sigma)
        object.__setattr__(self, "bounds", (low, high))
        if isinstance(self.components, str) or not self.components:
            raise ValueError(f"nuisance {self.name!r}: components must be a non-empty tuple of names")
        if isinstance(self.components, Mapping):
            object.__setattr__(self, "widths", tuple(float(w) for w in self.components.values()))
        object.__setattr__(self, "components", tuple(self.components))
        if len(set(self.components)) != len(self.components):
            raise ValueError(f"{here}: a component is named twice among {', '.join(map(str, self.components))}")
        if self.widths and (len(self.widths) != len(self.components) or not np.all(np.isfinite(self.widths))):
            raise ValueError(f"nuisance {self.name!r}: each component needs one finite width")

    def power(self, component: str) -> float:
        """Exponent of the factor on a component; zero where it does not act."""
        if component not in self.components:
            return 0.0
        return self.widths[self.components.index(component)] / self.sigma if self.widths else 1.0

    def parameter(self, experiment: str) -> Parameter:
        """Its record."""
        name = self.name if self.shared else f"{experiment}.{self.name}"
        return Parameter(name, 1.0, "", *self.bounds, self.sigma, label=name, scale=self.sigma, kind="normalisation")


@dataclasses.dataclass(frozen=True)
class ShapeNuisance:
    """A parameter with a Gaussian constraint along which templates are known at anchors, linear in between.

    Attributes:
        name: label; prefixed by the experiment's name in a fit.
        anchors: values at which the templates are given, increasing, 0 among them; first and last are hard limits.
        sigma: standard deviation of its constraint around 0, in units of the anchors. One by default, anchors then
            are in standard deviations; a hundred times the anchors leaves it free between their ends.
        unit: of the anchors; empty for standard deviations.
        smooth: the anchors are a fine table of a smooth function, whose kinks make no minima of their own: fits go
            downhill from cell to cell, where they otherwise begin in each cell.

    Example:
        >>> import jcevns as jc
        >>> jc.ShapeNuisance("charge_yield", anchors=(-2.0, 0.0, 2.0))
        ShapeNuisance(name='charge_yield', anchors=(-2.0, 0.0, 2.0), sigma=1.0, unit='', smooth=False)
    """

    name: str
    anchors: tuple[float, ...]
    sigma: float = 1.0
    unit: str = ""
    smooth: bool = False

    def __post_init__(self):
        check_name("shape nuisance", self.name)
        here = f"shape nuisance {self.name!r}"
        object.__setattr__(self, "anchors", tuple(_number(here, "anchor", a) for a in self.anchors))
        if not np.all(np.isfinite(self.anchors)) or np.max(np.abs(self.anchors), initial=0) > 1e3:
            raise ValueError(f"{here}: anchors {self.anchors} are in standard deviations or its unit, 1000 at most")
        if len(self.anchors) < 2 or np.any(np.diff(self.anchors) <= 0) or 0.0 not in self.anchors:
            raise ValueError(f"shape nuisance {self.name!r}: anchors must increase and have 0 (nominal) among them")
        sigma = _number(here, "sigma", self.sigma)
        if not SIGMAS[0] <= sigma <= SIGMAS[1]:
            raise ValueError(
                f"{here}: sigma {sigma:g} must be from {SIGMAS[0]:g} to {SIGMAS[1]:g}, in units of the anchors; a "
                "hundred times the anchors leaves the shape free between their ends"
            )
        object.__setattr__(self, "sigma", sigma)

    def parameter(self, experiment: str) -> Parameter:
        """Its record, in units of the anchors: standard deviations where `sigma` is one."""
        name, (low, *_, high) = f"{experiment}.{self.name}", self.anchors
        scale = min(self.sigma, (high - low) / 4) if self.sigma != 1.0 else 1.0
        return Parameter(name, 0.0, self.unit, low, high, self.sigma, label=name, scale=scale, kind="shape")
