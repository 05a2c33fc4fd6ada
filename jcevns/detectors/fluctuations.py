"""Response with a fluctuating number of electrons, behind the resolution of a single one."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jcevns.detectors.charge_yield import AbstractChargeYield, recoil_from_electrons
from jcevns.detectors.response import Response, check_exposure, legendre_panels

__all__ = ["WORK_FUNCTION", "binomial_probability", "binomial_response"]

WORK_FUNCTION = 13.7e-3
"""keV per quantum of light or charge in liquid xenon (NEST, arXiv:1106.1613)."""

_WIDTHS = 4.0  # of sqrt(N), half a standard deviation each, beyond the last bin
_PANELS = 3.0  # per unit of sqrt(N)


def binomial_probability(
    mean: Float[np.ndarray, " recoil"],
    quanta: Float[np.ndarray, " recoil"],
    edges: Float[np.ndarray, " edge"],
    resolution: float,
) -> Float[np.ndarray, "bin recoil"]:
    """Probability to be seen in each bin of electrons.

    Args:
        mean: number of electrons.
        quanta: of which each is an electron with probability mean/quanta; real numbers, for smoothness in energy.
        edges: of the bins, electrons.
        resolution: standard deviation of the signal of one electron, in units of its mean; that of N is sqrt(N)
            times as large.
    """
    from scipy.special import gammaln, ndtr, xlog1py, xlogy

    number = np.arange(1.0, np.ceil((np.sqrt(edges[-1]) + _WIDTHS) ** 2))[:, None]
    share = np.clip(mean / quanta, 0.0, 1.0)
    rest = np.maximum(quanta - number, 0.0)
    log = gammaln(quanta + 1) - gammaln(number + 1) - gammaln(rest + 1) + xlogy(number, share) + xlog1py(rest, -share)
    made = np.where(number <= quanta, np.exp(log), 0.0)
    seen = np.diff(ndtr((edges - number) / (resolution * np.sqrt(number))), axis=1)  # (number, bin)
    return seen.T @ made


def binomial_response(
    charge_yield: AbstractChargeYield,
    edges_electrons: Sequence[float] | np.ndarray,
    exposure: float,
    resolution: float,
    work_function: float = WORK_FUNCTION,
    order: int = 4,
) -> Response:
    """Response of a charge signal: N_e electrons are a binomial share of the quanta of a recoil, T Q_y(T) on average.

    At most T/W quanta become electrons, each with probability Q_y W. `charge_response` is the same without
    fluctuations: there no recoil below the energy of the first bin is seen. Full efficiency.

    Args:
        charge_yield: Q_y(T).
        edges_electrons: bin edges in electrons, increasing and positive.
        exposure: tonne-year.
        resolution: relative standard deviation of the signal of one electron, positive.
        work_function: W, keV per quantum.
        order: Gauss-Legendre nodes of each panel; the error of the default is below 1e-6 of a bin.

    Raises:
        ValueError: edges that do not increase, a resolution, work function or exposure that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> response = jc.detectors.binomial_response(jc.detectors.NestChargeYield(), [4.0, 6.0, 8.0], 1.0, 0.27)
        >>> flat = jnp.full_like(response.recoil_keV, 10.0)  # events/(tonne year keV)
        >>> [round(n, 2) for n in response(flat).tolist()]  # counts per bin of electrons
        [2.64, 2.75]
    """
    edges = np.asarray(edges_electrons, float)
    check_exposure(exposure)
    if edges.ndim != 1 or edges.size < 2 or not (np.all(np.diff(edges) > 0) and edges[0] > 0):
        raise ValueError("bin edges must be at least two, increase and be positive (electrons)")
    for what, value in (("resolution", resolution), ("work function", work_function)):
        if not 0 < value < np.inf:
            raise ValueError(f"binomial response: {what} {value!r} must be positive and finite")
    top = np.sqrt(edges[-1]) + _WIDTHS
    root, weight = (x.ravel() for x in legendre_panels(np.linspace(0.0, top, int(np.ceil(_PANELS * top)) + 1), order))
    mean = root**2
    recoil, jacobian = (np.asarray(x) for x in recoil_from_electrons(charge_yield, jnp.asarray(mean)))
    probability = binomial_probability(mean, recoil / work_function, edges, resolution)
    return Response(recoil, probability * (exposure * 2 * root * weight * jacobian))
