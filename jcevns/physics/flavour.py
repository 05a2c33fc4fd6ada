"""Scattering that may change flavour: charges that are matrices, and what the rate Tr[rho Q Q^dagger] is made of.

Q = sum_i X_i c_i with X_i a matrix in flavour, a function of the parameters, and c_i a charge of the target, a
function of the recoil energy. Weights are the matrices X_i X_k^dagger, terms the products c_i c_k.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Complex

from jcevns.physics import electrons
from jcevns.physics.electrons import Electron
from jcevns.physics.interaction import Interaction, moves_minimum_energy
from jcevns.physics.standard_model import NuclearCharge, StandardModel, bilinear_on_nuclei

__all__ = ["ChargeMatrices", "FlavourCharges", "standard_matrices"]

FAMILIES = ("e", "mu", "tau")


class ChargeMatrices(NamedTuple):
    """Charges of the neutrinos on a proton, a neutron (vector) and an electron (vector, axial): 3 x 3 each."""

    proton: Any
    neutron: Any
    vector: Any
    axial: Any


def _diagonal(values: Sequence[Any]) -> Complex[Array, "3 3"]:
    return jnp.diag(jnp.stack([jnp.asarray(v, float) for v in values])).astype(complex)


def standard_matrices(model: StandardModel) -> ChargeMatrices:
    """Charges of the Standard Model; on nuclei those of `StandardModel.nucleon_charges`."""
    nucleons = [model.nucleon_charges(family) for family in FAMILIES]
    own = [model.charges(Electron(), family)[:2] for family in FAMILIES]
    s = model.sin2w
    return ChargeMatrices(
        _diagonal([proton + s * slope for proton, slope, _ in nucleons]),
        _diagonal([neutron for _, _, neutron in nucleons]),
        _diagonal([zero[0] + s * slope[0] for zero, slope in own]),
        _diagonal([zero[1] + s * slope[1] for zero, slope in own]),
    )


def _pairs(count: int) -> list[tuple[int, int]]:
    return [(i, k) for i in range(count) for k in range(i, count)]


def _squares(matrices: Sequence[Array]) -> list[Array]:
    """X_i X_k^dagger, its hermitian part where i and k differ."""
    found = []
    for i, k in _pairs(len(matrices)):
        product = matrices[i] @ matrices[k].conj().T
        found.append(product if i == k else (product + product.conj().T) / 2)
    return found


class FlavourCharges(Interaction):
    """The Standard Model with all elastic scattering of several additions; charges may change flavour.

    Attributes:
        parts: `NewPhysics` whose charges add up.
        standard_model: what they are added to.
    """

    parts: tuple[Any, ...]
    standard_model: StandardModel

    def _elastic(self) -> list[Any]:
        return [part for part in self._plain() if not moves_minimum_energy(part)]

    def _plain(self) -> list[Any]:
        """Parts that shift the charges of each flavour by functions of the recoil energy."""
        return [part for part in self.parts if not part.mixes_flavours]

    def matrices(self) -> Complex[Array, "term 3 3"]:
        """Weights as matrices in flavour: of nuclei, of electrons, then of what does not interfere."""
        charges = [standard_matrices(self.standard_model)]
        charges += [part.charge_matrices() for part in self.parts if part.mixes_flavours]
        proton, neutron, vector, axial = (jnp.sum(jnp.stack(c), axis=0) for c in zip(*charges, strict=True))
        units = [jnp.diag(row).astype(complex) for row in jnp.eye(3)]
        shifting = [a.astype(complex) * unit for part in self._plain() for a in part.amplitudes() for unit in units]
        found = _squares([proton, neutron, *shifting]) + _squares([vector, axial, *shifting])
        found += [s * unit for part in self._elastic() for s in part.strengths().astype(complex) for unit in units]
        return jnp.stack(found)

    def weights(self):
        """Those of nu_e."""
        return self.matrices()[:, 0, 0].real

    def terms(self, recoil, particle, flavour):
        """Terms of `matrices`, the same for all flavours; antineutrinos have the opposite axial charge."""
        anti = isinstance(particle, Electron) and flavour.startswith("anti-")
        names = [f"anti-{f}" if anti else f for f in FAMILIES]
        shifts: list[tuple[Any, Any]] = []
        for part in self._plain():
            every = [part.shifts(recoil, particle, name) for name in names]
            shifts += [shift for own in zip(*every, strict=True) for shift in own]
        pairs = _pairs(2 + len(shifts))
        if isinstance(particle, Electron):
            charges = [(1.0, 0.0), (0.0, -1.0 if anti else 1.0), *shifts]
            forms = [(1 if i == k else 2) * electrons.bilinear(recoil, charges[i], charges[k]) for i, k in pairs]
            own = jnp.stack(forms)
        else:
            protons, neutrons = NuclearCharge(particle.Z, 0.0), NuclearCharge(0.0, particle.N)
            charges = [(protons, 0.0), (neutrons, 0.0), *shifts]
            own = bilinear_on_nuclei(
                self.standard_model.form_factor, [c for c, _ in charges], pairs, recoil, particle
            )
        rest = jnp.zeros_like(own)
        additions = [own, rest] if not isinstance(particle, Electron) else [rest, own]
        for part in self._elastic():
            every = jnp.stack([part.additions(recoil, particle, name) for name in names], axis=1)
            additions.append(every.reshape(-1, *every.shape[2:]))
        return jnp.concatenate(additions)

    def dsigma_dT(self, energy, recoil, particle, flavour="e"):
        """Of a neutrino of one flavour, whatever it becomes."""
        place = FAMILIES.index(flavour.removeprefix("anti-"))
        weights = self.matrices()[:, place, place].real
        return _Fixed(self, weights).dsigma_dT(energy, recoil, particle, flavour)


class _Fixed(Interaction):
    """Scattering with given weights."""

    inner: FlavourCharges
    given: Array

    def weights(self):
        return self.given

    def terms(self, recoil, particle, flavour):
        return self.inner.terms(recoil, particle, flavour)
