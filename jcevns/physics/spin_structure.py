"""Spin structure functions of nuclei from shell-model multipoles.

F_L(u) = exp(-u/2) sum_k c_k u^k with u = q^2 b^2/2, per multipole L and nucleon; Sigma' gives the transverse and
Sigma'' the longitudinal response (normalisation of Hoferichter, Menendez, Schwenk, arXiv:2007.08529).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jcevns.constants import HBAR_C
from jcevns.physics.nuclei import Nucleus, SpinMultipoles

__all__ = ["longitudinal_s00", "transverse_s00"]


def _s00(
    q2: Float[Array, "*t"], coefficients: Float[Array, "2 multipole power"], multipoles: SpinMultipoles
) -> Float[Array, "*t"]:
    """Sum over L of (F_p + F_n)^2 at q^2 in MeV^2."""
    u = q2 * (multipoles.oscillator**2 / (2 * HBAR_C**2))
    both = jnp.sum(coefficients, axis=0)
    total = jnp.zeros_like(u)
    for row in range(both.shape[0]):
        total = total + jnp.polyval(both[row, ::-1], u) ** 2
    return jnp.exp(-u) * total


def transverse_s00(q2: Float[Array, "*t"], nucleus: Nucleus) -> Float[Array, "*t"]:
    """S00_T of Sigma' at q^2 in MeV^2; zero for nuclei without spin."""
    return _s00(q2, nucleus.multipoles.transverse, nucleus.multipoles)


def longitudinal_s00(q2: Float[Array, "*t"], nucleus: Nucleus) -> Float[Array, "*t"]:
    """S00_L of Sigma'' at q^2 in MeV^2; half of S00_T at q = 0."""
    return _s00(q2, nucleus.multipoles.longitudinal, nucleus.multipoles)
