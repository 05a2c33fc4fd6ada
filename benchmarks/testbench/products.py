"""Products of factors as experiments have them, signals far above the data: each factor may take the way down."""

import itertools
from typing import Any

import numpy as np

from benchmarks.testbench import binned
from benchmarks.testbench.check import judge, merge
from benchmarks.testbench.reference import Models
from jcevns.likelihood.layout import Component, Layout, elimination_order

__all__ = ["CALL", "CALLS", "STRUCTURES", "draw", "run", "structure"]

CALL, CALLS = 1024, 8  # models in a call, and calls of one part


def structure(loading: list[list[int]], experiments: list[int], bins: list[int]) -> binned.Structure:
    """A structure by hand.

    Args:
        loading: 1 where a nuisance (column) acts on a component (row): a signal of each experiment, then backgrounds.
        experiments: of each component.
        bins: of each experiment.
    """
    rows, count = np.array(loading, float), len(bins)
    own = [
        Component(e, 0 if k < count else k - count, tuple(np.flatnonzero(row).tolist()))
        for k, (e, row) in enumerate(zip(experiments, rows, strict=True))
    ]
    edges = np.concatenate([[0], np.cumsum(bins)]).tolist()
    order = elimination_order(tuple(own), rows.shape[1])
    ends = tuple(itertools.pairwise(edges))
    layout = Layout(ends, tuple(own[:count]), tuple(own[count:]), rows.shape[1], order, True)
    return binned.Structure(layout, rows, np.repeat(np.arange(count), bins), np.array(experiments))


STRUCTURES = {
    "a flux and an efficiency": structure([[1, 1, 0], [0, 0, 1]], [0, 0], [3]),
    "two experiments of a flux": structure(
        [[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]], [0, 1, 0, 1], [3, 3]
    ),
    "three factors": structure([[1, 1, 1, 0], [0, 0, 0, 1]], [0, 0], [3]),
    "two experiments, three factors": structure(
        [[1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1]],
        [0, 1, 0, 1],
        [3, 11],
    ),
    "two fluxes, two experiments each": structure(
        [
            [1, 1, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 1, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 1, 1, 0, 0, 0],
            [0, 0, 0, 1, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 1],
        ],
        [0, 1, 2, 3, 0, 2],
        [3, 2, 5, 2],
    ),
    "an efficiency on a background too": structure([[1, 1, 0], [0, 1, 1]], [0, 0], [3]),
}


def draw(found: binned.Structure, rng: np.random.Generator, count: int = CALL) -> Models:
    """1 to 100 events of each component in a bin, widths of 3 to 30%, signals up to 1e4 times what was seen."""
    inside = found.experiment[:, None] == found.owner
    shape = (count, len(inside), found.owner.size)
    templates = 10 ** rng.uniform(0, 2, (count, len(inside), 1)) * np.exp(0.3 * rng.standard_normal(shape)) * inside
    observed = rng.poisson(templates.sum(axis=1)).astype(float)
    templates[:, : found.signals] *= 10 ** rng.uniform(-1, 4, (count, 1, 1))
    sigma = 10 ** rng.uniform(-1.5, -0.5, (count, found.loading.shape[1]))
    return Models(observed, templates, found.loading, sigma, found.signals)


def run(seed: int, index: int, calls: int = CALLS) -> dict[str, Any]:
    """Fit and judge models of one of the structures."""
    found = list(STRUCTURES.values())[index % len(STRUCTURES)]
    parts = []
    for call in range(calls):
        rng = np.random.default_rng([seed, index, call, 5])
        models = draw(found, rng)
        part = judge(models, binned.fit(found, models), rng)
        part["false"] = [{"seed": seed, "index": index, "call": call, **row} for row in part["false"]]
        parts.append(part)
    return merge(parts)
