"""Flavour of solar neutrinos: adiabatic conversion in the Sun, averaged over the region of production.

A neutrino produced at a given density leaves the Sun, and arrives at Earth, as an incoherent mixture of the mass
states: those that its matter eigenstates turn into.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jcevns import datasets
from jcevns.physics.oscillations import (
    MatterNSI,
    OscillationParameters,
    mass_matrix,
    matter_term,
    mixing_matrix,
    traceless_eigenvalues,
)
from jcevns.physics.potential import Spread, solar_spread
from jcevns.precision import as_float_array, require_x64
from jcevns.spelling import unknown

__all__ = [
    "ProductionRegion",
    "electron_content",
    "mass_fractions",
    "mass_projectors",
    "mixture",
    "production_region",
    "production_regions",
    "solar_density_matrix",
]


class ProductionRegion(eqx.Module):
    """Where neutrinos of one solar source are produced, as a few densities with weights.

    With a leading axis, one row for each energy: of several sources at once.

    Attributes:
        density: of electrons, in moles per cm^3.
        neutrons_per_electron: at these densities.
        weight: share of the production; they add up to one.
        radius: in units of the Sun's, one row after the other; if absent, bosons have a short range.

    Example:
        >>> from jcevns.physics import ProductionRegion
        >>> ProductionRegion([100.0], [0.5], [1.0]).density.shape  # the centre of the Sun
        (1,)
    """

    density: Float[Array, "*energy node"] = eqx.field(converter=as_float_array)
    neutrons_per_electron: Float[Array, "*energy node"] = eqx.field(converter=as_float_array)
    weight: Float[Array, "*energy node"] = eqx.field(converter=as_float_array)
    radius: tuple[float, ...] | None = eqx.field(static=True, default=None)

    @property
    def spread(self) -> Spread | None:
        """Average of densities over the range of a boson."""
        return None if self.radius is None else solar_spread(self.radius, self.density.shape)


def production_region(source: str, nodes: int | None = 8) -> ProductionRegion:
    """Region of production in the B16-GS98 model (arXiv:1611.09867), with the composition of its successor B23.

    Only the local density matters, so the average over the radius is one over the density, and a Gauss quadrature
    for just this weight takes few nodes: 8 agree with all thousand shells within 1e-6 in P_ee (2e-5
    with interactions of quarks, for the rounded densities of the model).

    Args:
        source: pp, pep, hep, be7, b8, n13, o15 or f17.
        nodes: of the quadrature; None for every shell of the model.

    Example:
        >>> from jcevns.physics import production_region
        >>> region = production_region("b8")
        >>> round(float((region.weight * region.density).sum()), 1)  # mean density of electrons, in moles per cm^3
        87.9
    """
    table = datasets.read_table("solar_production_b16")
    sources = [name for name in table if name not in ("radius", "log10_electron_density")]
    if source not in sources:
        raise ValueError(unknown("solar source", source, sources))
    if nodes is not None and not 1 <= nodes <= 20:
        raise ValueError(f"nodes {nodes!r} must be from 1 to 20, or None for every shell")
    density, share = 10 ** table["log10_electron_density"], table[source] / table[source].sum()
    composition = datasets.read_table("solar_composition_b23")
    ratio = np.interp(table["radius"], composition["radius"], composition["neutrons_per_electron"])
    if nodes is None:
        return ProductionRegion(density, ratio, share, tuple(table["radius"].tolist()))
    node, weight = _gauss(density, share, nodes)
    # The rounded densities repeat: the mean over the shells that share one.
    distinct, shell = np.unique(density, return_inverse=True)
    ratio, radius = (np.bincount(shell, x) / np.bincount(shell) for x in (ratio, table["radius"]))
    place = np.interp(np.log(node), np.log(distinct), radius)
    return ProductionRegion(node, np.interp(node, distinct, ratio), weight, tuple(place.tolist()))


def production_regions(sources: Sequence[str], counts: Sequence[int]) -> ProductionRegion:
    """Regions of several sources, as rows: one for each energy, as many as said of each source."""
    with jax.ensure_compile_time_eval():  # these are numbers, also where a function is being traced
        every = [production_region(source) for source in sources]
    pairs = list(zip(every, counts, strict=True))

    def rows(name: str) -> np.ndarray:
        return np.concatenate([np.tile(np.asarray(getattr(region, name)), (n, 1)) for region, n in pairs])

    radius = tuple(x for region, n in pairs for x in (region.radius or ()) * n)
    return ProductionRegion(rows("density"), rows("neutrons_per_electron"), rows("weight"), radius)


def _gauss(x: np.ndarray, weight: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss quadrature for a discrete weight: eigenvalues of the Jacobi matrix of its orthonormal polynomials."""
    basis = [np.sqrt(weight)]
    diagonal, beside = [], []
    for _ in range(count):
        last = x * basis[-1]
        diagonal.append(last @ basis[-1])
        for _ in range(2):  # twice: once leaves what rounding made parallel
            for vector in basis:
                last = last - (last @ vector) * vector
        beside.append(np.linalg.norm(last))
        basis.append(last / beside[-1])
    node, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
    return node, vectors[0] ** 2


