"""What an interaction of neutrinos is: weights times terms, or any cross section; sums of interactions.

Inside this folder energies are in MeV and cross sections in MeV^-3 (dsigma/dT in units of hbar c = 1).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.parameters import Parameter, leaves_of
from jcevns.physics.electrons import Electron
from jcevns.physics.nuclei import Nucleus

__all__ = [
    "Interaction",
    "Particle",
    "at_path",
    "depends",
    "flavour_blind",
    "has_terms",
    "maximum_recoil",
    "minimum_energy",
    "moves_minimum_energy",
    "theory_parameters",
    "with_values",
]

Particle = Nucleus | Electron
"""What a neutrino scatters off: one nucleus, or an electron."""


def maximum_recoil(energy: Float[Array, "*e"], mass: Float[Array, "*m"]) -> Float[Array, "..."]:
    """Largest recoil energy 2 E^2/(m + 2 E), all in MeV."""
    return 2 * energy**2 / (mass + 2 * energy)


def minimum_energy(recoil: Float[Array, "*t"], mass: Float[Array, "*m"]) -> Float[Array, "..."]:
    """Smallest neutrino energy that gives `recoil`, all in MeV; its slope at recoil 0 is set to 1/2."""
    squared = recoil * (recoil + 2 * mass)
    positive = squared > 0
    return (recoil + jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)) / 2


class Interaction(eqx.Module):
    """A theory of neutrino scattering: subclass it, declare its parameters, write one method or two.

    Either `weights` and `terms`: the cross section is their product, sum_k weights_k (c_k0 + c_k1/E + c_k2/E^2). Its
    integral over the neutrino energy is exact, and a parameter that only `weights` use costs nearly nothing in scans.
    Or `dsigma_dT`, with any dependence on the neutrino energy. Both give the whole cross section, the Standard Model
    included, on nuclei and on electrons.

    `a + b` adds interactions: the Standard Model is counted once.

    Example:
        >>> import jax
        >>> import jcevns as jc
        >>> class Doubled(jc.Interaction):
        ...     def dsigma_dT(self, energy, recoil, particle, flavour):
        ...         return 2 * jc.StandardModel().dsigma_dT(energy, recoil, particle, flavour)
        >>> counts = jc.signal_counts(jc.experiment("xenonnt-2024-s2"), Doubled())
        >>> round(float(counts.sum()), 2)  # events
        22.26
    """

    def __check_init__(self):
        own = type(self)
        if own.terms is Interaction.terms and own.dsigma_dT is Interaction.dsigma_dT:
            raise TypeError(f"{own.__name__} gives no cross section: write `terms` (and `weights`), or `dsigma_dT`")
        for path, record in leaves_of(self):
            record.check(at_path(self, path))

    def weights(self) -> Float[Array, " term"]:
        """What the terms are multiplied by: functions of the parameters, shape (term,). By default one, of 1."""
        return jnp.ones(1)

    def terms(self, recoil: Float[Array, "*t"], particle: Particle, flavour: str) -> Float[Array, "term 3 *t"]:
        """Coefficients of E^0, E^-1, E^-2 of each term.

        Args:
            recoil: recoil energies in MeV.
            particle: one nucleus, or an electron (`isinstance(particle, jcevns.physics.Electron)`).
            flavour: of the neutrino, from `jcevns.physics.FLAVOURS`.

        Returns:
            MeV^-3, MeV^-2 and MeV^-1, shape (term, 3, *recoil.shape).
        """
        raise NotImplementedError

    def dsigma_dT(
        self, energy: Float[Array, "..."], recoil: Float[Array, "..."], particle: Particle, flavour: str = "e"
    ) -> Float[Array, "..."]:
        """Differential cross section in MeV^-3, the Standard Model included.

        Need not vanish beyond the kinematic edge: the recoil spectrum applies it.

        Args:
            energy: neutrino energy in MeV.
            recoil: recoil energy in MeV.
            particle: one nucleus, or an electron.
            flavour: of the neutrino, from `jcevns.physics.FLAVOURS`.
        """
        terms = self.terms(recoil, particle, flavour)
        c0, c1, c2 = jnp.tensordot(self.weights(), terms, axes=1)
        value = c0 + c1 / energy + c2 / energy**2
        if moves_minimum_energy(self):
            return jnp.where(energy >= self.minimum_energy(recoil, particle), value, 0.0)
        return jnp.where(recoil <= maximum_recoil(energy, particle.mass), value, 0.0)

    @property
    def pieces(self) -> "list[tuple[Interaction, float]]":
        """Interactions, each with a factor, whose terms follow each other: itself, unless it has several."""
        return [(self, 1.0)]

    @property
    def scattering(self) -> "Interaction":
        """What scatters, where this adds the flavours of a flux to it: itself otherwise."""
        return self

    def seeing(self, fluxes: Iterable[Any]) -> "Interaction":
        """The theory for these fluxes: itself, unless it calculates their flavours."""
        return self

    def minimum_energy(self, recoil: Float[Array, "*t"], particle: Particle) -> Float[Array, "*t"]:
        """Smallest neutrino energy in MeV that gives `recoil` (MeV); override it where a heavy particle is made."""
        return minimum_energy(recoil, particle.mass)

    def __add__(self, other: "Interaction") -> "Interaction":
        """Both, with the Standard Model counted once."""
        from jcevns.physics.new_physics import add

        return add(self, other)


def has_terms(interaction: Interaction) -> bool:
    """Whether it is written as weights times terms."""
    return type(interaction).terms is not Interaction.terms


def moves_minimum_energy(interaction: Interaction) -> bool:
    """Whether its minimal neutrino energy is not that of elastic scattering."""
    return type(interaction).minimum_energy is not Interaction.minimum_energy


def at_path(module: Any, path: Sequence[Any]) -> Any:
    """What stands at the end of a path of field names and indices."""
    for step in path:
        module = module[step] if isinstance(step, int) else getattr(module, step)
    return module


def theory_parameters(theory: Interaction) -> dict[str, tuple[tuple[Any, ...], Parameter]]:
    """Parameters of a theory: name to where the leaf is, and its record.

    A name is that of the field, with the interaction's in front where two parts of a sum use the same.

    Raises:
        ValueError: two fields of one interaction have the same name.
    """
    from dataclasses import replace

    found = list(leaves_of(theory))
    names = [record.name for _, record in found]
    result: dict[str, tuple[tuple[Any, ...], Parameter]] = {}
    for path, record in found:
        name = record.name
        if names.count(name) > 1:
            owners = [at_path(theory, path[:k]) for k in range(len(path))]
            owner = next((o for o in reversed(owners) if isinstance(o, Interaction)), theory)
            name = f"{label_of(owner)}.{name}"
        if name in result:
            raise ValueError(f"two parameters of the theory are called {name!r}: name the fields differently")
        result[name] = (path, replace(record, name=name))
    return result


def label_of(theory: Any) -> str:
    """How a theory is called: its class, in the command line's spelling where it has one."""
    return getattr(theory, "label", None) or type(theory).__name__


