"""Signals of many points of a theory: folded once for each value of what the terms depend on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.compiled import RUN_ONCE, RUN_SELDOM, compiled
from jcevns.experiments.experiment import has_additions, of_source, require_one_channel
from jcevns.likelihood.likelihood import Likelihood, join_signals
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.interaction import Interaction, depends, has_terms, theory_parameters, with_values
from jcevns.physics.new_physics import Addition
from jcevns.physics.recoil import BLOCK, AnyTarget, particles_of, pieces_of, term_spectra

__all__ = ["Folding", "folded_parameters"]

_POINTS = 16  # folded at a time: one size, so that one program serves all
_FEW = 4  # the same where nothing is known about the dependence on energy


def folded_parameters(likelihood: Likelihood, names: Sequence[str]) -> tuple[str, ...]:
    """Those parameters of the theory that its terms depend on: the signal is folded anew for each of their values."""
    theory, own = likelihood.theory, theory_parameters(likelihood.theory)
    particles = [p for e in likelihood.experiments for t in e.targets for p in particles_of(t)]
    kinds = {type(p): p for p in particles}
    flavours = tuple(
        dict.fromkeys(f for e in likelihood.experiments for flux in e.fluxes.values() for f in flux.flavours)
    )
    # The code of the theory decides, whatever its values: looking into it takes a while.
    code = jax.tree.structure(theory), tuple(np.shape(x) for x in jax.tree.leaves(theory)), tuple(kinds), flavours
    for name in names:
        if (code, name) not in _known:
            _known[code, name] = depends(theory, own[name][0], tuple(kinds.values()), flavours)
    return tuple(n for n in names if _known[code, n])


_known: dict[tuple[Any, str], bool] = {}


class _Channel(NamedTuple):
    """A channel of an experiment, with what folding it takes."""

    flux: NeutrinoFlux
    target: AnyTarget
    recoil: np.ndarray
    moments: np.ndarray
    place: tuple[int, int]  # experiment, and which of its channels


def _alike(likelihood: Likelihood) -> list[list[_Channel]]:
    """Channels grouped by flux and target: one call serves each group, whatever the detectors."""

    def same(a: object, b: object) -> bool:
        (x, structure), (y, other) = jax.tree.flatten(a), jax.tree.flatten(b)
        return structure == other and all(map(np.array_equal, x, y))

    groups: list[list[_Channel]] = []
    for i, (experiment, moments) in enumerate(zip(likelihood.experiments, likelihood.moments, strict=True)):
        for k, (channel, own) in enumerate(zip(experiment.channels, moments, strict=True)):
            entry = _Channel(
                channel.flux, channel.target, np.asarray(channel.response.recoil_keV), np.asarray(own), (i, k)
            )
            for group in groups:
                if same((channel.flux, channel.target), (group[0].flux, group[0].target)):
                    group.append(entry)
                    break
            else:
                groups.append([entry])
    return groups


@compiled(options=RUN_SELDOM)
def _spectra(
    theory: Interaction,
    values: Mapping[str, Array],
    flux: NeutrinoFlux,
    target: AnyTarget,
    recoil: Array,
    moments: Array,
    order: int,
) -> Float[Array, "derivative term recoil point"]:
    """Spectra of all terms, and their derivatives in the values, at many points."""

    def at(vector: Array) -> Array:
        point = dict(zip(values, vector, strict=True))
        pieces = pieces_of(with_values(theory, point))
        return jnp.concatenate([term_spectra(piece, flux, target, recoil, moments) for piece, _ in pieces])

    def one(vector: Array) -> Array:
        rows = [at(vector)[None]]
        if order > 0:
            rows.append(jnp.moveaxis(jax.jacfwd(at)(vector), -1, 0))
        if order > 1:
            second = jnp.moveaxis(jax.jacfwd(jax.jacfwd(at))(vector), (-2, -1), (0, 1))
            rows.append(second.reshape(-1, *second.shape[2:]))
        return jnp.concatenate(rows)

    points = jnp.stack(list(values.values()), axis=-1)
    return jnp.moveaxis(jax.vmap(one)(points), 0, -1)


def _in_batches(
    call: Callable[[dict[str, np.ndarray]], Array], values: Mapping[str, np.ndarray], size: int
) -> np.ndarray:
    """Results for all points, in batches; points last."""
    points = len(next(iter(values.values())))
    parts = []
    for first in range(0, points, size):
        batch = {name: np.resize(column[first : first + size], size) for name, column in values.items()}
        parts.append(np.asarray(call(batch)))
    return np.concatenate(parts, axis=-1)[..., :points]


class Folding:
    """Signals of the terms of a theory.

    Args:
        likelihood: the experiments.
        theory: everything but the values that vary.

    Raises:
        ValueError: a recoil spectrum where an experiment has several channels.
    """

    def __init__(self, likelihood: Likelihood, theory: Interaction):
        if has_additions(theory):
            for experiment in likelihood.experiments:
                require_one_channel(experiment)
        self.likelihood, self.theory = likelihood, theory
        pieces = pieces_of(theory)
        tables = [isinstance(piece, Addition) for piece, _ in pieces]
        sizes = [int(jax.eval_shape(piece.weights).shape[0]) for piece, _ in pieces]
        self._table = np.repeat(tables, sizes)
        plain = all(table or has_terms(piece) for (piece, _), table in zip(pieces, tables, strict=True))
        self._points = _POINTS if plain else _FEW
        self._groups = []
        for group in _alike(likelihood):
            recoil = np.concatenate([channel.recoil for channel in group])
            moments = np.concatenate([channel.moments for channel in group], axis=-1)
            padding = -recoil.size % BLOCK
            widths = [(0, 0)] * (moments.ndim - 1) + [(0, padding)]
            inputs = (np.pad(recoil, (0, padding), mode="edge"), np.pad(moments, widths))
            self._groups.append((group, inputs))

    def __call__(
        self, values: Mapping[str, np.ndarray], order: int = 0
    ) -> Float[np.ndarray, "derivative point term anchor_bin"]:
        """Signals at many values of what the terms depend on.

        Args:
            values: by name, one entry per point; one point if there are none.
            order: of the derivatives in the values, 0, 1 or 2.

        Returns:
            Per unit weight; derivatives follow the value, first ones by name, then second ones by pair of names.
        """
        columns = {name: np.asarray(column, float) for name, column in values.items()}
        rows = sum(len(columns) ** power for power in range(order + 1))
        # Second derivatives in one value take little time, another program takes seconds to compile.
        calculated = 2 if order and len(columns) == 1 else order
        spectra: dict[tuple[int, int], np.ndarray] = {}
        for group, inputs in self._groups:
            source = (group[0].flux, group[0].target, *inputs)
            if columns:
                call = lambda batch, source=source: _spectra(self.theory, batch, *source, calculated)  # noqa: E731
                found = _in_batches(call, columns, self._points)[:rows]
            else:
                found = np.asarray(_still(self.theory, *source))[None, ..., None]
            ends = np.cumsum([channel.recoil.size for channel in group])
            parts = np.split(found, ends, axis=2)[:-1]
            spectra.update({channel.place: own for channel, own in zip(group, parts, strict=True)})
        counts = []
        for i, (experiment, sources) in enumerate(
            zip(self.likelihood.experiments, self.likelihood.sources, strict=True)
        ):
            total: dict[str, Any] = {}
            for k, channel in enumerate(experiment.channels):
                matrix = np.asarray(channel.response.matrix)
                seen = np.tensordot(matrix, spectra[i, k], axes=(-1, 2))  # (*anchor, bin, derivative, term, point)
                for name, chosen in ((channel.flux.name, ~self._table), ("", self._table)):
                    if np.any(chosen):
                        total[name] = total.get(name, 0.0) + seen * chosen[:, None]
            counts.append(np.stack([of_source(experiment, s, total[s.flux], trailing=3) for s in sources]))
        joined = join_signals(self.likelihood, counts, trailing=3)  # (anchor_bin, derivative, term, point)
        return np.ascontiguousarray(np.moveaxis(joined, (1, 3, 2), (0, 1, 2)))


@compiled(options=RUN_ONCE)
def _still(theory: Interaction, flux: NeutrinoFlux, target: AnyTarget, recoil: Array, moments: Array) -> Array:
    return jnp.concatenate([term_spectra(piece, flux, target, recoil, moments) for piece, _ in pieces_of(theory)])
