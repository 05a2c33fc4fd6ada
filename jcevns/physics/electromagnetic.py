"""Electromagnetic properties of the neutrino."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.constants import ELECTRON_MASS, FINE_STRUCTURE
from jcevns.parameters import parameter
from jcevns.physics.electrons import Electron
from jcevns.physics.new_physics import NewPhysics, flavour_charge
from jcevns.physics.standard_model import StandardModel
from jcevns.precision import optional_array

__all__ = ["MagneticMoment"]

UNIT = 1e-12  # mu_B


class MagneticMoment(NewPhysics):
    """Neutrino magnetic moment: photon exchange that flips the neutrino's chirality, without interference.

    pi alpha^2/m_e^2 (1/T - 1/E) (mu/mu_B)^2 on an electron, times Z^2 F(q^2)^2 on a nucleus
    (Vogel and Engel, PRD 39, 3378).

    Attributes:
        moment: effective moment in 1e-12 mu_B, the same for all flavours unless charges say otherwise.
        standard_model: what it is added to.
        flavours: factors of the squared moment for (nu_e, nu_mu, nu_tau), not negative; (1, 1, 1) if absent.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> recoil, target = jnp.array([2.0]), jc.physics.xenon_electrons()  # keV
        >>> flux = jc.physics.solar()
        >>> new, old = (jc.physics.recoil_spectrum(jc.MagneticMoment(m), flux, target, recoil) for m in (10.0, 0.0))
        >>> round(float(new[0] / old[0]), 2)  # a moment of 1e-11 mu_B at 2 keV
        2.95
    """

    moment: Float[Array, ""] = parameter(
        0.0,
        unit="1e-12 mu_B",
        lower=0.0,
        label=r"$\mu_\nu$ [$10^{-12}\mu_B$]",
        null=0.0,
        note="effective moment of the neutrinos of the source, the same for all flavours unless told otherwise",
    )
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)
    flavours: Float[Array, "3"] | None = eqx.field(converter=optional_array, default=None)

    label = "magnetic-moment"

    def __check_init__(self):
        if self.flavours is None or isinstance(self.flavours, Tracer):
            return
        if not np.all(np.asarray(self.flavours) >= 0):
            raise ValueError(
                f"magnetic moment: flavours {np.asarray(self.flavours).tolist()} multiply squared moments, none may "
                "be negative"
            )

    def strengths(self):
        """The squared moment."""
        return self.moment[None] ** 2

    def additions(self, recoil, particle, flavour):
        """All there is, per squared moment: coherent on the protons of a nucleus."""
        one = jnp.full_like(recoil, np.pi * (FINE_STRUCTURE * UNIT / ELECTRON_MASS) ** 2)
        one = one * flavour_charge(self.flavours, flavour)
        if not isinstance(particle, Electron):
            form = self.standard_model.form_factor(2 * particle.mass * recoil, particle)
            one = one * (particle.Z * form) ** 2
        return jnp.stack([one / recoil, -one, jnp.zeros_like(one)])[None]
