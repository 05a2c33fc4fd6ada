"""Discovery limits against exposure, and the index by which the neutrino fog is defined.

A discovery limit is the smallest signal whose median significance reaches 3 sigma: sqrt(q0) of Asimov data
(arXiv:1007.1727), with the fluxes and all other nuisances profiled. It falls with exposure as exposure^(-1/n): n is 1
without background, 2 while the background fluctuates, and more where the uncertainty of the neutrino flux, which more
exposure does not reduce, is what hides the signal (arXiv:2109.03116).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jcevns.fit.roots import find_roots
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood
from jcevns.statistics.calibration import null_value
from jcevns.statistics.hypothesis import Hypothesis, hypothesis
from jcevns.statistics.projections import SCALES, asimov_significance, scaled

__all__ = ["DiscoveryLimits", "discovery_limit", "discovery_limits"]

_DECADES = 12  # above and below the typical size of the parameter
_PER_DECADE = 8
_STEP = 0.01  # of the logarithm of the exposure, for the index


@dataclasses.dataclass(frozen=True)
class DiscoveryLimits:
    """Discovery limits of one parameter against exposure.

    Attributes:
        name: of the parameter.
        unit: of its values.
        experiment: name of what was scaled.
        significance: median, in sigma, that the signal must reach.
        exposures: tonne-year, increasing.
        limits: smallest value that reaches it; infinite where none does within the bounds.
        indices: n = -(d ln limit / d ln exposure)^-1 (arXiv:2109.03116); NaN where the limit is infinite,
            infinite where it no longer falls.
        notes: what else must be known.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> recoil = np.linspace(0.2, 10.0, 99)
        >>> wimp = jc.TabulatedSpectrum(recoil, 200.0 * np.exp(-recoil / 0.7))
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", jc.StandardModel() + wimp)
        >>> found = jc.discovery_limits(likelihood, "strength", [10.0, 1000.0], background=0.1)
        >>> [round(limit, 3) for limit in found.limits], [round(n, 2) for n in found.indices]
        ([1.403, 0.274], [2.41, 2.57])
    """

    name: str
    unit: str
    experiment: str
    significance: float
    exposures: tuple[float, ...]
    limits: tuple[float, ...]
    indices: tuple[float, ...]
    notes: tuple[str, ...] = ()

    def where(self, index: float = 2.0) -> tuple[float, float] | None:
        """Exposure and limit at which the index first rises to a value; n = 2 marks the edge of the neutrino fog.

        Interpolated in the logarithms; None if it does not rise to it within the exposures.

        Args:
            index: n.
        """
        for i in range(len(self.exposures) - 1):
            low, high = self.indices[i], self.indices[i + 1]
            if low < index <= high:
                part = (index - low) / (high - low) if math.isfinite(high) else 0.5
                exposure, limit = (
                    math.exp((1 - part) * math.log(x[i]) + part * math.log(x[i + 1]))
                    for x in (self.exposures, self.limits)
                )
                return exposure, limit
        return None


def discovery_limit(
    likelihood: Likelihood | Experiments,
    name: str,
    significance: float = 3.0,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
) -> float:
    """Smallest value of a parameter, above that without signal, whose median significance reaches a given one.

    The median is that of Asimov data with nominal nuisances (arXiv:1007.1727); all that has a constraint is profiled.

    Args:
        likelihood: experiments, or a likelihood with a theory; the data do not matter.
        name: of a parameter with a value without signal, such as a strength, a flux or a coupling.
        significance: in sigma.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.

    Returns:
        The value in the unit of the parameter; infinite if none within its bounds reaches the significance.

    Raises:
        ValueError: a parameter without such a value, a significance that is not positive, an experiment in which any
            signal is significant because some bin expects nothing without it.
        RuntimeError: in single precision, or a fit without signal that is not valid.

    Example:
        >>> import jcevns as jc
        >>> ten = jc.scaled(jc.experiment("xenonnt-2024-s2"), exposure=10.0)
        >>> from jcevns.statistics.discovery_limits import discovery_limit
        >>> f"{discovery_limit(ten, 'flux'):.1e} cm^-2 s^-1"
        '5.0e+06 cm^-2 s^-1'
    """
    return _first(hypothesis(likelihood, name, at, profiled), _checked(significance))[0]


def discovery_limits(
    likelihood: Likelihood | Experiments,
    name: str,
    exposures: Sequence[float] | Float[np.ndarray, " exposure"],
    significance: float = 3.0,
    background: float = 1.0,
    sigma: float = 1.0,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    progress: Callable[[int], Any] = lambda done: None,
) -> DiscoveryLimits:
    """Discovery limits of an experiment scaled to other exposures, and the index of the neutrino fog.

    The index is a central difference of limits at exposures 1% lower and higher; one-sided at the ends of what an
    experiment may be scaled to.

    Args:
        likelihood: one experiment, or a likelihood of one with a theory; the data do not matter.
        name: of a parameter with a value without signal.
        exposures: tonne-year, increasing.
        significance: in sigma.
        background: factor on the background rates.
        sigma: factor on the widths of all normalisation nuisances but the shared ones; fluxes keep theirs.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        progress: called with the number of exposures done.

    Raises:
        ValueError: several experiments, exposures that do not increase; as `discovery_limit` and `scaled` do.
        RuntimeError: as `discovery_limit` does.

    Example:
        >>> import jcevns as jc
        >>> found = jc.discovery_limits("xenonnt-2024-s2", "flux", [10.0, 100.0])
        >>> [f"{limit:.1e}" for limit in found.limits]  # cm^-2 s^-1
        ['5.0e+06', '2.2e+06']
    """
    likelihood = as_likelihood(likelihood)
    if len(likelihood.experiments) != 1:
        raise ValueError(
            f"discovery limits are of one experiment scaled in exposure, not of {', '.join(likelihood.names)}: scale "
            "each with jcevns.scaled, and give the combination to discovery_limit"
        )
    (one,) = likelihood.experiments
    tested = np.asarray(exposures, float)
    if tested.ndim != 1 or not tested.size or np.any(np.diff(tested) <= 0):
        raise ValueError("discovery_limits: give one or more increasing exposures in tonne-year")
    _checked(significance)
    limits, indices, notes = [], [], []
    record = likelihood.parameters[name]
    for exposure in tested:
        ends = np.clip(exposure * np.exp([-_STEP, _STEP]), *SCALES)
        tests = []
        for place in (exposure, *ends):
            grown = scaled(one, float(place), background, sigma)
            grown = dataclasses.replace(grown, name=one.name)  # names by it stay as they are
            tests.append(hypothesis(Likelihood(grown, likelihood.theory), name, at, profiled))
        found, agains = zip(*(_first(here, significance) for here in tests), strict=True)
        here, again = tests[-1], agains[-1]
        record = here.record
        if again is not None:
            notes.append(
                f"at {exposure:g} tonne-year signals of {record.name} about {again:.4g} are less significant than "
                f"{significance:g} sigma again: they interfere with what is there without them"
            )
        low, high = (value - null_value(here) for value in found[1:])
        known = math.isfinite(low) and math.isfinite(high)
        slope = math.log(high / low) / math.log(ends[1] / ends[0]) if known else math.nan
        limits.append(found[0])
        indices.append(-1 / slope if slope < 0 else math.inf if math.isfinite(slope) else math.nan)
        progress(1)
    return DiscoveryLimits(
        record.name,
        record.unit,
        one.name,
        float(significance),
        tuple(map(float, tested)),
        tuple(limits),
        tuple(indices),
        tuple(notes),
    )


def _checked(significance: float) -> float:
    if not (math.isfinite(significance) and significance > 0):
        raise ValueError(f"significance {significance!r} must be a positive number of sigma, as 3.0")
    return float(significance)


def _first(here: Hypothesis, significance: float) -> tuple[float, float | None]:
    """Where the median significance first reaches a given one; a larger value where it is below again, if any."""
    null, record = null_value(here), here.record
    scale = here.strength.scale if here.strength is not None else record.scale or abs(record.default - null) or 1.0
    steps = scale * np.geomspace(10.0**-_DECADES, 10.0**_DECADES, 2 * _DECADES * _PER_DECADE + 1)
    values = null + steps
    values = np.append(values[values < record.upper], record.upper) if np.isfinite(record.upper) else values
    with np.errstate(over="ignore"):
        height = asimov_significance(here, values) - significance
    reached = np.flatnonzero(height >= 0)
    if not reached.size:
        if np.any(np.isnan(height)):
            raise RuntimeError(_invalid(here, values[np.isnan(height)][0]))
        return math.inf, None
    place = int(reached[0])
    if np.any(np.isnan(height[:place])):
        raise RuntimeError(_invalid(here, values[np.isnan(height)][0]))
    if place == 0:
        raise ValueError(
            f"{', '.join(here.likelihood.names)}: {here.name} = {values[0]:.3g} is significant already, some bin "
            "expects no event without signal: there is no asymptotic significance, give every bin a background"
        )

    def excess(offset: np.ndarray) -> np.ndarray:
        return asimov_significance(here, null + offset) - significance

    ends = values[[place - 1, place]] - null
    (found,) = find_roots(excess, ends[:1], ends[1:], height[[place - 1]], height[[place]])
    below = np.flatnonzero(height[place:] < 0)
    return float(null + found), float(values[place + below[0]]) if below.size else None


def _invalid(here: Hypothesis, value: float) -> str:
    return (
        f"the fit without signal to Asimov data at {here.name} = {value:.4g} is not valid: check the experiment's "
        "counts and backgrounds, or give the parameter closer bounds"
    )
