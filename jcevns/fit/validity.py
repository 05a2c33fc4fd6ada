"""What a result must pass before it says valid: every check in one place, each with its remedy.

A result carries `problems`, in words, and is valid without any. A point of a batch has no room for words: its flag is
the first check alone, an estimated distance to the minimum below that of `tolerances`, a Hessian that is positive
definite, and a finite chi2.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jcevns.fit.curve import Survey
from jcevns.fit.segments import Segment
from jcevns.likelihood.likelihood import Likelihood, component_counts

__all__ = [
    "EDM_GOAL",
    "minimum_problems",
    "profile_problems",
    "require_effect",
    "require_toys",
    "require_valid",
    "tolerances",
]

EDM_GOAL = 1e-7
"""Estimated distance to the minimum in chi2 below which a fit of several parameters has reached it."""

_LOST = 1e-3  # part of toys without a valid fit, up to which the others stand for all
_BELOW = 1e-4  # of chi2, that a profile may fall below the minimum


def tolerances(dtype: jnp.dtype) -> tuple[float, float]:
    """EDM over the nuisances at which the last step is taken (it squares the error), and limit of validity."""
    return (1e-9, 1e-8) if jnp.finfo(dtype).bits == 64 else (1e-6, 1e-4)


def minimum_problems(edm: float, names: Sequence[str], valid: bool) -> list[str]:
    """A minimum that was not reached, or that is none.

    Args:
        edm: estimated distance to the minimum; infinite where the Hessian is not positive definite.
        names: parameters that are not held by a bound.
        valid: all fits of the nuisances there are, and `edm` is below its goal.
    """
    if valid:
        return []
    if math.isfinite(edm) and edm >= EDM_GOAL:
        return [f"no minimum was reached (EDM {edm:.1e}, goal {EDM_GOAL:.0e}): try other starting values"]
    if math.isfinite(edm):
        return ["the nuisances have no valid fit at the minimum: check the counts and backgrounds of the experiment"]
    return [
        f"chi2 has no curvature in some direction of {' and '.join(names)}: the data cannot tell them apart, fix "
        "one, or keep a constraint (constrained=)"
    ]


def profile_problems(
    name: str, survey: Survey, level: float, segments: Sequence[Segment], ends_good: bool, lowest: float | None = None
) -> list[str]:
    """What is wrong with the accepted ranges of a profile.

    Args:
        name: of the parameter.
        survey: the profile.
        level: chi2 below which a value is accepted.
        segments: what is accepted.
        ends_good: the fits at its ends are valid.
        lowest: the minimum of a fit that the profile belongs to.
    """
    if not math.isfinite(level):
        return [f"no fit along {name} is valid: check the counts and backgrounds of the experiment"]
    found = []
    if not survey.resolved:
        found.append(f"the profile of {name} has structure finer than was searched: give the parameter closer bounds")
    if not ends_good:
        found.append(f"an end of the interval of {name} rests on a fit that is not valid: give it closer bounds")
    if not survey.harmless(level):
        found.append(
            f"fits along {name} fail where chi2 is not far above the minimum: give it bounds that leave them out"
        )
    # Where the search ends is no result: an end there is open, and None.
    ends = [end for pair in segments for end in pair if end is not None]
    if any(end <= survey.lower or end >= survey.upper for end in ends):
        found.append(
            f"an end of the interval of {name} is the end of the range that was searched: give it wider bounds"
        )
    if lowest is not None and survey.chi2_min < lowest - _BELOW:
        found.append(
            f"the profile of {name} falls {lowest - survey.chi2_min:.3g} below the minimum: it is a local one, fit "
            "again with a better start or fewer parameters"
        )
    return found


def require_effect(surveys: Sequence[Survey], likelihood: Likelihood, name: str) -> None:
    """Raise ValueError if chi2 does not depend on a parameter."""
    if not any(one.moves or not np.any(np.isfinite(one.chi2)) for one in surveys):
        raise ValueError(f"{', '.join(likelihood.names)}: chi2 does not depend on {name}, nothing to fit")


def require_valid(surveys: Sequence[Survey], likelihood: Likelihood, name: str) -> None:
    """Raise if no fit at all is valid: ValueError where a bin without expectation holds events, else RuntimeError."""
    if any(np.any(np.isfinite(one.chi2)) for one in surveys):
        return
    for one, parts in zip(likelihood.experiments, component_counts(likelihood).values(), strict=True):
        expected = np.sum([np.asarray(counts) for counts in parts.values()], axis=0)
        (bad,) = np.nonzero((expected <= 0) & (np.asarray(one.observed) > 0))
        if bad.size:
            raise ValueError(
                f"experiment {one.name!r}: bin {bad[0]} has {float(one.observed[bad[0]]):g} events, and nothing is "
                "expected in it: give it a background, or leave it out"
            )
    raise RuntimeError(
        f"no valid fit of {', '.join(likelihood.names)} along {name}: check the experiment's counts and backgrounds"
    )


def require_toys(invalid: int, toys: int, where: str) -> None:
    """Raise RuntimeError if more toys have no valid fit than the others can stand for, one in a thousand."""
    if invalid > _LOST * toys:
        raise RuntimeError(f"{invalid} of {toys} toys at {where} have no valid fit: cannot calibrate")
