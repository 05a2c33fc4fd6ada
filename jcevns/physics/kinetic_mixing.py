"""Kinetic mixing of a new vector boson with the photon through loops of charged leptons."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import ELECTRON_MASS, FINE_STRUCTURE, MUON_MASS, TAU_MASS

__all__ = ["loop_charge"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_U = (1 + _NODES) / 2
_X = _U**2 / 2  # half of the Feynman parameter, symmetric about 1/2; dense where a light lepton's logarithm bends
_SHARE = _X * (1 - _X) * _U * _WEIGHTS  # of 2 x (1 - x) dx, to be multiplied by 6: sums to 1/6


def loop_charge(charges: Float[Array, "3"], q2: Float[Array, "*t"]) -> Float[Array, "*t"]:
    """Charge that loops lend to a proton, in units of the coupling squared over the product of charges.

    -(alpha/3 pi) sum_l Q_l 6 int_0^1 dx x (1 - x) ln[(m_l^2 + x (1 - x) |q^2|)/m_tau^2], finite where the charges of
    e, mu and tau add up to zero; (alpha/3 pi) ln(m_tau^2/m_mu^2) for L_mu - L_tau at q^2 = 0 (arXiv:2202.11002).
    An electron gets the opposite charge.

    Args:
        charges: of e, mu and tau.
        q2: momentum transfer squared |q^2| in MeV^2.
    """
    parameter = jnp.asarray(_X * (1 - _X), q2.dtype)
    total = jnp.zeros_like(q2)
    for charge, mass in zip(jnp.asarray(charges), (ELECTRON_MASS, MUON_MASS, TAU_MASS), strict=True):
        logarithm = jnp.log((mass / TAU_MASS) ** 2 + parameter * (q2 / TAU_MASS**2)[..., None])
        total = total + charge * (logarithm @ jnp.asarray(6 * _SHARE, q2.dtype))
    return -FINE_STRUCTURE / (3 * np.pi) * total
