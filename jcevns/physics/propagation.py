"""Theories that calculate the flavour of solar neutrinos, in place of the tabulated survival probability.

The rate is Tr[rho(E) Q Q^dagger] with the density matrix rho at the detector. In E it is smooth: its values at a few
energies (`SOURCES`), interpolated, are weights like any other, so that a scan of couplings and oscillation parameters
folds nothing anew. Neutrinos of accelerators and reactors are incoherent in the flavours they were produced in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jcevns.compiled import compiled
from jcevns.physics.earth import LATITUDES
from jcevns.physics.flavour import FlavourCharges
from jcevns.physics.flux import SOLAR_FLAVOURS, NeutrinoFlux
from jcevns.physics.interaction import Interaction, has_terms, label_of
from jcevns.physics.new_physics import NewPhysics
from jcevns.physics.night import night_density_matrix
from jcevns.physics.oscillations import MatterNSI, OscillationParameters
from jcevns.physics.potential import VectorPotential
from jcevns.physics.standard_model import StandardModel
from jcevns.physics.sun import production_regions, solar_density_matrix
from jcevns.precision import as_float_array, require_x64
from jcevns.spelling import unknown

__all__ = ["SOURCES", "Oscillations", "Propagated", "Propagation", "basis", "energies"]

_CURVED = 4.0  # MeV: energies are even in E/(E + this), rho is polynomial in it to 1e-4

SOURCES: Mapping[str, tuple[float, float, int]] = {
    "b8": (0.02, 16.6, 12),
    "hep": (0.02, 18.8, 12),
    "pp": (0.002, 0.423, 4),
    "pep": (1.442, 1.442, 1),
    "be7": (0.384, 0.862, 2),
    "n13": (0.002, 1.2, 5),
    "o15": (0.002, 1.74, 5),
    "f17": (0.002, 1.75, 5),
}
"""Solar sources: lowest and highest energy in MeV, and at how many the density matrix is calculated."""


def energies(source: str) -> Float[np.ndarray, " node"]:
    """Energies in MeV at which the density matrix of a source is calculated: lines, or nodes of Chebyshev's kind."""
    low, high, count = SOURCES[source]
    if count <= 2:
        return np.array([low, high])[:count]
    a, b = low / (low + _CURVED), high / (high + _CURVED)
    place = (a + b) / 2 + (b - a) / 2 * np.cos(np.pi * (np.arange(count) + 0.5) / count)
    return _CURVED * place / (1 - place)


def basis(source: str, energy: Float[Array, " energy"]) -> Float[Array, "node energy"]:
    """Polynomials that are one at one of `energies` and zero at the others."""
    nodes = energies(source)
    u, x = nodes / (nodes + _CURVED), energy / (energy + _CURVED)
    rows = []
    for j in range(nodes.size):
        factors = [(x - u[k]) / (u[j] - u[k]) for k in range(nodes.size) if k != j]
        rows.append(jnp.prod(jnp.stack([jnp.ones_like(x), *factors]), axis=0))
    return jnp.stack(rows)


_ANGLES = {"theta_12": "theta12", "theta_13": "theta13", "theta_23": "theta23", "delta": "delta_CP"}
"""Parameters that `OscillationParameters` calls otherwise."""


def _oscillation(name: str) -> Any:
    """The field of `OscillationParameters` as a parameter of a theory."""
    field = OscillationParameters.__dataclass_fields__[_ANGLES.get(name, name)]
    metadata = {"parameter": field.metadata["record"]}
    return eqx.field(converter=as_float_array, default_factory=field.default_factory, metadata=metadata)


