"""Generalised interactions of neutrinos as contact terms: mediators far heavier than any momentum."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import FERMI_CONSTANT
from jcevns.parameters import parameter
from jcevns.physics.mediators import AxialVectorMediator, ScalarMediator, TensorMediator, VectorMediator
from jcevns.physics.new_physics import NewPhysics
from jcevns.physics.standard_model import NuclearCharge, StandardModel

__all__ = ["ContactInteractions"]

# 2 m T is 1e-12 of the square of this: a contact term to all digits, in single precision too.
_HEAVY = 1e8  # MeV
_UNIT = FERMI_CONSTANT / np.sqrt(2.0).item() * _HEAVY**2
"""g^2 of a mediator of that mass for a coefficient of one: g^2/m^2 = G_F C/sqrt2."""


def _coefficient(kind: str) -> Any:
    return parameter(0.0, label=f"$C_{kind}$", null=0.0, prior="uniform:-10:10")


class ContactInteractions(NewPhysics):
    """Contact terms (G_F/sqrt2) C_a (nu Gamma_a P_L nu)(f Gamma_a f), alike for all flavours, u, d and electrons.

    The light and the heavy regime are one formula: these are eqs. 5-8 of arXiv:2411.11749 where the mass is large,
    g_a^2/m_a^2 = G_F C_a/sqrt2, with the same nuclear charges and spin structure. The coefficient of a nucleus in
    eq. 4 is so C_V 3 A for vectors, and C_S times `ScalarMediator.charge` for scalars. C_V interferes with the
    Standard Model, on electrons C_A does too; the others count by their square, whatever their sign.

    Attributes:
        C_S: scalar coefficient of the quarks and the electron.
        C_V: vector; on xenon a positive one interferes destructively.
        C_A: axial vector.
        C_T: tensor.
        standard_model: what they are added to.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> counts = jc.signal_counts(xenonnt, jc.theory("ngi", C_V=0.01))
        >>> round(float(counts.sum()), 2)  # events, Standard Model included
        9.99
    """

    C_S: Float[Array, ""] = _coefficient("S")
    C_V: Float[Array, ""] = _coefficient("V")
    C_A: Float[Array, ""] = _coefficient("A")
    C_T: Float[Array, ""] = _coefficient("T")
    standard_model: StandardModel = eqx.field(default_factory=StandardModel)

    label = "ngi"

    def amplitudes(self):
        """C_V and C_A."""
        return [self.C_V, self.C_A]

    def shifts(self, recoil, particle, flavour):
        """Constant in the recoil energy but for the form factor."""
        found = []
        for kind in (VectorMediator, AxialVectorMediator):
            heavy = kind(mass=jnp.asarray(_HEAVY), coupling=jnp.ones(()), standard_model=self.standard_model)
            ((first, second),) = heavy.shifts(recoil, particle, flavour)
            first = NuclearCharge(*(_UNIT * x for x in first)) if isinstance(first, NuclearCharge) else _UNIT * first
            found.append((first, _UNIT * second))
        return found

    def strengths(self):
        """Squares of C_S, C_A, C_T."""
        return jnp.stack([self.C_S, self.C_A, self.C_T]) ** 2

    def additions(self, recoil, particle, flavour):
        """Of a scalar, of axial vectors on nuclei, of a tensor."""
        heavy = (
            kind(mass=jnp.asarray(_HEAVY), coupling=jnp.ones(()), standard_model=self.standard_model)
            for kind in (ScalarMediator, AxialVectorMediator, TensorMediator)
        )
        return _UNIT**2 * jnp.concatenate([one.additions(recoil, particle, flavour) for one in heavy])
