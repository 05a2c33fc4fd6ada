"""Grids of theories, and the signals they give."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var
from jaxtyping import Array, Float

from jcevns.inference.batch import expand
from jcevns.likelihood import joint
from jcevns.likelihood.joint import Likelihood, join_signals
from jcevns.likelihood.morphing import Mixture
from jcevns.physics.couplings import AbstractCoupled, AbstractMediator, CouplingTerms
from jcevns.physics.cross_sections import AbstractInteraction
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.interactions import interaction
from jcevns.physics.recoil import BLOCK, AnyTarget, Theory, as_theory, recoil_spectrum

__all__ = [
    "Grid",
    "coupling_is_axis",
    "coupling_terms",
    "grid",
    "grid_mixtures",
    "grid_signals",
    "mediator_terms",
    "named_interaction",
    "natural_coupling",
]

_MASSES = 64  # masses folded at a time
_POINTS = 256  # theories folded at a time where nothing is known about their dependence on the axes
_UNITS = {"mass": "MeV", "coupling": "", "b8_flux": "cm^-2 s^-1", "sin2w": ""}


@dataclasses.dataclass(frozen=True)
class Grid:
    """A rectangular grid of theories.

    Attributes:
        make: keyword arguments named as the axes to an interaction or a theory, traceable by JAX.
        axes: name to values, in the order of the result's dimensions.
        name: label of the theory.

    Example:
        >>> import jcevns as jc
        >>> theories = jc.grid("scalar", mass=[1.0, 10.0], coupling=[1e-6, 1e-5, 1e-4])
        >>> theories.shape, theories.units
        ((2, 3), {'mass': 'MeV', 'coupling': ''})
        >>> theories.factors  # a mediator: folded once per mass
        True
    """

    make: Callable[..., Theory | AbstractInteraction]
    axes: Mapping[str, np.ndarray]
    name: str = "theory"

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(len(values) for values in self.axes.values())

    @property
    def units(self) -> dict[str, str]:
        """Unit of each axis, empty where it has none."""
        return {name: _UNITS.get(name, "") for name in self.axes}

    @cached_property
    def factors(self) -> bool:
        """Whether the coupling factors out: a mediator, and an axis that is its coupling."""
        if "coupling" not in self.axes:
            return False
        others = {name: float(values[0]) for name, values in self.axes.items() if name != "coupling"}
        return coupling_is_axis(self.make, others)


@lru_cache(maxsize=64)
def named_interaction(name: str, **options: Any) -> Callable[..., AbstractMediator]:
    """Maker of one of the paper's interactions; the same object every time, so that it is compiled once.

    Args:
        name: a key of `INTERACTIONS`.
        options: further fields of its class, hashable, such as `flavours=(0.0, 1.0, -1.0)`.
    """
    interaction(name, **options)  # an unknown name is an error now, not inside a scan
    return partial(interaction, name, **options)


def grid(theory: str | Callable[..., Theory | AbstractInteraction], **axes: Any) -> Grid:
    """A grid of theories.

    Args:
        theory: name of an interaction, or a class or function taking the axes as keyword arguments.
        axes: name to values, at least one axis; the first varies slowest.

    Raises:
        ValueError: no axis, an empty one, or values that are not finite and distinct.

    Example:
        >>> import jcevns as jc
        >>> jc.grid("scalar", mass=[1.0, 10.0], coupling=[1e-6, 1e-5, 1e-4]).shape
        (2, 3)
        >>> jc.grid(jc.StandardModel, sin2w=[0.1, 0.2, 0.3]).name
        'StandardModel'
    """
    if not axes:
        raise ValueError("a grid needs at least one axis, as in grid('scalar', mass=[1, 10], coupling=[1e-6, 1e-5])")
    arrays = {}
    for name, values in axes.items():
        array = np.atleast_1d(np.asarray(values, float))
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"axis {name!r} is empty: give at least one value")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"axis {name!r} holds values that are not finite")
        if np.unique(array).size != array.size:
            raise ValueError(f"axis {name!r} holds a value twice")
        if name in ("mass", "coupling") and np.any(array < 0):
            raise ValueError(f"axis {name!r} holds {array.min():g}: it must not be negative")
        array.setflags(write=False)
        arrays[name] = array
    make = named_interaction(theory) if isinstance(theory, str) else theory
    label = theory if isinstance(theory, str) else getattr(theory, "__name__", type(theory).__name__)
    return Grid(make, arrays, label)


def coupling_terms(likelihood: Likelihood, theory: Theory | AbstractInteraction) -> Float[Array, "3 bin"]:
    """Signals (S_0, S_2, S_4) of a mediator theory: the signal is S_0 + g^2 S_2 + g^4 S_4 for any coupling g.

    Args:
        likelihood: the experiments.
        theory: a mediator, or a theory with one; its coupling does not matter.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> s0, s2, s4 = jc.coupling_terms(likelihood, jc.interaction("vector", mass=10.0))
        >>> g = 2e-5
        >>> round(float((s0 + g**2 * s2 + g**4 * s4).sum()), 2)  # events
        2.04
    """
    return jnp.stack([joint.signal(likelihood, term) for term in _split(theory)])


def natural_coupling(terms: Float[np.ndarray, "3 anchor_bin *point"]) -> Float[np.ndarray, "*point"]:
    """Coupling at which the new signal, or its interference, equals that of the Standard Model."""
    standard, interference, new = np.abs(terms.sum(axis=1))
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum((standard / new) ** 0.25, (standard / interference) ** 0.5))


def _split(theory: Theory | AbstractInteraction) -> list[Theory]:
    """The theory's terms in g^0, g^2, g^4 as theories."""
    whole = as_theory(theory)
    if not (isinstance(whole, Theory) and isinstance(whole.interaction, AbstractCoupled)):
        name = type(getattr(whole, "interaction", whole)).__name__
        raise TypeError(f"{name} is not a mediator: its coupling is not factored out")
    return [Theory(CouplingTerms(whole.interaction, power=power), whole.b8_flux) for power in range(3)]


