"""Results of statistics by toys: significance, coverage, intervals, goodness of fit."""

import dataclasses

from jcevns.export import Exported
from jcevns.fit.segments import Accepted, Segment

__all__ = ["Coverage", "Discovery", "FitQuality", "ToyInterval"]


@dataclasses.dataclass(frozen=True)
class Discovery(Exported):
    """Significance of a signal.

    Attributes:
        name: of the parameter.
        null: its value without signal.
        q0: Delta chi2 of no signal in the data; infinite if they are impossible without.
        asymptotic: sqrt(q0), in sigma.
        toys: number of valid toys without signal.
        invalid: number of the others.
        beyond: how many of the valid ones have a q0 at least as large.
        p_value: fraction beyond; None if there are none, but 0 exactly where the data are impossible without signal.
        p_error: its binomial error.
        calibrated: significance of the p-value in sigma, one-sided where the null value is a bound, else two-sided;
            0 where half of the toys or more lie beyond, None without a toy beyond, infinite where p is exactly 0.
    """

    name: str
    null: float
    q0: float
    asymptotic: float
    toys: int
    invalid: int
    beyond: int
    p_value: float | None
    p_error: float | None
    calibrated: float | None


@dataclasses.dataclass(frozen=True)
class Coverage(Exported):
    """How often an interval, or an upper limit, holds the truth.

    Attributes:
        truth: true value.
        cl: nominal level of Delta chi2 below `threshold`.
        threshold: Delta chi2, of an upper limit q-tilde: asymptotic, or from toys.
        coverage: fraction of toys whose interval holds the truth.
        error: binomial; with that of a threshold from toys.
        toys: number of valid toys.
        invalid: number of the others.
        censored: valid toys whose best fit is a bound of the parameter, or the end of what was searched.
    """

    truth: float
    cl: float
    threshold: float
    coverage: float
    error: float
    toys: int
    invalid: int
    censored: int


@dataclasses.dataclass(frozen=True)
class ToyInterval(Accepted):
    """Neyman interval with the likelihood-ratio ordering of Feldman and Cousins (arXiv:physics/9711021).

    Nuisances are profiled: at each value toys are drawn at the nuisances fitted to the data there.

    Attributes:
        name: of the parameter.
        unit: of its values.
        cl: confidence level.
        segments: all accepted ranges, ends interpolated; None for an end where the lowest or the highest value tested
            is inside.
        best_fit: of the data.
        values: tested.
        q: Delta chi2 of the data at each.
        critical: quantile of the toys' Delta chi2 there.
        asymptotic: Delta chi2 that would be used without toys.
        toys: per value.
        invalid: toys without a valid fit, of all values.
        censored: at each value, toys whose best fit is a bound of the parameter, or the end of what was searched.
    """

    name: str
    unit: str
    cl: float
    segments: tuple[Segment, ...]
    best_fit: float
    values: tuple[float, ...]
    q: tuple[float, ...]
    critical: tuple[float, ...]
    asymptotic: float
    toys: int
    invalid: int
    censored: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class FitQuality(Exported):
    """Goodness of fit by the saturated deviance.

    Attributes:
        deviance: chi2 of the data at the best fit.
        p_value: fraction of toys drawn at the best fit with at least this chi2.
        error: binomial.
        toys: number of valid toys.
        invalid: number of the others.
        naive: what a chi2 distribution would say, for comparison: with bins nearly empty it is wrong.
    """

    deviance: float
    p_value: float
    error: float
    toys: int
    invalid: int
    naive: float
