"""Elastic neutrino-electron scattering: targets of electrons, and what its cross sections are made of.

Energies in MeV, cross sections in MeV^-3, as for nuclei. With g_V and g_A of a neutrino on an electron,
dsigma/dT = G_F^2 m_e/(2 pi) [(g_V + g_A)^2 + (g_V - g_A)^2 (1 - T/E)^2 - (g_V^2 - g_A^2) m_e T/E^2]
(Vogel and Engel, PRD 39, 3378); g_A changes sign for antineutrinos. Again a polynomial in 1/E of degree two.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns import datasets
from jcevns.constants import AVOGADRO, ELECTRON_MASS, FERMI_CONSTANT, SIN2_THETA_W
from jcevns.precision import as_float_array
from jcevns.spelling import unknown

__all__ = [
    "Electron",
    "ElectronTarget",
    "bilinear",
    "cesium_iodide_electrons",
    "electron_propagator",
    "electrons_of",
    "germanium_electrons",
    "standard_charges",
    "xenon_electrons",
]

RADIATIVE = {"e": (0.9521, 0.4938), "mu": (-0.0397, -0.5062), "tau": (-0.0353, -0.5062)}
"""(g_V, g_A) with radiative corrections at low energy, as used in arXiv:2207.05036."""

BINDING = ("steps", "rrpa", "free")


class Electron(eqx.Module):
    """A free electron, as what a neutrino scatters off.

    Attributes:
        mass: MeV.

    Example:
        >>> import jcevns as jc
        >>> round(float(jc.physics.Electron().mass), 3)  # MeV
        0.511
    """

    mass: Float[Array, ""] = eqx.field(converter=as_float_array, default=ELECTRON_MASS)

    def __getattr__(self, name: str) -> Any:
        if name in _NUCLEAR:
            raise AttributeError(
                f"an electron has no {name}: a theory of nuclei alone fits experiments that see nuclei alone, as "
                "coherent-csi-2021:electrons=no; else ask isinstance(particle, jcevns.physics.Electron)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_NUCLEAR = ("Z", "A", "N", "spin", "multipoles")


class ElectronTarget(eqx.Module):
    """Electrons of a material: a shell takes part where the recoil energy exceeds its binding energy.

    Attributes:
        binding_keV: binding energy of each shell.
        electrons: electrons in each shell of one atom.
        atoms_per_tonne: atoms.
        ratio_keV: recoil energies of a correction to the number of electrons.
        ratio: the correction, linear between, one outside.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> jc.physics.xenon_electrons().per_atom(jnp.array([3.0, 10.0, 40.0])).tolist()  # at 3, 10, 40 keV
        [44.0, 52.0, 54.0]
    """

    binding_keV: Float[Array, " shell"] = eqx.field(converter=as_float_array)
    electrons: Float[Array, " shell"] = eqx.field(converter=as_float_array)
    atoms_per_tonne: Float[Array, ""] = eqx.field(converter=as_float_array)
    ratio_keV: Float[Array, " node"] = eqx.field(converter=as_float_array, default=(0.0, 1.0))
    ratio: Float[Array, " node"] = eqx.field(converter=as_float_array, default=(1.0, 1.0))

    def __check_init__(self):
        for what, at, value in (
            ("electrons of its shells", self.binding_keV, self.electrons),
            ("ratio", self.ratio_keV, self.ratio),
        ):
            if eqx.is_array(at) and at.shape != value.shape:
                raise ValueError(f"electrons: {what} of shape {value.shape} for energies of shape {at.shape}")

    def per_atom(self, recoil_keV: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Z_eff(T), electrons per atom that can be knocked out with this recoil energy."""
        free = recoil_keV[..., None] > self.binding_keV
        corrected = jnp.interp(recoil_keV, self.ratio_keV, self.ratio, left=1.0, right=1.0)
        return jnp.sum(jnp.where(free, self.electrons, 0.0), axis=-1) * corrected


def xenon_electrons(binding: str = "steps") -> ElectronTarget:
    """Electrons of natural xenon.

    Args:
        binding: `steps` (a shell counts above its binding energy, default), `rrpa` (the steps times the ratio of
            the relativistic random-phase approximation to them, arXiv:1610.04177) or `free` (all 54).

    Raises:
        ValueError: unknown treatment.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> jc.physics.xenon_electrons("free").per_atom(jnp.array([3.0])).tolist()
        [54.0]
    """
    if binding not in BINDING:
        raise ValueError(unknown("treatment of bound electrons", binding, BINDING))
    shells, isotopes = datasets.read_table("xenon_shells"), datasets.read_table("xenon_isotopes")
    atoms = 1e6 * AVOGADRO / (isotopes["abundance"] * isotopes["atomic_mass_u"]).sum() * isotopes["abundance"].sum()
    energy = shells["binding_eV"] * (0.0 if binding == "free" else 1e-3)
    if binding != "rrpa":
        return ElectronTarget(energy, shells["electrons"].astype(float), float(atoms))
    table = datasets.read_table("xenon_rrpa_ratio")
    return ElectronTarget(
        energy, shells["electrons"].astype(float), float(atoms), table["recoil_keV"], table["ratio"]
    )