@partial(jax.jit, static_argnums=4)
def _spectra(
    flux: NeutrinoFlux, target: AnyTarget, recoil: Array, moments: Array, make: Callable, values: dict[str, Array]
) -> Float[Array, "3 recoil point"]:
    """Recoil spectra of a mediator's terms."""

    def one(point: dict[str, Array]) -> Array:
        spectra = [recoil_spectrum(theory, flux, target, recoil, moments) for theory in _split(make(**point))]
        return jnp.stack(spectra)

    return jax.vmap(one, out_axes=-1)(values)


class _Source(NamedTuple):
    """One flux of one experiment, with what folding it takes."""

    flux: NeutrinoFlux
    target: AnyTarget
    recoil: np.ndarray
    moments: np.ndarray
    place: tuple[int, int]  # experiment, and which of its fluxes


def _alike(likelihood: Likelihood) -> list[list[_Source]]:
    """Sources grouped by flux and target: one call serves each group, whatever the detectors."""

    def same(a: object, b: object) -> bool:
        (x, structure), (y, other) = jax.tree.flatten(a), jax.tree.flatten(b)
        return structure == other and all(map(np.array_equal, x, y))

    groups: list[list[_Source]] = []
    for i, (experiment, moments) in enumerate(zip(likelihood.experiments, likelihood.moments, strict=True)):
        for k, ((flux, recoil), own) in enumerate(zip(experiment.sources, moments, strict=True)):
            source = _Source(flux, experiment.target, np.asarray(recoil), np.asarray(own), (i, k))
            for group in groups:
                if same((flux, experiment.target), (group[0].flux, group[0].target)):
                    group.append(source)
                    break
            else:
                groups.append([source])
    return groups


def mediator_terms(
    likelihood: Likelihood, make: Callable, columns: dict[str, np.ndarray]
) -> Float[np.ndarray, "3 bin point"]:
    """`coupling_terms` for many points of everything but the coupling.

    Args:
        likelihood: the experiments.
        make: keyword arguments, `coupling` among them, to a mediator theory.
        columns: values of the other arguments, one entry per point.
    """
    points = len(next(iter(columns.values())))
    columns = {**columns, "coupling": np.zeros(points)}  # a mediator needs one; the terms do not depend on it
    spectra: dict[tuple[int, int], np.ndarray] = {}
    for group in _alike(likelihood):
        recoil = np.concatenate([source.recoil for source in group])
        moments = np.concatenate([source.moments for source in group], axis=-1)
        ends = np.cumsum([source.recoil.size for source in group])
        padding = -recoil.size % BLOCK
        widths = [(0, 0)] * (moments.ndim - 1) + [(0, padding)]
        recoil, moments = np.pad(recoil, (0, padding), mode="edge"), np.pad(moments, widths)
        fold = partial(_spectra, group[0].flux, group[0].target, recoil, moments, make)
        found = np.split(_in_batches(fold, columns, _MASSES), ends, axis=1)[:-1]
        spectra.update({source.place: own for source, own in zip(group, found, strict=True)})
    parts = []
    for i, e in enumerate(likelihood.experiments):
        own = np.concatenate([spectra[i, k] for k in range(len(e.fluxes))], axis=1)
        operator = np.asarray(e.correction)[..., None] * np.asarray(e.response.matrix)
        parts.append(np.tensordot(operator, own, axes=(-1, 1)))  # (*anchor, bin, 3, point)
    return np.moveaxis(join_signals(likelihood, parts, trailing=2), 1, 0)


