"""Mixing of three neutrinos in matter of constant density, with non-standard interactions.

Everything is 2 E times the Hamiltonian, in eV^2: M = U diag(0, dm2_21, dm2_31) U^dagger + A C, with
A = 2 sqrt2 G_F n_e E and C = diag(1, 0, 0) + eps^e + ... per electron. What is needed of the eigenvectors are
polynomials in M, so nothing depends on their phases, and derivatives exist wherever the eigenvalues differ.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from jcevns import datasets
from jcevns.constants import AVOGADRO, FERMI_CONSTANT, HBAR_C
from jcevns.parameters import Parameter
from jcevns.physics.potential import Spread, VectorPotential
from jcevns.precision import as_float_array
from jcevns.spelling import unknown

__all__ = [
    "MatterNSI",
    "OscillationParameters",
    "determinant",
    "hermitian",
    "mass_matrix",
    "matter_term",
    "mixing_matrix",
    "nufit60",
    "nufit60_errors",
    "traceless_eigenvalues",
]

_TABLE = "oscillation_parameters_nufit60"
_ORDERINGS = ("normal", "inverted")
_LEAST = 1e-15  # of p^3: below, two eigenvalues are equal but for rounding
_CM = 1e-13 * HBAR_C  # one cm^-1 in MeV

MATTER = 2 * np.sqrt(2) * FERMI_CONSTANT * AVOGADRO * _CM**3 * 1e12
"""2 sqrt2 G_F for one mole of electrons per cm^3 and 1 MeV: 1.526e-7 eV^2."""


def nufit60_errors(ordering: str = "normal") -> dict[str, tuple[float, float, float]]:
    """Best fit, upper and lower 1 sigma error of each oscillation parameter (card `oscillation_parameters_nufit60`).

    The errors of the angles are those of their sin^2. For the inverted ordering, dm2_31 = dm2_32 + dm2_21, with
    the error of dm2_32.

    Args:
        ordering: of the masses, `normal` or `inverted`.

    Returns:
        By field of `OscillationParameters`, in its units: radians and eV^2.

    Example:
        >>> import math
        >>> from jcevns.physics import nufit60_errors
        >>> [round(math.degrees(x), 2) for x in nufit60_errors()["theta12"]]
        [33.71, 0.74, 0.69]
    """
    if ordering not in _ORDERINGS:
        raise ValueError(unknown("mass ordering", ordering, _ORDERINGS))
    table = datasets.read_table(_TABLE)
    found: dict[str, tuple[float, float, float]] = {}
    for row in np.flatnonzero(table["ordering"] == ordering):
        name = str(table["parameter"][row])
        value, up, down = (float(table[key][row]) for key in ("value", "error_up", "error_down"))
        if name.startswith("sin2_"):
            angles = np.arcsin(np.sqrt([value, value + up, value - down]))
            found[name.removeprefix("sin2_")] = (
                float(angles[0]),
                float(angles[1] - angles[0]),
                float(angles[0] - angles[2]),
            )
        elif name == "delta_CP":
            found[name] = (float(np.radians(value)), float(np.radians(up)), float(np.radians(down)))
        elif name == "dm2_32":
            found["dm2_31"] = (value + found["dm2_21"][0], up, down)
        else:
            found[name] = (value, up, down)
    return found


def _best_fit(name: str) -> float:
    return nufit60_errors()[name][0]


def _constraint(name: str, targets: Any) -> dict[str, float]:
    """NuFIT's error, the mean of the two sides."""
    _, up, down = nufit60_errors()[name]
    return {"sigma": (up + down) / 2, "scale": (up + down) / 2}


def _field(name: str, unit: str, label: str, lower: float, upper: float) -> Any:
    """A field with its record; default and constraint are read when they are used: import reads no table."""
    record = Parameter(
        "",
        (lower + upper) / 2,
        unit=unit,
        lower=lower,
        upper=upper,
        label=label,
        still=True,
        adapt=partial(_constraint, name),
    )
    default = partial(_best_fit, name)
    return eqx.field(converter=as_float_array, default_factory=default, metadata={"record": record})