def with_values(theory: Interaction, values: Mapping[str, Any]) -> Interaction:
    """The theory with some parameters changed; values may be tracers, and are not checked here."""
    if not values:
        return theory
    paths = theory_parameters(theory)
    where = [paths[name][0] for name in values]
    return eqx.tree_at(
        lambda t: [at_path(t, path) for path in where], theory, [jnp.asarray(v) for v in values.values()]
    )


class _Used(Exception):
    """A probe was looked at."""


class _Probe:
    """Stands for a value; whatever is done with it raises."""

    def _look(self, *args: Any, **keywords: Any) -> Any:
        raise _Used

    __getattr__ = __call__ = __eq__ = __ne__ = __hash__ = __bool__ = __len__ = __iter__ = __getitem__ = _look
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = _look
    __rpow__ = __neg__ = __abs__ = __lt__ = __le__ = __gt__ = __ge__ = __float__ = __array__ = __jax_array__ = _look
    __index__ = __int__ = __str__ = __format__ = __contains__ = __mod__ = __floordiv__ = __matmul__ = _look


class _FlavourProbe(_Probe, str):
    """The same for a flavour: a string, as run-time type checks ask."""

    __getattribute__ = _Probe._look  # whatever strings can do


def _looks(call: Callable[[Array], Any]) -> bool:
    """Whether a function of recoil energies fails, and so has looked at a probe."""
    try:
        jax.eval_shape(call, jax.ShapeDtypeStruct((2,), jnp.result_type(float)))
    except Exception:
        return True
    return False


def depends(theory: Interaction, path: Sequence[Any], particles: Sequence[Particle], flavours: Sequence[str]) -> bool:
    """Whether the cross sections per unit weight use the parameter at a path, on any of the particles.

    The parameter is replaced by an object that cannot be looked at: only where no method does is the answer no.
    """
    from jcevns.physics.new_physics import Addition

    probed = eqx.tree_at(lambda t: at_path(t, path), theory, _Probe())
    pieces = [piece.scattering for piece, _ in probed.pieces]
    energy = jnp.asarray(np.full(2, 10.0))

    def calls(piece: Interaction) -> list[Callable[[Array], Any]]:
        if isinstance(piece, Addition):
            return [piece.rates]
        pairs = [(p, f) for p in particles for f in flavours or ("e",)]
        if has_terms(piece):
            own = moves_minimum_energy(piece)
            return [
                lambda recoil, p=p, f=f: (piece.terms(recoil, p, f), piece.minimum_energy(recoil, p) if own else None)
                for p, f in pairs
            ]
        return [
            lambda recoil, p=p, f=f: (piece.dsigma_dT(energy, recoil, p, f), piece.minimum_energy(recoil, p))
            for p, f in pairs
        ]

    return any(_looks(call) for piece in pieces for call in calls(piece))


def flavour_blind(interaction: Interaction, particle: Particle) -> bool:
    """Whether all flavours interact alike with a particle."""
    probe = _FlavourProbe()
    if has_terms(interaction):
        return not _looks(lambda recoil: interaction.terms(recoil, particle, probe))
    energy = jnp.asarray(np.full(2, 10.0))
    return not _looks(lambda recoil: interaction.dsigma_dT(energy, recoil, particle, probe))