@partial(jax.jit, static_argnums=1)
def _signals(likelihood: Likelihood, make: Callable, values: dict[str, Array]) -> Float[Array, "bin point"]:
    # A few at a time: the energy integral of an unknown interaction takes megabytes a point.
    return jax.lax.map(lambda v: joint.signal(likelihood, make(**v)), values, batch_size=4).T


def coupling_is_axis(make: Callable, others: Mapping[str, float]) -> bool:
    """Whether `make` hands its argument `coupling` to a mediator as it is, and to nothing else."""
    mediator = False

    def parts(value: Array) -> tuple[Array, list[Array]]:
        nonlocal mediator
        theory = as_theory(make(**others, coupling=value))
        found: Any = getattr(theory, "interaction", None)
        mediator = isinstance(found, AbstractCoupled)
        if not mediator:
            return value, []
        rest = eqx.tree_at(lambda t: t.interaction.coupling, theory, None)
        return found.coupling, jax.tree.leaves(eqx.filter(rest, eqx.is_array))

    # Read off the trace, where nothing is compiled: the coupling goes in, comes out, and touches nothing else.
    jaxpr = jax.make_jaxpr(parts)(jnp.zeros(())).jaxpr
    touched = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if touched.intersection(v for v in equation.invars if isinstance(v, Var)):
            touched.update(equation.outvars)
    same, *rest = jaxpr.outvars
    return mediator and same is jaxpr.invars[0] and not touched.intersection(v for v in rest if isinstance(v, Var))


def _in_batches(call: Callable[[dict[str, Array]], Array], values: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Evaluate along the last axis in batches of one size, so that one compilation serves all."""
    points = len(next(iter(values.values())))
    parts = []
    for first in range(0, points, size):
        batch = {name: np.resize(column[first : first + size], size) for name, column in values.items()}
        parts.append(np.asarray(call({name: jnp.asarray(column) for name, column in batch.items()})))
    return np.concatenate(parts, axis=-1)[..., :points]


def grid_mixtures(likelihood: Likelihood, theories: Grid, rows: slice = slice(None)) -> Mixture:
    """Signals at the points of a grid whose coupling factors out, last axis fastest: folded once per mass.

    Args:
        likelihood: the experiments.
        theories: the grid.
        rows: part of the first axis.
    """
    axes = dict(theories.axes)
    first = next(iter(axes))
    axes[first] = axes[first][rows]
    others = {name: values for name, values in axes.items() if name != "coupling"}
    mesh = np.meshgrid(*others.values(), indexing="ij") if others else [np.zeros(1)]
    columns = {name: column.ravel() for name, column in zip(others, mesh, strict=False)}
    terms = mediator_terms(likelihood, theories.make, columns or {"coupling": np.zeros(1)})
    shape = tuple(values.size for values in axes.values())
    index = np.indices(shape).reshape(len(shape), -1)
    place = list(axes).index("coupling")
    row = np.zeros(index.shape[1], int)
    for k, size in enumerate(shape):
        if k != place:
            row = row * size + index[k]
    squared = axes["coupling"][index[place]] ** 2
    weights = np.stack([np.ones_like(squared), squared, squared**2])
    return Mixture(np.ascontiguousarray(np.moveaxis(terms, 2, 0)), row, weights)


def grid_signals(likelihood: Likelihood, theories: Grid, rows: slice = slice(None)) -> Float[np.ndarray, "bin point"]:
    """Expected signal at the points of a grid, last axis fastest.

    A mediator is folded once per mass, whatever the number of couplings; any other theory point by point.

    Args:
        likelihood: the experiments.
        theories: the grid.
        rows: part of the first axis.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> signals = jc.grid_signals(likelihood, jc.grid("scalar", mass=[10.0], coupling=[0.0, 1e-5, 2e-5]))
        >>> [round(n, 1) for n in signals.sum(axis=0).tolist()]  # events at each coupling
        [11.1, 37.8, 437.2]
    """
    if theories.factors:
        return expand(grid_mixtures(likelihood, theories, rows))
    axes = dict(theories.axes)
    first = next(iter(axes))
    axes[first] = axes[first][rows]
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    values = {name: column.ravel() for name, column in zip(axes, mesh, strict=True)}
    size = min(_POINTS, len(mesh[0].ravel()))
    return _in_batches(lambda v: _signals(likelihood.unlabelled, theories.make, v), values, size)
