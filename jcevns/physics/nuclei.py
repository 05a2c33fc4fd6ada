"""Target nuclei: one nucleus, and a target as a mixture of isotopes."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns import datasets
from jcevns.constants import AVOGADRO
from jcevns.precision import as_float_array

__all__ = ["Nucleus", "SpinMultipoles", "Target", "argon", "cesium_iodide", "germanium", "mirror_sin2w", "xenon"]


class SpinMultipoles(eqx.Module):
    """Shell-model multipoles of the spin responses (card `spin_multipoles`); zero for a nucleus without spin.

    Attributes:
        oscillator: length b in fm.
        transverse: coefficients c_k of Sigma' for proton and neutron, by multipole.
        longitudinal: the same of Sigma''.
    """

    oscillator: Float[Array, "*isotope"]
    transverse: Float[Array, "*isotope 2 multipole power"]
    longitudinal: Float[Array, "*isotope 2 multipole power"]


def _no_spin() -> SpinMultipoles:
    return SpinMultipoles(jnp.asarray(1.0), jnp.zeros((2, 1, 1)), jnp.zeros((2, 1, 1)))


class Nucleus(eqx.Module):
    """Numbers of one nucleus, or of several along a leading axis.

    Attributes:
        Z: proton number.
        A: mass number.
        mass: nuclear mass in MeV.
        spin: total angular momentum J of the ground state.
        multipoles: of the spin responses.

    Example:
        >>> import jcevns as jc
        >>> xe132 = jc.physics.Nucleus(Z=54, A=132, mass=122840.3, spin=0)
        >>> float(xe132.N)
        78.0
    """

    Z: Float[Array, "*isotope"] = eqx.field(converter=as_float_array)
    A: Float[Array, "*isotope"] = eqx.field(converter=as_float_array)
    mass: Float[Array, "*isotope"] = eqx.field(converter=as_float_array)
    spin: Float[Array, "*isotope"] = eqx.field(converter=as_float_array)
    multipoles: SpinMultipoles = eqx.field(default_factory=_no_spin)

    def __check_init__(self):
        columns = (self.Z, self.A, self.mass, self.spin)
        if any(isinstance(column, Tracer) or not eqx.is_array(column) for column in columns):
            return
        if len({column.shape for column in columns}) > 1:
            shapes = ", ".join(str(column.shape) for column in columns)
            raise ValueError(f"nuclei: Z, A, mass and spin have shapes {shapes}, one number of each per nucleus")
        Z, A, mass, spin = map(np.asarray, columns)
        if not np.all((Z > 0) & (A >= Z) & (mass > 0) & (spin >= 0) & np.isfinite(Z + A + mass + spin)):
            raise ValueError(
                f"nuclei: Z {Z}, A {A}, mass {mass}, spin {spin} must be finite, with 0 < Z <= A, mass in MeV "
                "above 0 and spin not negative"
            )

    @property
    def N(self) -> Float[Array, "*isotope"]:
        """Neutron number."""
        return self.A - self.Z


class Target(eqx.Module):
    """Isotopic mixture: stacked nuclei and the atoms of each per tonne.

    Attributes:
        nuclei: the isotopes, stacked along the axis `isotope`.
        atoms_per_tonne: number of atoms of each isotope in a tonne of target.
        names: label of each isotope.

    Example:
        >>> import jcevns as jc
        >>> target = jc.physics.xenon()
        >>> target.names[target.nuclei.spin.argmax()]
        '131Xe'
        >>> f"{target.atoms_per_tonne.sum():.3e}"
        '4.587e+27'
    """

    nuclei: Nucleus
    atoms_per_tonne: Float[Array, " isotope"] = eqx.field(converter=as_float_array)
    names: tuple[str, ...] = eqx.field(static=True)

    def __check_init__(self):
        if isinstance(self.atoms_per_tonne, Tracer) or not eqx.is_array(self.atoms_per_tonne):
            return
        size = (len(self.names),)
        for what, column in (("atoms_per_tonne", self.atoms_per_tonne), ("nuclei", self.nuclei.Z)):
            if column.shape != size:
                raise ValueError(
                    f"target {self.names}: {what} of shape {column.shape}, expected {size}, one per name"
                )
        atoms = np.asarray(self.atoms_per_tonne)
        if not np.all(np.isfinite(atoms) & (atoms >= 0)) or not np.any(atoms > 0):
            raise ValueError(
                f"target {self.names}: atoms_per_tonne {atoms} must be finite, not negative, not all zero"
            )


def target_from_isotopes(names, Z, A, mass, spin, abundance, atomic_mass_u) -> Target:
    """Target from columns, one entry per isotope.

    Args:
        names: isotope labels.
        Z: proton numbers.
        A: mass numbers.
        mass: nuclear masses in MeV.
        spin: ground-state spins.
        abundance: mole fractions; must sum to one within 1e-4.
        atomic_mass_u: atomic masses in u, which fix the atoms per tonne.

    Raises:
        ValueError: if the abundances do not sum to one or a mass is not positive.
    """
    abundance = np.asarray(abundance, float)
    atomic_mass_u = np.asarray(atomic_mass_u, float)
    if not np.isclose(abundance.sum(), 1.0, atol=1e-4):
        raise ValueError(f"isotope abundances sum to {abundance.sum():.6g}, expected 1: give mole fractions")
    if np.any(np.asarray(mass) <= 0) or np.any(atomic_mass_u <= 0):
        raise ValueError("isotope masses must be positive (MeV for nuclei, u for atoms)")
    grams_per_mole = (abundance * atomic_mass_u).sum()
    names = tuple(map(str, names))
    columns = (as_float_array(np.asarray(x, float)) for x in (Z, A, mass, spin))
    nuclei = Nucleus(*columns, multipoles=_multipoles(names))
    atoms = abundance * (1e6 * AVOGADRO / grams_per_mole)
    return Target(nuclei, as_float_array(atoms), names)


def _multipoles(names: tuple[str, ...]) -> SpinMultipoles:
    """Tabulated multipoles of the isotopes, stacked; zeros for those without."""
    table = datasets.read_table("spin_multipoles")
    orders = sorted(set(table["L"]))
    powers = sum(name.startswith("c") for name in table)
    oscillator = np.ones(len(names))
    arrays = {kind: np.zeros((len(names), 2, len(orders), powers)) for kind in ("transverse", "longitudinal")}
    for row, isotope in enumerate(table["isotope"]):
        if str(isotope) not in names:
            continue
        i = names.index(str(isotope))
        nucleon = ("proton", "neutron").index(str(table["nucleon"][row]))
        oscillator[i] = table["oscillator_fm"][row]
        series = [table[f"c{k}"][row] for k in range(powers)]
        arrays[str(table["response"][row])][i, nucleon, orders.index(table["L"][row])] = series
    return SpinMultipoles(*(as_float_array(x) for x in (oscillator, arrays["transverse"], arrays["longitudinal"])))


def xenon() -> Target:
    """Natural xenon, nine isotopes (card `xenon_isotopes`).

    Example:
        >>> import jcevns as jc
        >>> target = jc.physics.xenon()
        >>> target.names
        ('124Xe', '126Xe', '128Xe', '129Xe', '130Xe', '131Xe', '132Xe', '134Xe', '136Xe')
        >>> f"{target.atoms_per_tonne.sum():.3e}"
        '4.587e+27'
    """
    return _tabulated("xenon_isotopes")


def cesium_iodide() -> Target:
    """CsI: 133Cs and 127I (card `cesium_iodide_isotopes`); the spin structure of 133Cs is a stand-in.

    Example:
        >>> import jcevns as jc
        >>> jc.physics.cesium_iodide().names
        ('133Cs', '127I')
    """
    return _tabulated("cesium_iodide_isotopes")


def argon() -> Target:
    """Natural argon (card `argon_isotopes`).

    Example:
        >>> import jcevns as jc
        >>> f"{jc.physics.argon().atoms_per_tonne.sum():.3e}"
        '1.508e+28'
    """
    return _tabulated("argon_isotopes")


def germanium() -> Target:
    """Natural germanium, five isotopes (card `germanium_isotopes`); nothing couples to the spin of 73Ge.

    Example:
        >>> import jcevns as jc
        >>> target = jc.physics.germanium()
        >>> target.names
        ('70Ge', '72Ge', '73Ge', '74Ge', '76Ge')
        >>> f"{target.atoms_per_tonne.sum():.3e}"
        '8.292e+27'
    """
    return _tabulated("germanium_isotopes")


def _tabulated(card: str) -> Target:
    table = datasets.read_table(card)
    return target_from_isotopes(
        table["isotope"],
        table["Z"],
        table["A"],
        table["nuclear_mass_MeV"],
        table["spin"],
        table["abundance"],
        table["atomic_mass_u"],
    )


def mirror_sin2w(target: Target) -> float:
    """sin^2(theta_W) at which the mean weak charge of a target vanishes: -0.108 on xenon, -0.056 on argon.

    The rate is even in Q_V, so every point below has a twin above with the same likelihood.
    """
    atoms, Z = np.asarray(target.atoms_per_tonne), np.asarray(target.nuclei.Z)
    neutrons = np.asarray(target.nuclei.A) - Z
    return float((1.0 - (atoms * neutrons).sum() / (atoms * Z).sum()) / 4.0)
