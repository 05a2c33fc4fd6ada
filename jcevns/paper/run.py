"""A reproduction in progress, and what a step of it is."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from jcevns.experiments.catalogue import experiment
from jcevns.experiments.experiment import Experiment
from jcevns.experiments.groups import GROUPS
from jcevns.files import write_csv
from jcevns.likelihood.likelihood import Likelihood
from jcevns.paper.estimates import PULL, Estimate, estimate

__all__ = ["COLOURS", "COMPLEMENTARY", "DATASETS", "LABELS", "LINES", "Run", "Step", "file_rows"]

DATASETS = {
    "pandax4t": ("pandax4t-us2",),
    "xenonnt": ("xenonnt-2024-s2",),
    "combined": ("xenonnt-2024-s2", "pandax4t-us2"),
}
"""Data sets of the paper, by the experiments they hold."""

LABELS = {"pandax4t": "PandaX-4T US2 (reconstructed)", "xenonnt": "XENONnT", "combined": "combined"}
COLOURS = {"pandax4t": "#0072B2", "xenonnt": "#D55E00", "combined": "#000000"}
LINES: dict[str, Any] = {
    name: {"color": COLOURS[name], "ls": ls, "label": LABELS[name]}
    for name, ls in (("pandax4t", "-."), ("xenonnt", "--"), ("combined", "-"))
}
"""How each data set is drawn."""

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
        estimates: by (quantity, dataset, flux pull).
    """

    out: Path
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    figures: list[tuple[Path, str]] = dataclasses.field(default_factory=list)
    estimates: dict[tuple[str, str, bool], Estimate] = dataclasses.field(default_factory=dict)

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """The default experiments, built once."""
        return {name: experiment(name) for name in DATASETS["combined"]}

    def held(self, dataset: str) -> list[Experiment]:
        """Experiments of one of the paper's data sets."""
        return [self.experiments[name] for name in DATASETS[dataset]]

    def likelihood(self, dataset: str, theory: str | None = None) -> Likelihood:
        """Likelihood of one of the paper's data sets."""
        return Likelihood(self.held(dataset), theory)

    def complementary(self, *names: str) -> list[Experiment]:
        """Experiments beside the paper's data sets, each built when first asked for and then listed in the report."""
        for name in names:
            if name not in self.experiments:
                self.experiments[name] = experiment(name, **COMPLEMENTARY[name])
        return [self.experiments[name] for name in names]

    def group(self, name: str) -> list[Experiment]:
        """Members of a group of experiments, each built when first asked for and then listed in the report."""
        for member in GROUPS[name].members:
            own = member.partition(":")[0]
            if own not in self.experiments:
                self.experiments[own] = experiment(member)
        return [self.experiments[member.partition(":")[0]] for member in GROUPS[name].members]

    def estimate(self, quantity: str, dataset: str, flux_pull: bool | None = None) -> Estimate:
        """Estimate with the default inputs, made once."""
        pull = PULL[quantity] if flux_pull is None else flux_pull
        key = (quantity, dataset, pull)
        if key not in self.estimates:
            self.estimates[key] = estimate(quantity, self.held(dataset), pull)
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
    write_csv(run.out / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
    run.results[name] = rows
