"""Theories as a user writes them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jcevns import Interaction, StandardModel, parameter


class Mine(Interaction):
    """Interference with a force of finite range: charge Q (1 + kappa strength/(1 + 2 m T/range^2))^2, and a square.

    Two parameters in the weights, one in the terms.
    """

    strength: jax.Array = parameter(0.5, lower=0.0, upper=5.0, label="$s$", null=0.0)
    kappa: jax.Array = parameter(1.0, lower=-3.0, upper=3.0, label=r"$\kappa$")
    range: jax.Array = parameter(
        5.0, unit="MeV", lower=0.1, upper=1e3, label="$r$ [MeV]", prior="log-uniform:0.1:1e3"
    )

    def weights(self):
        return jnp.stack([jnp.ones_like(self.strength), self.kappa * self.strength, self.strength**2])

    def terms(self, recoil, particle, flavour):
        model = StandardModel()
        whole = jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)
        reach = 1 / (1 + 2 * particle.mass * recoil / self.range**2)
        return jnp.stack([whole, 2 * reach * whole, reach**2 * whole])


class Badly(Interaction):
    """A parameter with the name of a variable of every scan."""

    valid: jax.Array = parameter(1.0, lower=0.0)

    def dsigma_dT(self, energy, recoil, particle, flavour):
        return self.valid * StandardModel().dsigma_dT(energy, recoil, particle, flavour)


class Constrained(Interaction):
    """A strength times a factor known to 20%."""

    strength: jax.Array = parameter(1.0, lower=0.0, upper=5.0)
    quenching: jax.Array = parameter(1.0, lower=0.0, sigma=0.2)

    def weights(self):
        return (0.5 + 0.5 * self.strength * self.quenching)[None]

    def terms(self, recoil, particle, flavour):
        model = StandardModel()
        return jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)[None]


class Twin(Interaction):
    """Two strengths of which the data see the sum alone."""

    one: jax.Array = parameter(0.5, lower=0.0, upper=5.0)
    two: jax.Array = parameter(0.5, lower=0.0, upper=5.0)

    def weights(self):
        return (self.one + self.two)[None]

    def terms(self, recoil, particle, flavour):
        model = StandardModel()
        return jnp.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)[None]
