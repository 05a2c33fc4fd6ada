"""Detector response: a linear operator from dR/dT to counts per bin.

A response is a set of recoil energies and a matrix: counts = matrix @ dR/dT(energies). Quadrature weights,
efficiency and exposure are inside the matrix, so folding a theory is one small matrix-vector product.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.compiled import compiled
from jcevns.detectors.charge_yield import AbstractChargeYield, recoil_from_electrons
from jcevns.precision import as_float_array

__all__ = ["Response", "add_runs", "charge_response", "interpolated_response", "legendre_panels", "sum_cells"]


class Response(eqx.Module):
    """Linear operator on a recoil spectrum.

    Attributes:
        recoil_keV: energies at which dR/dT is needed, keV.
        matrix: counts per events/(tonne year keV), in tonne year keV; leading axes are the anchors of shape
            nuisances, if there are any.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> response = jc.detectors.Response(recoil_keV=[1.0, 2.0], matrix=[[0.5, 0.1], [0.0, 0.4]])
        >>> [round(n, 2) for n in response(jnp.array([10.0, 4.0])).tolist()]  # counts per bin
        [5.4, 1.6]
    """

    recoil_keV: Float[Array, " recoil"] = eqx.field(converter=as_float_array)
    matrix: Float[Array, "*anchor bin recoil"] = eqx.field(converter=as_float_array)

    def __check_init__(self):
        if isinstance(self.matrix, Tracer) or not eqx.is_array(self.matrix):
            return
        energies, matrix = self.recoil_keV.shape, self.matrix.shape
        if len(energies) != 1 or len(matrix) < 2 or matrix[-1] != energies[0]:
            raise ValueError(
                f"a response has a matrix of shape {matrix} for energies of shape {energies}: it must be (bins, "
                "energies), anchors of shape nuisances before them"
            )
        if not isinstance(self.recoil_keV, Tracer) and np.any(np.asarray(self.recoil_keV) < 0):
            raise ValueError("a response has a negative recoil energy (keV)")

    def __call__(self, rate: Float[Array, " recoil"]) -> Float[Array, "*anchor bin"]:
        """Counts per bin for dR/dT in events/(tonne year keV) at `recoil_keV`."""
        return self.matrix @ rate

    def times(self, factors: Float[Any, "*anchor #bin"] | float) -> "Response":
        """The same response with its counts multiplied, bin by bin."""
        if isinstance(self.matrix, Tracer) or isinstance(factors, Tracer):
            return Response(self.recoil_keV, jnp.asarray(factors)[..., None] * self.matrix)
        return Response(self.recoil_keV, np.asarray(factors)[..., None] * np.asarray(self.matrix))

    def seen_with(self, efficiency: tuple[Any, Any]) -> "Response":
        """The same response behind an efficiency: energies in keV and values, linear between, zero outside."""
        energy, value = (np.asarray(column, float) for column in efficiency)
        kept = np.interp(np.asarray(self.recoil_keV), energy, value, left=0.0, right=0.0)
        return Response(self.recoil_keV, np.asarray(self.matrix) * kept)


def legendre_panels(edges: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights between consecutive edges, shape (panel, order)."""
    x, w = np.polynomial.legendre.leggauss(order)
    half = np.diff(edges)[:, None] / 2
    return edges[:-1, None] + half * (1 + x), half * w


def sum_cells(
    values: Float[np.ndarray, "*row cell"], cells: Float[np.ndarray, " node"], edges: Float[np.ndarray, " edge"]
) -> Float[np.ndarray, "*row bin"]:
    """Sums of values per cell over the cells of each bin; `cells` are their edges, the bins' among them."""
    owner = np.searchsorted(edges, (cells[1:] + cells[:-1]) / 2) - 1
    return values @ (owner[:, None] == np.arange(len(edges) - 1))


def check_exposure(exposure: float) -> None:
    if not np.isfinite(exposure) or exposure <= 0:
        raise ValueError(f"exposure {exposure!r} must be positive, in tonne-year")


