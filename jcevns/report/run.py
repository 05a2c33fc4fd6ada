"""A reproduction in progress, and what a step of it is."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from jcevns.experiments.catalogue import experiment
from jcevns.experiments.experiment import Experiment
from jcevns.inference.intervals import Estimate, estimate
from jcevns.inference.parameters import find_parameter
from jcevns.likelihood.joint import Likelihood
from jcevns.report import tables

__all__ = ["COMPLEMENTARY", "DATASETS", "STYLE_KEYS", "Run", "Step", "file_rows"]

DATASETS = {
    "pandax4t": ("pandax4t-us2",),
    "xenonnt": ("xenonnt-2024-s2",),
    "combined": ("xenonnt-2024-s2", "pandax4t-us2"),
}
"""Data sets of the paper, by the experiments they hold."""

STYLE_KEYS = {name: held[0] if len(held) == 1 else "combined" for name, held in DATASETS.items()}
"""Under which name each data set has its colour and label."""

COMPLEMENTARY: dict[str, dict[str, Any]] = {
    "coherent-csi-2021": {"shapes": "none"},
    "coherent-lar-2020": {"shapes": "none"},
    "xenonnt-er-2022": {},
    "lz-er-ws2022": {},
    "texono-2010": {},
}
"""Experiments set beside those of the paper, with their options: COHERENT without shape nuisances, for its speed."""


@dataclasses.dataclass
class Run:
    """One reproduction in progress.

    Attributes:
        out: folder of the results.
        results: what goes into summary.json, by step.
        figures: path of the PNG and caption, in order of appearance.
        estimates: by (parameter, dataset, flux pull).
    """

    out: Path
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    figures: list[tuple[Path, str]] = dataclasses.field(default_factory=list)
    estimates: dict[tuple[str, str, bool], Estimate] = dataclasses.field(default_factory=dict)

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """The default experiments, built once."""
        return {name: experiment(name) for name in DATASETS["combined"]}

    def likelihood(self, dataset: str, flux_pull: bool) -> Likelihood:
        """Likelihood of one of the paper's data sets."""
        return Likelihood([self.experiments[name] for name in DATASETS[dataset]], flux_pull)

    def complementary(self, *names: str) -> list[Experiment]:
        """Experiments beside the paper's data sets, each built when first asked for and then listed in the report."""
        for name in names:
            if name not in self.experiments:
                self.experiments[name] = experiment(name, **COMPLEMENTARY[name])
        return [self.experiments[name] for name in names]

    def estimate(self, parameter: str, dataset: str, flux_pull: bool | None = None) -> Estimate:
        """Estimate with the default inputs; `flux_pull` None takes the parameter's default."""
        pull = find_parameter(parameter).flux_pull if flux_pull is None else flux_pull
        key = (parameter, dataset, pull)
        if key not in self.estimates:
            self.estimates[key] = estimate(self.likelihood(dataset, pull), parameter)
        return self.estimates[key]


@dataclasses.dataclass(frozen=True)
class Step:
    """A named part of the reproduction.

    Attributes:
        title: printed as progress and as heading.
        run: computes and files the result.
        long: only with `--full`, and cached between runs.
    """

    title: str
    run: Callable[[Run], None]
    long: bool = False


def file_rows(run: Run, name: str, rows: list[dict[str, Any]]) -> None:
    """File rows of equal keys as CSV and in the summary."""
    tables.write_csv(run.out / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
    run.results[name] = rows