class Propagation(NewPhysics):
    """A part of a theory that calculates the flavours of solar neutrinos, for all parts of a sum.

    Masses and mixing are parameters, with the constraints of NuFIT 6.0 for the normal ordering (arXiv:2410.05380),
    errors of angles as those of their sin^2, both sides averaged.

    Attributes:
        theta_12: this and the next five as in `OscillationParameters`, which has their units and bounds.
        theta_13: the same.
        theta_23: the same.
        dm2_21: the same.
        dm2_31: the same.
        delta: the same, `delta_CP` there.
        earth: where the detector is, for the nights of a year: `lngs`, `jinping`, `surf`; `day` without the Earth.
        populations: solar sources and flavours that the fluxes hold; all that there are if absent.
    """

    theta_12: Float[Array, ""] = _oscillation("theta_12")
    theta_13: Float[Array, ""] = _oscillation("theta_13")
    theta_23: Float[Array, ""] = _oscillation("theta_23")
    dm2_21: Float[Array, ""] = _oscillation("dm2_21")
    dm2_31: Float[Array, ""] = _oscillation("dm2_31")
    delta: Float[Array, ""] = _oscillation("delta")
    earth: str = eqx.field(static=True, default="lngs")
    populations: tuple[str, ...] | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.earth not in ("day", *LATITUDES):
            raise ValueError(unknown("earth", self.earth, ("day", *LATITUDES)))

    def matter(self) -> MatterNSI:
        """Interactions with the matter that neutrinos cross; none unless a theory says so."""
        return MatterNSI()

    def density_matrix(self, source: str) -> Complex[Array, "node 3 3"]:
        """Of neutrinos of a solar source at the detector, at its `energies`; of a flavour by itself, one.

        Args:
            source: solar, or e, mu or tau.
        """
        return self.density_matrices((source,))

    def density_matrices(
        self, sources: tuple[str, ...], vectors: tuple[VectorPotential, ...] = ()
    ) -> Complex[Array, "node 3 3"]:
        """Those of several sources, one after the other.

        Args:
            sources: solar ones, then flavours.
            vectors: potentials of vector bosons, beside what `matter` says.
        """
        solar = tuple(name for name in sources if name in SOURCES)
        rest = [
            jnp.diag(jnp.eye(3)[SOLAR_FLAVOURS.index(name)])[None].astype(complex) for name in sources[len(solar) :]
        ]
        if not solar:
            return jnp.concatenate(rest)
        require_x64("neutrino oscillations")
        names = (*_ANGLES, "dm2_21", "dm2_31")  # in the order of its fields
        empty = OscillationParameters()  # whatever is put there is not checked: a fit never raises
        mixing = eqx.tree_at(jax.tree.leaves, empty, [getattr(self, name) for name in names])
        matter = self.matter()
        matter = MatterNSI(matter.electron, matter.up, matter.down, (*matter.vectors, *vectors))
        return jnp.concatenate([_solar(mixing, matter, solar, self.earth), *rest])

    def seeing(self, fluxes: Iterable[NeutrinoFlux]) -> Interaction:
        """The theory for these fluxes alone: nothing is calculated for others."""
        copy = jax.tree.map(lambda x: x, self)
        object.__setattr__(copy, "populations", populations_of(fluxes))  # static: no part of the tree
        return copy

    @property
    def oscillating(self) -> "Propagation":
        """Itself."""
        return self

    def together(self, parts: tuple[NewPhysics, ...], model: StandardModel) -> Interaction:
        """All elastic scattering of several parts, this one among them."""
        return FlavourCharges(parts, model)

    def applied(
        self, pieces: list[tuple[Interaction, float]], parts: tuple[NewPhysics, ...]
    ) -> list[tuple[Interaction, float]]:
        """Pieces of a theory, with the flavours at the detector, as the potentials of its parts make them."""
        return [(Propagated(piece, self, parts), factor) for piece, factor in pieces]

    @property
    def pieces(self) -> list[tuple[Interaction, float]]:
        """What scatters, with the flavours at the detector."""
        return self.applied([(FlavourCharges((self,), self.standard_model), 1.0)], (self,))

    def weights(self):
        """Those of the pieces: what multiplies their spectra."""
        return jnp.concatenate([piece.weights() for piece, _ in self.pieces])

    def terms(self, recoil, particle, flavour):
        """Refused: they depend on the flux."""
        raise TypeError(f"{label_of(self)} is no function of one flavour alone: use dsigma_dT, or recoil_spectrum")

    def dsigma_dT(self, energy, recoil, particle, flavour="e"):
        """Of a neutrino of one flavour."""
        return self.pieces[0][0].dsigma_dT(energy, recoil, particle, flavour)


@compiled
def _solar(
    mixing: OscillationParameters, matter: MatterNSI, sources: tuple[str, ...], earth: str
) -> Complex[Array, "node 3 3"]:
    """Density matrices of solar sources at the detector: one program for all their energies."""
    nodes = [energies(source) for source in sources]
    energy, regions = jnp.asarray(np.concatenate(nodes)), production_regions(sources, [n.size for n in nodes])
    day = solar_density_matrix(energy, regions, mixing, matter)
    if earth == "day":
        return day
    return (day + night_density_matrix(day, energy, mixing, matter, earth)) / 2