class OscillationParameters(eqx.Module):
    """Masses and mixing of three neutrinos; the defaults are NuFIT 6.0's for the normal ordering.

    Angles, not their sin^2: amplitudes are smooth in them where an angle vanishes.

    Attributes:
        theta12: rad.
        theta13: rad.
        theta23: rad.
        delta_CP: rad.
        dm2_21: m_2^2 - m_1^2 in eV^2, not negative: theta12 goes up to 90 degrees.
        dm2_31: m_3^2 - m_1^2 in eV^2; negative for the inverted ordering.

    Example:
        >>> from jcevns.physics import OscillationParameters
        >>> parameters = OscillationParameters(theta12=0.6)
        >>> round(float(parameters.theta12), 1), round(float(parameters.dm2_21), 7)
        (0.6, 7.49e-05)
    """

    theta12: Float[Array, ""] = _field("theta12", "rad", r"$\theta_{12}$", 0.0, np.pi / 2)
    theta13: Float[Array, ""] = _field("theta13", "rad", r"$\theta_{13}$", 0.0, np.pi / 2)
    theta23: Float[Array, ""] = _field("theta23", "rad", r"$\theta_{23}$", 0.0, np.pi / 2)
    delta_CP: Float[Array, ""] = _field("delta_CP", "rad", r"$\delta_{CP}$", -2 * np.pi, 4 * np.pi)
    dm2_21: Float[Array, ""] = _field("dm2_21", "eV^2", r"$\Delta m^2_{21}$ [eV$^2$]", 0.0, 1e-2)
    dm2_31: Float[Array, ""] = _field("dm2_31", "eV^2", r"$\Delta m^2_{31}$ [eV$^2$]", -1e-1, 1e-1)

    def __check_init__(self):
        concrete = isinstance(self.dm2_21, Tracer) or not eqx.is_array(self.dm2_21)
        if not concrete and np.any(np.asarray(self.dm2_21) < 0):
            raise ValueError(f"dm2_21 {self.dm2_21} must not be negative: take theta12 above 45 degrees instead")


def nufit60(ordering: str = "normal") -> OscillationParameters:
    """Best fit of NuFIT 6.0 for one mass ordering, `normal` or `inverted` (arXiv:2410.05380).

    Example:
        >>> from jcevns.physics import nufit60
        >>> round(float(nufit60("inverted").dm2_31), 6)  # eV^2
        -0.002409
    """
    values: dict[str, Any] = {name: found[0] for name, found in nufit60_errors(ordering).items()}
    return OscillationParameters(**values)


def hermitian(
    ee: Float[Array, ""] | float = 0.0,
    mumu: Float[Array, ""] | float = 0.0,
    tautau: Float[Array, ""] | float = 0.0,
    emu: Complex[Array, ""] | Float[Array, ""] | complex = 0.0,
    etau: Complex[Array, ""] | Float[Array, ""] | complex = 0.0,
    mutau: Complex[Array, ""] | Float[Array, ""] | complex = 0.0,
) -> Complex[Array, "3 3"]:
    """Matrix of couplings between flavours from its real diagonal and its upper triangle.

    Example:
        >>> from jcevns.physics import hermitian
        >>> complex(hermitian(emu=0.1j)[1, 0])
        -0.1j
    """
    a, b, c, d, e, f = (jnp.asarray(x).astype(complex) for x in (ee, mumu, tautau, emu, etau, mutau))
    return jnp.stack([a, d, e, d.conj(), b, f, e.conj(), f.conj(), c]).reshape(3, 3)


def _as_matrix(value: Any) -> Complex[Array, "3 3"]:
    return jnp.asarray(value).astype(complex)


def _no_coupling() -> Complex[np.ndarray, "3 3"]:
    return np.zeros((3, 3), complex)


class MatterNSI(eqx.Module):
    """Vector couplings of non-standard interactions with the matter that neutrinos cross.

    Normalised to sqrt2 G_F; rows and columns are e, mu, tau. Only eps of the forward amplitude enter: those of
    left- and right-handed fermions added.

    Attributes:
        electron: eps^e, hermitian, 3 x 3; zero if absent.
        up: eps^u.
        down: eps^d.
        vectors: potentials of light vector bosons beside them.

    Example:
        >>> from jcevns.physics import MatterNSI, hermitian
        >>> MatterNSI(up=hermitian(ee=0.1)).charges(0.5)[0, 0].real.item()  # 1 + 0.1 (2 + 0.5)
        1.25
    """

    electron: Complex[Array, "3 3"] = eqx.field(converter=_as_matrix, default_factory=_no_coupling)
    up: Complex[Array, "3 3"] = eqx.field(converter=_as_matrix, default_factory=_no_coupling)
    down: Complex[Array, "3 3"] = eqx.field(converter=_as_matrix, default_factory=_no_coupling)
    vectors: tuple[VectorPotential, ...] = ()

    def __check_init__(self):
        for name in ("electron", "up", "down"):
            given = getattr(self, name)
            if isinstance(given, Tracer) or not eqx.is_array(given):
                continue
            matrix = np.asarray(given)
            if not np.allclose(matrix, matrix.conj().swapaxes(-1, -2), rtol=0.0, atol=1e-12):
                raise ValueError(f"eps of {name} must be a hermitian matrix: build it with jc.physics.hermitian")

    def charges(
        self, neutrons_per_electron: Float[Array, "*n"] | float, spread: Spread | None = None
    ) -> Complex[Array, "*n 3 3"]:
        """Potential over sqrt2 G_F n_e in neutral matter: one proton per electron, and so many neutrons.

        Args:
            neutrons_per_electron: as said.
            spread: average over the range of light vector bosons; absent for short ones.
        """
        ratio = jnp.asarray(neutrons_per_electron).astype(complex)[..., None, None]
        standard = jnp.zeros((3, 3), complex).at[0, 0].set(1.0)
        total = standard + self.electron + (2 + ratio) * self.up + (1 + 2 * ratio) * self.down
        for one in self.vectors:
            total = total + one.charges(neutrons_per_electron, spread)
        return total