def interpolated_response(
    nodes_keV: np.ndarray, probability: np.ndarray, exposure: float, order: int = 2
) -> Response:
    """Response from tabulated probabilities, linear between nodes and zero outside them.

    Args:
        nodes_keV: increasing recoil energies in keV, shape (node,).
        probability: of a recoil at each node to be counted in each bin, shape (bin, node), efficiency included.
        exposure: tonne-year.
        order: Gauss-Legendre nodes between two table nodes; 2 is exact for a spectrum quadratic between them
            (1e-5 of the counts at worst, for a light mediator).

    Raises:
        ValueError: if energies do not increase, shapes differ, or a probability is outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> import jcevns as jc
        >>> response = jc.detectors.interpolated_response(np.array([1.0, 3.0]), np.array([[0.2, 0.8]]), exposure=2.0)
        >>> flat = jnp.full_like(response.recoil_keV, 10.0)  # events/(tonne year keV)
        >>> round(float(response(flat)[0]), 3)  # counts: 2 keV at a mean probability of 0.5, 2 tonne-year
        20.0
    """
    nodes_keV, probability = np.asarray(nodes_keV, float), np.asarray(probability, float)
    check_exposure(exposure)
    if nodes_keV.ndim != 1 or nodes_keV.size < 2 or not (np.all(np.diff(nodes_keV) > 0) and nodes_keV[0] >= 0):
        raise ValueError("response energies must be at least two, increase and not be negative (keV)")
    if probability.ndim != 2 or probability.shape[1] != nodes_keV.size:
        raise ValueError(f"response has shape {probability.shape}, expected (bins, {nodes_keV.size} energies)")
    if not np.all((probability >= 0) & (probability.sum(axis=0) <= 1 + 1e-6)):
        raise ValueError("response entries are probabilities: none negative or NaN, no energy above 1 in all")
    energy, weight = legendre_panels(nodes_keV, order)
    fraction = (energy - nodes_keV[:-1, None]) / np.diff(nodes_keV)[:, None]
    value = probability[:, :-1, None] * (1 - fraction) + probability[:, 1:, None] * fraction
    return Response(energy.ravel(), exposure * (value * weight).reshape(len(probability), -1))


def charge_response(
    charge_yield: AbstractChargeYield,
    edges_electrons: Sequence[float] | np.ndarray,
    exposure: float,
    efficiency: tuple[np.ndarray, np.ndarray] | None = None,
    panels: int | None = None,
    order: int = 4,
) -> Response:
    """Response without resolution: N_e = T Q_y(T) sorted into bins of electrons.

    Eqs. 12-15 of arXiv:2411.11749: the bin is integrated in N_e with the Jacobian dT/dN_e. Differentiable in
    the parameters of the charge yield; the bin edges in T move with them.

    Args:
        charge_yield: Q_y(T).
        edges_electrons: bin edges in electrons (for S2 in PE, divide by g2), increasing and positive.
        exposure: tonne-year.
        efficiency: recoil energies in keV and acceptance there, linear between, zero outside; None for one.
        panels: Gauss-Legendre panels per bin; by default 1, or 16 with an efficiency, which has kinks at its nodes.
            The error of the defaults is below 1e-9 and 1e-4 of a bin.
        order: nodes per panel.

    Raises:
        ValueError: if edges do not increase or are not positive, or the exposure is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> response = jc.detectors.charge_response(jc.detectors.NestChargeYield(), [4.0, 6.0, 8.0], exposure=1.0)
        >>> flat = jnp.full_like(response.recoil_keV, 10.0)  # events/(tonne year keV)
        >>> [round(n, 2) for n in response(flat).tolist()]  # counts per bin of electrons
        [2.58, 2.71]
    """
    edges = np.asarray(edges_electrons, float)
    check_exposure(exposure)
    if edges.ndim != 1 or edges.size < 2 or not (np.all(np.diff(edges) > 0) and edges[0] > 0):
        raise ValueError("bin edges must be at least two, increase and be positive (electrons)")
    if efficiency is not None:
        energy, acceptance = (np.asarray(column, float) for column in efficiency)
        if energy.shape != acceptance.shape or energy.size < 2 or not np.all(np.diff(energy) > 0):
            raise ValueError("efficiency: energies must be at least two and increase (keV)")
        if not np.all((acceptance >= 0) & (acceptance <= 1)):
            raise ValueError("efficiency: values must be between 0 and 1")
    bins = edges.size - 1
    if panels is None:
        panels = 1 if efficiency is None else 16
    fine = np.concatenate([np.linspace(a, b, panels + 1)[:-1] for a, b in itertools.pairwise(edges)])
    number, weight = legendre_panels(np.append(fine, edges[-1]), order)
    owner = np.repeat(np.eye(bins), panels * order, axis=1)
    return _charge_operator(
        charge_yield,
        as_float_array(number.ravel()),
        as_float_array(exposure * weight.ravel() * owner),
        None if efficiency is None else (as_float_array(efficiency[0]), as_float_array(efficiency[1])),
    )


@compiled
def _charge_operator(charge_yield, number, weight, efficiency) -> Response:
    """Response at the recoil energies of `number` electrons, with weights (bin, number) in electrons."""
    recoil, jacobian = recoil_from_electrons(charge_yield, number)
    if efficiency is not None:
        jacobian = jacobian * jnp.interp(recoil, *efficiency, left=0.0, right=0.0)
    return Response(recoil, weight * jacobian)


def add_runs(responses: Sequence[Response]) -> Response:
    """One response for several runs counted in the same bins."""
    return Response(
        jnp.concatenate([r.recoil_keV for r in responses]),
        jnp.concatenate([r.matrix for r in responses], axis=1),
    )
