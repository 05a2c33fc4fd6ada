"""What is added to the Standard Model, and sums of interactions that count it once."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jcevns.parameters import LARGEST
from jcevns.physics.interaction import Interaction, Particle, has_terms, label_of, moves_minimum_energy
from jcevns.physics.potential import VectorPotential
from jcevns.physics.standard_model import StandardModel, coherent_terms, coherent_weights

__all__ = ["Addition", "NewPhysics", "Sum", "add", "flavour_charge"]


_NOT_CALCULATED = (
    "{}: propagation='matter' changes the flavours of solar neutrinos, which must be calculated then: add "
    "jc.physics.Oscillations(), or write it with +oscillations"
)


def flavour_charge(charges: Any, flavour: str) -> Any:
    """Charge of a flavour, or of its antineutrino, from those of (nu_e, nu_mu, nu_tau); one if there are none."""
    if charges is None:
        return 1.0
    return jnp.asarray(charges)[("e", "mu", "tau").index(flavour.removeprefix("anti-"))]


class NewPhysics(Interaction):
    """An interaction written as what it adds to the Standard Model: shifts of its charges, and terms beside it.

    Write `amplitudes` and `shifts` for what interferes, `strengths` and `additions` for what does not. In a sum the
    shifts of all parts add up before they are squared. A `minimum_energy` is that of the additions, where they make
    a heavy particle; the Standard Model keeps its own.

    Attributes:
        standard_model: what it is added to.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jcevns as jc
        >>> class Contact(jc.NewPhysics):
        ...     size: jax.Array = jc.parameter(1.0, lower=0.0)
        ...     standard_model: jc.StandardModel = eqx.field(default_factory=jc.StandardModel)
        ...
        ...     def strengths(self):
        ...         return self.size[None]
        ...
        ...     def additions(self, recoil, particle, flavour):
        ...         model = jc.StandardModel()
        ...         return jax.numpy.tensordot(model.weights(), model.terms(recoil, particle, flavour), 1)[None]
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), Contact())
        >>> round(float(counts.sum()), 2)  # events, twice those of the Standard Model
        22.26
    """

    standard_model: eqx.AbstractVar[StandardModel]

    def __check_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name, None)
            if "parameter" in field.metadata or not eqx.is_array(value) or isinstance(value, Tracer):
                continue
            numbers = np.asarray(value)
            if not np.all(np.abs(numbers) <= LARGEST):
                raise ValueError(f"{field.name} {numbers.tolist()} must be finite, {LARGEST:g} at most")
            if field.name == "flavours" and numbers.shape[-1:] != (3,):
                raise ValueError(f"flavours {numbers.tolist()} must be three numbers, of nu_e, nu_mu, nu_tau")

    def amplitudes(self) -> Sequence[Float[Array, ""]]:
        """What the shifts are multiplied by."""
        return ()

    def shifts(self, recoil: Float[Array, "*t"], particle: Particle, flavour: str) -> Sequence[tuple[Any, Any]]:
        """Shifts of (Q_V, 0) on a nucleus, of (g_V, g_A) on an electron, one pair for each amplitude."""
        return ()

    def charge_matrices(self) -> Any:
        """`jcevns.physics.flavour.ChargeMatrices`, shifts of charges that mix flavours.

        In sums where flavours are calculated they take the place of amplitudes, shifts, strengths and additions.
        """
        raise NotImplementedError

    @property
    def mixes_flavours(self) -> bool:
        """Whether it has charge matrices."""
        return type(self).charge_matrices is not NewPhysics.charge_matrices

    @property
    def oscillating(self) -> Any:
        """The part itself, a `Propagation`, if it calculates the flavours that reach a detector."""
        return None

    def potential(self) -> VectorPotential | None:
        """What neutrinos feel of it in the Sun and in the Earth, in a sum where flavours are calculated."""
        return None

    @property
    def bends(self) -> bool:
        """Whether it has a potential, and so needs a sum where flavours are calculated."""
        return False

    def strengths(self) -> Float[Array, " addition"]:
        """What the additions are multiplied by."""
        return jnp.zeros(0)

    def additions(
        self, recoil: Float[Array, "*t"], particle: Particle, flavour: str
    ) -> Float[Array, "addition 3 *t"]:
        """Coefficients of E^0, E^-1, E^-2 of what does not interfere."""
        return jnp.zeros((0, 3, *recoil.shape), recoil.dtype)

    def weights(self):
        """Those of the Standard Model with all shifts, then the strengths."""
        return _weights(self.standard_model, [self], [self])

    def terms(self, recoil, particle, flavour):
        """Terms of `weights`."""
        return _terms(self.standard_model, [self], [self], recoil, particle, flavour)

    def dsigma_dT(self, energy, recoil, particle, flavour="e"):
        """Standard Model and additions, each above its own minimal energy."""
        if not moves_minimum_energy(self):
            return super().dsigma_dT(energy, recoil, particle, flavour)
        values = [piece.dsigma_dT(energy, recoil, particle, flavour) for piece, _ in self.pieces]
        return jnp.sum(jnp.stack(values), axis=0)

    @property
    def pieces(self) -> list[tuple[Interaction, float]]:
        """Elastic scattering and what has another minimal energy, where there is any."""
        if self.bends:
            raise ValueError(_NOT_CALCULATED.format(label_of(self)))
        if not moves_minimum_energy(self):
            return [(self, 1.0)]
        return [(_Coherent((self,), self.standard_model), 1.0), (_Produced(self), 1.0)]


def _weights(model: StandardModel, shifting: Sequence[NewPhysics], adding: Sequence[NewPhysics]) -> Array:
    coherent = coherent_weights(model, [a for part in shifting for a in part.amplitudes()])
    return jnp.concatenate([coherent, *(part.strengths() for part in adding)])


def _terms(
    model: StandardModel,
    shifting: Sequence[NewPhysics],
    adding: Sequence[NewPhysics],
    recoil: Array,
    particle: Particle,
    flavour: str,
) -> Array:
    shifts = [shift for part in shifting for shift in part.shifts(recoil, particle, flavour)]
    coherent = coherent_terms(model, shifts, recoil, particle, flavour)
    return jnp.concatenate([coherent, *(part.additions(recoil, particle, flavour) for part in adding)])


class Addition(Interaction):
    """A recoil spectrum that is added to what neutrinos do, whatever their flux: it has `rates` in place of terms."""

    def rates(self, recoil_keV: Float[Array, " recoil"]) -> Float[Array, "term recoil"]:
        """dR/dT of each term at full efficiency in events/(tonne year keV)."""
        raise NotImplementedError

    def terms(self, recoil, particle, flavour):
        """Refused: the spectrum has no cross section."""
        raise TypeError(f"{type(self).__name__} is a recoil spectrum: it has no cross section")


class Sum(Interaction):
    """Several interactions at once; made by `a + b`.

    Attributes:
        parts: the interactions, without a Standard Model of their own where they share that of the sum.
        standard_model: of all parts; None if no part has neutrinos in it.
    """

    parts: tuple[Interaction, ...]
    standard_model: StandardModel | None

    @property
    def label(self) -> str:
        """Names of the parts."""
        return "+".join(label_of(part) for part in self.parts) or "standard-model"

    @property
    def pieces(self) -> list[tuple[Interaction, float]]:
        """Interactions, each with a factor, whose terms follow each other."""
        new, whole, tables = _sorted(self.parts)
        model = self.standard_model
        propagation: Any = next((p for p in new if p.oscillating), None)
        bending = next((p for p in new if p.bends), None)
        if bending is not None and propagation is None:
            raise ValueError(_NOT_CALCULATED.format(label_of(bending)))
        if model is None:
            return [(part, 1.0) for part in tables]
        found: list[tuple[Interaction, float]] = []
        made: list[tuple[Interaction, float]] = []
        if new or not whole:
            parts: Any = tuple(_with_model(part, model) for part in new)
            together = _Coherent if propagation is None else propagation.together
            found.append((together(parts, model), 1.0))
            made = [(_Produced(part), 1.0) for part in parts if moves_minimum_energy(part)]
        found += [(_with_model(part, model), 1.0) for part in whole]
        surplus = len(found) - 1
        found += [(model, -float(surplus))] if surplus else []
        scattering = [*found, *made] if propagation is None else propagation.applied([*found, *made], tuple(new))
        return [*scattering, *((part, 1.0) for part in tables)]

    def seeing(self, fluxes):
        """The sum for these fluxes."""
        fluxes = tuple(fluxes)
        parts = tuple(part.seeing(fluxes) for part in self.parts)
        return (
            self if all(a is b for a, b in zip(parts, self.parts, strict=True)) else Sum(parts, self.standard_model)
        )

    def weights(self):
        """Those of all pieces."""
        return jnp.concatenate([factor * piece.weights() for piece, factor in self.pieces])

    def terms(self, recoil, particle, flavour):
        """Those of all pieces; refused if one of them has another form."""
        for piece, _ in self.pieces:
            if not has_terms(piece):
                raise TypeError(f"{label_of(piece)} is not written as weights times terms")
        return jnp.concatenate([piece.terms(recoil, particle, flavour) for piece, _ in self.pieces])

    def dsigma_dT(self, energy, recoil, particle, flavour="e"):
        """Sum of the pieces."""
        values = [factor * piece.dsigma_dT(energy, recoil, particle, flavour) for piece, factor in self.pieces]
        return jnp.sum(jnp.stack(values), axis=0)


class _Coherent(Interaction):
    """The Standard Model with all elastic scattering of several additions, whose shifts of its charges add up."""

    parts: tuple[NewPhysics, ...]
    standard_model: StandardModel

    def _elastic(self) -> list[NewPhysics]:
        return [part for part in self.parts if not moves_minimum_energy(part)]

    def weights(self):
        return _weights(self.standard_model, self.parts, self._elastic())

    def terms(self, recoil, particle, flavour):
        return _terms(self.standard_model, self.parts, self._elastic(), recoil, particle, flavour)


class _Produced(Interaction):
    """What is added above another minimal energy, alone."""

    part: NewPhysics

    def weights(self):
        return self.part.strengths()

    def terms(self, recoil, particle, flavour):
        return self.part.additions(recoil, particle, flavour)

    def minimum_energy(self, recoil, particle):
        return self.part.minimum_energy(recoil, particle)


def _sorted(parts: Sequence[Interaction]) -> tuple[list[NewPhysics], list[Interaction], list[Addition]]:
    """Parts that add to the Standard Model, whole cross sections, and tables."""
    new = [p for p in parts if isinstance(p, NewPhysics)]
    tables = [p for p in parts if isinstance(p, Addition)]
    return new, [p for p in parts if not isinstance(p, NewPhysics | Addition)], tables


def _with_model(part: Interaction, model: StandardModel) -> Interaction:
    if getattr(part, "standard_model", 0) is None:
        return eqx.tree_at(lambda p: p.standard_model, part, model, is_leaf=lambda x: x is None)
    return part


def _same(a: Any, b: Any) -> bool:
    (x, structure), (y, other) = jax.tree.flatten(a), jax.tree.flatten(b)
    if structure != other:
        return False
    if any(isinstance(v, Tracer) for v in (*x, *y)):
        return all(v is w for v, w in zip(x, y, strict=True))
    return all(np.array_equal(v, w) for v, w in zip(x, y, strict=True))


def add(a: Interaction, b: Interaction) -> Interaction:
    """The sum of two interactions.

    Raises:
        ValueError: their Standard Models differ.
        TypeError: something that is no interaction.
    """
    if not isinstance(b, Interaction):
        raise TypeError(f"{type(b).__name__} is not an interaction: it cannot be added to one")
    parts: list[Interaction] = []
    models: list[StandardModel] = []
    for whole in (a, b):
        members = whole.parts if isinstance(whole, Sum) else (whole,)
        if isinstance(whole, Sum) and whole.standard_model is not None:
            models.append(whole.standard_model)
        for part in members:
            if isinstance(part, StandardModel):
                models.append(part)
                continue
            own = getattr(part, "standard_model", None)
            if isinstance(own, StandardModel):
                models.append(own)
                part = eqx.tree_at(lambda p: p.standard_model, part, None)
            elif not isinstance(part, Addition) and not isinstance(whole, Sum):
                models.append(StandardModel())
            parts.append(part)
    for other in models[1:]:
        if not _same(models[0], other):
            raise ValueError("the interactions are added to different Standard Models: give them the same one")
    model = models[0] if models else None
    if not parts and model is not None:
        return model
    if len(parts) == 1 and not isinstance(parts[0], Addition):
        return parts[0] if model is None else _with_model(parts[0], model)
    twice = [label_of(p) for p in parts if isinstance(p, NewPhysics) and p.oscillating]
    if len(twice) > 1:
        raise ValueError(
            f"{' and '.join(twice)} calculate the flavours of neutrinos, each by itself: take one of them"
        )
    parts.sort(key=label_of)  # a + b is b + a, term by term
    return Sum(tuple(parts), model)