class Oscillations(Propagation):
    """Solar neutrinos by calculation: adiabatic in the Sun, the Earth by night. It adds nothing to scattering.

    `StandardModel() + Oscillations()`, or any other sum with it, has masses and mixing as parameters.

    Attributes:
        standard_model: what it is added to.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-er-2022", jc.theory("magnetic-moment+oscillations"))
        >>> theta = likelihood.parameters["theta_12"]
        >>> f"{theta.default:.3f} +- {theta.sigma:.3f} {theta.unit}"
        '0.588 +- 0.012 rad'
    """

    standard_model: StandardModel = eqx.field(default_factory=StandardModel)

    label = "oscillations"


def populations_of(fluxes: Iterable[NeutrinoFlux]) -> tuple[str, ...]:
    """Solar sources and flavours in some fluxes, in a fixed order."""
    fluxes = tuple(fluxes)
    for flux in fluxes:
        if not flux.sources and not flux.flavours:
            raise ValueError(
                f"flux {flux.name!r} does not tell its flavours, and a theory with oscillations needs them: "
                "give them, as in NeutrinoFlux(energy, shape, total, name, ('e', 'mu'), fractions)"
            )
    found = {name for flux in fluxes for name in flux.sources or {f.removeprefix("anti-") for f in flux.flavours}}
    return tuple(name for name in (*SOURCES, *SOLAR_FLAVOURS) if name in found)


class Propagated(Interaction):
    """A piece of a theory with calculated flavours: its terms are those of the piece at every node of every source.

    Attributes:
        inner: what scatters.
        by: gives the density matrices.
        parts: of the theory, whose potentials the neutrinos feel.
    """

    inner: Interaction
    by: Propagation
    parts: tuple[NewPhysics, ...]

    @property
    def populations(self) -> tuple[str, ...]:
        """Solar sources and flavours, in the order of the weights."""
        return (*SOURCES, *SOLAR_FLAVOURS) if self.by.populations is None else self.by.populations

    @property
    def scattering(self) -> Interaction:
        """What scatters."""
        return self.inner

    def weights(self):
        """Re Tr[rho_j W_k] for every node j of every population and every weight W_k, a matrix in flavour."""
        if isinstance(self.inner, FlavourCharges):
            matrices = self.inner.matrices()
        else:
            own = self.inner.weights() if has_terms(self.inner) else jnp.ones(1)
            matrices = jnp.concatenate([w * own[:, None, None] for w in _projectors()]).astype(complex)
        vectors = tuple(v for v in (part.potential() for part in self.parts) if v is not None)
        rho = self.by.density_matrices(self.populations, vectors)
        return jnp.einsum("jab,kba->jk", rho, matrices).real.ravel()

    def terms(self, recoil, particle, flavour):
        """Refused: they depend on the flux."""
        raise TypeError("terms of a theory with oscillations depend on the flux")

    def dsigma_dT(self, energy, recoil, particle, flavour="e"):
        """Of a neutrino of one flavour."""
        return self.inner.dsigma_dT(energy, recoil, particle, flavour)

    def sizes(self) -> list[int]:
        """Number of weights of each population."""
        if isinstance(self.inner, FlavourCharges):
            own = jax.eval_shape(self.inner.matrices).shape[0]
        else:
            own = len(SOLAR_FLAVOURS) * jax.eval_shape(self.inner.weights).shape[0]
        return [own * (SOURCES[name][2] if name in SOURCES else 1) for name in self.populations]

    def components(self, flux: NeutrinoFlux) -> list[list[tuple[Float[Array, "node energy"], tuple[str, ...]]]]:
        """Parts of a flux, for each of the populations: densities in MeV^-1 at the flux's nodes, and their flavours.

        The piece's terms for all flavours of a part belong to the same weights, one after the other.
        """
        blind = isinstance(self.inner, FlavourCharges)
        found: list[list[tuple[Array, tuple[str, ...]]]] = []
        for name in self.populations:
            parts: list[tuple[Array, tuple[str, ...]]] = []
            if name in flux.sources:
                shape = flux.shape if flux.source_shapes is None else flux.source_shapes[flux.sources.index(name)]
                parts.append((basis(name, flux.energy) * shape, ("e",) if blind else SOLAR_FLAVOURS))
            elif not flux.sources:
                for flavour, row in zip(flux.flavours, flux.flavour_shapes, strict=False):
                    if flavour.removeprefix("anti-") == name:
                        sign = flavour.removesuffix(name)
                        every = ("e",) if blind else SOLAR_FLAVOURS
                        parts.append((row[None], tuple(sign + f for f in every)))
            found.append(parts)
        return found


def _projectors() -> list[Float[Array, "3 3"]]:
    return [jnp.diag(row) for row in jnp.eye(3)]