def cesium_iodide_electrons() -> ElectronTarget:
    """Electrons of CsI, in steps at the binding energies of both atoms (card `cesium_iodide_shells`).

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> jc.physics.cesium_iodide_electrons().per_atom(jnp.array([0.9, 3.0, 40.0])).tolist()  # per CsI
        [76.0, 88.0, 108.0]
    """
    shells, isotopes = datasets.read_table("cesium_iodide_shells"), datasets.read_table("cesium_iodide_isotopes")
    molecules = 1e6 * AVOGADRO / isotopes["atomic_mass_u"].sum()
    return ElectronTarget(shells["binding_eV"] * 1e-3, shells["electrons"].astype(float), float(molecules))


def germanium_electrons() -> ElectronTarget:
    """Electrons of germanium, in steps at their binding energies (card `germanium_shells`).

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> jc.physics.germanium_electrons().per_atom(jnp.array([0.15, 0.3, 1.45, 12.0])).tolist()
        [20.0, 22.0, 30.0, 32.0]
    """
    shells, isotopes = datasets.read_table("germanium_shells"), datasets.read_table("germanium_isotopes")
    atoms = 1e6 * AVOGADRO / (isotopes["abundance"] * isotopes["atomic_mass_u"]).sum()
    return ElectronTarget(shells["binding_eV"] * 1e-3, shells["electrons"].astype(float), float(atoms))


def electrons_of(Z: float, grams_per_mole: float) -> ElectronTarget:
    """Free electrons of any material, for recoils far above its binding energies.

    Args:
        Z: electrons per atom, or per molecule.
        grams_per_mole: of the same.

    Example:
        >>> import jcevns as jc
        >>> f"{float(jc.physics.electrons_of(108.0, 259.81).atoms_per_tonne):.4g}"  # CsI molecules per tonne
        '2.318e+27'
    """
    if not (1 <= Z <= 1e4 and 1 <= grams_per_mole <= 1e6):
        raise ValueError(
            f"Z {Z!r} and grams_per_mole {grams_per_mole!r} of an atom or a molecule must be positive, from 1 up, "
            "at most 1e4 and 1e6"
        )
    return ElectronTarget([0.0], [float(Z)], 1e6 * AVOGADRO / grams_per_mole)


def standard_charges(flavour: str, radiative: bool = True) -> tuple[tuple[float, float], tuple[float, float]]:
    """(g_V, g_A) of the Standard Model at sin2w = 0, and their slope in sin2w.

    Tree level is 2 sin2w +- 1/2 and +-1/2, above for nu_e. The corrected ones hold at the low-energy sin2w and
    follow it with the same slope.
    """
    family = flavour.removeprefix("anti-")
    if radiative:
        vector, axial = RADIATIVE[family]
        vector = vector - 2 * SIN2_THETA_W
    else:
        vector = axial = 0.5 if family == "e" else -0.5
    return (vector, -axial if flavour.startswith("anti-") else axial), (2.0, 0.0)


def bilinear(
    recoil: Float[Array, "*t"],
    a: tuple[Any, Any],
    b: tuple[Any, Any],
) -> Float[Array, "3 *t"]:
    """The cross section as a symmetric form in (g_V, g_A): itself for a = b, half of an interference term else."""
    strength = FERMI_CONSTANT**2 * ELECTRON_MASS / (2 * np.pi)
    left = (a[0] + a[1]) * (b[0] + b[1])
    right = (a[0] - a[1]) * (b[0] - b[1])
    mixed = a[0] * b[0] - a[1] * b[1]
    one = strength * jnp.ones_like(recoil)
    return jnp.stack(
        [
            one * (left + right),
            -2 * recoil * one * right,
            recoil * one * (recoil * right - ELECTRON_MASS * mixed),
        ]
    )


def electron_propagator(mass: Float[Array, ""], recoil: Float[Array, "*t"]) -> Float[Array, "*t"]:
    """D = m_a^2 + 2 m_e T in MeV^2."""
    return mass**2 + 2 * ELECTRON_MASS * recoil