def mixing_matrix(parameters: OscillationParameters) -> Complex[Array, "3 3"]:
    """U, flavours in rows and masses in columns, in the convention of the PDG without Majorana phases.

    Example:
        >>> from jcevns.physics import mixing_matrix, nufit60
        >>> round(float(abs(mixing_matrix(nufit60())[0, 2]) ** 2), 5)  # sin^2 theta13
        0.02215
    """
    angles = (parameters.theta12, parameters.theta13, parameters.theta23)
    s12, s13, s23 = (jnp.sin(x).astype(complex) for x in angles)
    c12, c13, c23 = (jnp.cos(x).astype(complex) for x in angles)
    phase = jnp.exp(1j * parameters.delta_CP.astype(complex))
    rows = [
        [c12 * c13, s12 * c13, s13 * phase.conj()],
        [-s12 * c23 - c12 * s23 * s13 * phase, c12 * c23 - s12 * s23 * s13 * phase, s23 * c13],
        [s12 * s23 - c12 * c23 * s13 * phase, -c12 * s23 - s12 * c23 * s13 * phase, c23 * c13],
    ]
    return jnp.stack([jnp.stack(row) for row in rows])


def mass_matrix(parameters: OscillationParameters) -> Complex[Array, "3 3"]:
    """U diag(0, dm2_21, dm2_31) U^dagger in eV^2, 2 E times the Hamiltonian in vacuum."""
    mixing = mixing_matrix(parameters)
    squared = jnp.stack([jnp.zeros_like(parameters.dm2_21), parameters.dm2_21, parameters.dm2_31])
    return (mixing * squared.astype(complex)) @ mixing.conj().T


def matter_term(energy: Float[Array, "*#shape"], density: Float[Array, "*#shape"]) -> Float[Array, "..."]:
    """A = 2 sqrt2 G_F n_e E in eV^2.

    Args:
        energy: MeV.
        density: of electrons, in moles per cm^3.
    """
    return MATTER * energy * density


def determinant(m: Complex[Array, "*n 3 3"]) -> Float[Array, "*n"]:
    """Of hermitian 3 x 3 matrices; real."""
    a, b, c = (m[..., i, i].real for i in range(3))
    d, e, f = m[..., 0, 1], m[..., 0, 2], m[..., 1, 2]
    square = [x.real**2 + x.imag**2 for x in (d, e, f)]
    return a * b * c + 2 * (d * f * e.conj()).real - a * square[2] - b * square[1] - c * square[0]


def traceless_eigenvalues(
    squares: Float[Array, "*n"], determinant: Float[Array, "*n"]
) -> tuple[tuple[Float[Array, "*n"], ...], tuple[Float[Array, "*n"], ...]]:
    """Eigenvalues of a traceless hermitian 3 x 3 matrix, and their differences without cancellation.

    They are 2 sqrt(p) cos(phi + 2 pi k/3), k = 1, 2, 0, with p = Tr M^2 / 6 and cos 3 phi = det M / (2 p^1.5).
    Where two are equal but for rounding they are held apart by about 1e-8 of the largest, and their difference is
    constant.

    Args:
        squares: Tr M^2, positive.
        determinant: det M.

    Returns:
        Eigenvalues, ascending, and the differences (2 - 1, 3 - 2, 3 - 1).
    """
    p, q = squares / 6, determinant / 2
    apart = p**3 - q**2
    distinct = apart > _LEAST * p**3
    root = jnp.sqrt(jnp.where(distinct, apart, _LEAST * p**3))
    phi = jnp.arctan2(root, q) / 3
    size = 2 * jnp.sqrt(p)
    values = tuple(size * jnp.cos(phi + k) for k in (2 * np.pi / 3, -2 * np.pi / 3, 0.0))
    width = np.sqrt(3) * size
    return values, (width * jnp.sin(phi), width * jnp.sin(np.pi / 3 - phi), width * jnp.sin(np.pi / 3 + phi))
