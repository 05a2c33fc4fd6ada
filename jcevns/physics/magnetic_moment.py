"""Magnetic moment of the neutrino."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import ELECTRON_MASS, FINE_STRUCTURE
from jcevns.physics.couplings import AbstractCoupled
from jcevns.physics.cross_sections import StandardModel
from jcevns.precision import as_float_array, optional_array

__all__ = ["MagneticMoment"]

UNIT = 1e-12  # mu_B


class MagneticMoment(AbstractCoupled):
    """Neutrino magnetic moment: photon exchange that flips the neutrino's chirality, without interference.

    pi alpha^2/m_e^2 (1/T - 1/E) (mu/mu_B)^2 on an electron, times Z^2 F(q^2)^2 on a nucleus
    (Vogel and Engel, PRD 39, 3378).

    Attributes:
        coupling: effective moment in 1e-12 mu_B, the same for all flavours unless charges say otherwise.
        standard_model: what it is added to.
        flavours: factors of the squared moment for (nu_e, nu_mu, nu_tau); universal (1, 1, 1) if absent.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> recoil, target = jnp.array([2.0]), jc.xenon_electrons()  # keV
        >>> new, old = (jc.recoil_spectrum(jc.MagneticMoment(mu), jc.solar(), target, recoil) for mu in (10.0, 0.0))
        >>> round(float(new[0] / old[0]), 2)  # a moment of 1e-11 mu_B at 2 keV
        2.95
    """

    coupling: Float[Array, ""] = eqx.field(converter=as_float_array, default=0.0)
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    def interference(self, recoil, nucleus):
        """All there is goes as the squared moment: coherent on the protons of a nucleus."""
        form = self.standard_model.form_factor(2 * nucleus.mass * recoil, nucleus)
        return (nucleus.Z * form) ** 2 * self.electron_interference(recoil, "e")

    def quadratic(self, recoil, nucleus):
        """None."""
        return jnp.zeros((3, *recoil.shape), recoil.dtype)

    def electron_interference(self, recoil, flavour):
        """All there is, per squared moment."""
        one = jnp.full_like(recoil, np.pi * (FINE_STRUCTURE * UNIT / ELECTRON_MASS) ** 2)
        return jnp.stack([one / recoil, -one, jnp.zeros_like(one)])

    def electron_quadratic(self, recoil, flavour):
        """None."""
        return jnp.zeros((3, *recoil.shape), recoil.dtype)
