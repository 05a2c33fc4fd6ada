"""Charge yield: ionisation electrons per keV of nuclear recoil, and its inverse."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.precision import as_float_array

__all__ = [
    "AbstractChargeYield",
    "NestChargeYield",
    "PowerLawChargeYield",
    "TabulatedChargeYield",
    "electrons",
    "recoil_from_electrons",
]

_SEARCH_KEV = (1e-4, 1e4)
_BISECTIONS = 60


class AbstractChargeYield(eqx.Module):
    """A charge yield Q_y(T): electrons/keV for T in keV. T Q_y(T) must increase with T.

    Example:
        >>> import jcevns as jc
        >>> class Constant(jc.detectors.AbstractChargeYield):
        ...     def __call__(self, recoil_keV):
        ...         return 0.0 * recoil_keV + 7.0
        >>> response = jc.detectors.charge_response(Constant(), [7.0, 14.0], exposure=1.0)
        >>> round(float(response.matrix.sum()), 6)  # tonne year keV: 7 to 14 electrons are 1 to 2 keV
        1.0
    """

    @abc.abstractmethod
    def __call__(self, recoil_keV: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Electrons per keV."""


class NestChargeYield(AbstractChargeYield):
    """NEST v2 nuclear-recoil yield in closed form (arXiv:2211.10726), the curve of PandaX-4T's US2 window.

    Attributes:
        field: drift field in V/cm; PandaX-4T ran at 84-93 (arXiv:2407.10892).
        density: liquid density in g/cm^3.
        scale: amplitude of v in v = scale field^-0.0533 (density/2.9)^0.3.
        field_power: exponent of the field.
        offset: keV, in 1/sqrt(T + offset).
        knee: keV, below which the yield is cut off.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> round(float(jc.detectors.NestChargeYield()(jnp.asarray(1.0))), 3)  # electrons/keV at 1 keV
        6.606
    """

    field: Float[Array, ""] = eqx.field(converter=as_float_array, default=88.0)
    density: Float[Array, ""] = eqx.field(converter=as_float_array, default=2.862)
    scale: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.048)
    field_power: Float[Array, ""] = eqx.field(converter=as_float_array, default=-0.0533)
    offset: Float[Array, ""] = eqx.field(converter=as_float_array, default=12.6)
    knee: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.3)

    def __call__(self, recoil_keV):
        """(1 - 1/(1 + (T/knee)^2))/(v sqrt(T + offset))."""
        v = self.scale * self.field**self.field_power * (self.density / 2.9) ** 0.3
        x2 = (recoil_keV / self.knee) ** 2
        return x2 / (1 + x2) / (v * jnp.sqrt(recoil_keV + self.offset))


class PowerLawChargeYield(AbstractChargeYield):
    """Power law through two points.

    The default is a stand-in [inferred]: the only power law through the two points that footnote 3 of
    arXiv:2411.11749 implies for XENONnT, 120 and 500 PE at 0.97 and 5.10 keV with g2 = 16.9 PE/electron.

    Attributes:
        low_keV: energy of the first point.
        high_keV: energy of the second.
        low_yield: electrons/keV at the first.
        high_yield: electrons/keV at the second.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> round(float(jc.detectors.PowerLawChargeYield()(jnp.asarray(1.0))), 3)  # electrons/keV at 1 keV
        7.289
    """

    low_keV: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.97)
    high_keV: Float[Array, ""] = eqx.field(converter=as_float_array, default=5.10)
    low_yield: Float[Array, ""] = eqx.field(converter=as_float_array, default=120 / 16.9 / 0.97)
    high_yield: Float[Array, ""] = eqx.field(converter=as_float_array, default=500 / 16.9 / 5.10)

    def __call__(self, recoil_keV):
        """Interpolates log Q_y in log T."""
        slope = jnp.log(self.high_yield / self.low_yield) / jnp.log(self.high_keV / self.low_keV)
        return self.low_yield * jnp.exp(slope * jnp.log(recoil_keV / self.low_keV))


class TabulatedChargeYield(AbstractChargeYield):
    """Linear interpolation of a table, constant beyond its ends.

    Attributes:
        energy_keV: increasing nodes.
        values: electrons/keV at the nodes.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> charge_yield = jc.detectors.TabulatedChargeYield([0.5, 2.0], [6.0, 7.5])
        >>> round(float(charge_yield(jnp.asarray(1.0))), 3)  # electrons/keV at 1 keV
        6.5
    """

    energy_keV: Float[Array, " node"] = eqx.field(converter=as_float_array)
    values: Float[Array, " node"] = eqx.field(converter=as_float_array)

    def __check_init__(self):
        if isinstance(self.energy_keV, Tracer) or isinstance(self.values, Tracer):
            return
        energy, values = np.asarray(self.energy_keV), np.asarray(self.values)
        if energy.shape != values.shape or energy.size < 2 or not (np.all(np.diff(energy) > 0) and energy[0] >= 0):
            raise ValueError("charge_yield table: energies must be at least two, increase and not be negative (keV)")
        if not (np.all(values >= 0) and np.all(np.diff(energy * values) > 0)):
            raise ValueError("charge_yield table: electrons T Q_y(T) must be positive and increase with the energy")

    def __call__(self, recoil_keV):
        """Q_y by linear interpolation."""
        return jnp.interp(recoil_keV, self.energy_keV, self.values)


def electrons(charge_yield: AbstractChargeYield, recoil_keV: Float[Array, "*t"]) -> Float[Array, "*t"]:
    """Mean number of electrons N_e = T Q_y(T) (eq. 15 of arXiv:2411.11749)."""
    return recoil_keV * charge_yield(recoil_keV)


def _electrons_and_slope(charge_yield, recoil_keV):
    return jax.jvp(lambda t: electrons(charge_yield, t), (recoil_keV,), (jnp.ones_like(recoil_keV),))


def recoil_from_electrons(
    charge_yield: AbstractChargeYield, number: Float[Array, "*n"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Recoil energy that gives N_e electrons, and the Jacobian dT/dN_e of eq. 13 of arXiv:2411.11749.

    Differentiable in the parameters of the yield by the implicit function theorem.

    Args:
        charge_yield: the yield.
        number: electrons, above zero.

    Returns:
        T in keV and dT/dN_e = 1/(Q_y + T Q_y') in keV per electron.
    """
    low, high = (jnp.full_like(number, jnp.log(t)) for t in _SEARCH_KEV)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        below = electrons(charge_yield, jnp.exp(middle)) < number
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    root = jax.lax.stop_gradient(jnp.exp((low + high) / 2))
    # One Newton step from the root: its value is the root, its derivative that of the implicit function.
    value, slope = _electrons_and_slope(charge_yield, root)
    recoil = root - (value - number) / jax.lax.stop_gradient(slope)
    _, slope = _electrons_and_slope(charge_yield, recoil)
    return recoil, 1 / slope