def electron_content(
    vacuum: Complex[Array, "3 3"], charges: Complex[Array, "*#n 3 3"], matter: Float[Array, "*#n"]
) -> Float[Array, "*n 3"]:
    """|<nu_e|nu_i in matter>|^2 for the eigenstates of M = vacuum + matter charges, eigenvalues ascending.

    By the eigenvalues x_i and the minor of M without e: (x_i^2 - x_i Tr + det) / prod_j (x_i - x_j), see
    arXiv:1908.03795. Where two eigenvalues are equal but for rounding, the state is any of the two.

    Args:
        vacuum: eV^2, hermitian.
        charges: hermitian.
        matter: A in eV^2.
    """
    # Element by element: matrices for every density and energy would fill the memory.
    diagonal = [vacuum[i, i].real + matter * charges[..., i, i].real for i in range(3)]
    mean = (diagonal[0] + diagonal[1] + diagonal[2]) / 3
    a, b, c = (x - mean for x in diagonal)
    (emu, etau, mutau) = (
        (vacuum[i, j].real + matter * charges[..., i, j].real, vacuum[i, j].imag + matter * charges[..., i, j].imag)
        for i, j in ((0, 1), (0, 2), (1, 2))
    )
    d, e, f = (x**2 + y**2 for x, y in (emu, etau, mutau))
    cycle = (emu[0] * mutau[0] - emu[1] * mutau[1]) * etau[0] + (emu[0] * mutau[1] + emu[1] * mutau[0]) * etau[1]
    determinant = a * b * c + 2 * cycle - a * f - b * e - c * d
    squares = a**2 + b**2 + c**2 + 2 * (d + e + f)
    (_, x2, x3), (low, high, both) = traceless_eigenvalues(squares, determinant)
    minor = b * c - f
    second = -(x2 * (x2 + a) + minor) / (low * high)  # -a is the trace of the minor
    third = (x3 * (x3 + a) + minor) / (high * both)
    return jnp.stack([1 - second - third, second, third], axis=-1)


def mass_fractions(
    energy: Float[Array, " energy"],
    region: ProductionRegion,
    parameters: OscillationParameters,
    nsi: MatterNSI | None = None,
) -> Float[Array, "energy 3"]:
    """Share of each mass state in the neutrinos that leave the Sun: the adiabatic P_ei.

    Args:
        energy: MeV.
        region: of production.
        parameters: masses and mixing.
        nsi: of the neutrinos with the Sun's matter; none if absent.

    Example:
        >>> import jax.numpy as jnp
        >>> from jcevns.physics import mass_fractions, nufit60, production_region
        >>> shares = mass_fractions(jnp.array([0.3, 10.0]), production_region("b8"), nufit60())
        >>> [round(float(x), 3) for x in shares[:, 1]]  # nu_2, at low energy nearly that of vacuum
        [0.324, 0.889]
    """
    require_x64("neutrino oscillations")
    vacuum = mass_matrix(parameters)
    nsi = MatterNSI() if nsi is None else nsi
    charges = nsi.charges(region.neutrons_per_electron, region.spread)
    content = electron_content(vacuum, charges, matter_term(energy[:, None], region.density))
    ascending = jnp.sum(region.weight[..., None] * content, axis=1)
    # In the inverted ordering nu_3 has the lowest eigenvalue.
    return jnp.where(parameters.dm2_31 > 0, ascending, jnp.roll(ascending, -1, axis=-1))


def mass_projectors(parameters: OscillationParameters) -> Complex[Array, "3 3 3"]:
    """|nu_i><nu_i| in the basis of flavours, the first axis being i: what arrives at Earth by day."""
    mixing = mixing_matrix(parameters)
    return jnp.einsum("ai,bi->iab", mixing, mixing.conj())


def mixture(
    fractions: Float[Array, "energy 3"], states: Complex[Array, "*energy 3 3 3"]
) -> Complex[Array, "energy 3 3"]:
    """Density matrix of an incoherent mixture of mass states.

    Args:
        fractions: share of each.
        states: density matrix of each at the detector, as from `mass_projectors` or, with energies in front, from
            `earth_states`.
    """
    return jnp.einsum("ei,...iab->eab" if states.ndim == 3 else "ei,eiab->eab", fractions.astype(complex), states)


def solar_density_matrix(
    energy: Float[Array, " energy"],
    source: str | ProductionRegion = "b8",
    parameters: OscillationParameters | None = None,
    nsi: MatterNSI | None = None,
    states: Complex[Array, "*energy 3 3 3"] | None = None,
) -> Complex[Array, "energy 3 3"]:
    """Density matrix rho_ab of solar neutrinos at the detector, in the basis nu_e, nu_mu, nu_tau.

    Hermitian, positive, of trace one; its diagonal are the probabilities P_ee, P_emu, P_etau.

    Args:
        energy: MeV.
        source: solar source, see `production_region`, or a region of production.
        parameters: masses and mixing; NuFIT 6.0, normal ordering, if absent.
        nsi: non-standard interactions in the Sun; none if absent.
        states: of the masses at the detector, from `earth_states` or `year_average`; by day if absent.

    Example:
        >>> import jax.numpy as jnp
        >>> from jcevns.physics import solar_density_matrix
        >>> rho = solar_density_matrix(jnp.array([10.0]))
        >>> [round(float(x), 3) for x in jnp.diagonal(rho[0]).real]  # nu_e, nu_mu, nu_tau by day
        [0.327, 0.402, 0.272]
    """
    region = production_region(source) if isinstance(source, str) else source
    parameters = OscillationParameters() if parameters is None else parameters
    states = mass_projectors(parameters) if states is None else states
    return mixture(mass_fractions(energy, region, parameters, nsi), states)
