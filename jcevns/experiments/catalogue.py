"""Experiments by name: the built-in ones, with options, and the user's TOML files."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jcevns.experiments.coherent_csi import coherent_csi_2021
from jcevns.experiments.coherent_lar import coherent_lar_2020
from jcevns.experiments.electron_recoil import lz_er_ws2022, lz_er_ws2024, pandax4t_er_run1, xenonnt_er_2022
from jcevns.experiments.experiment import Experiment
from jcevns.experiments.pandax4t import pandax4t_us2
from jcevns.experiments.texono import texono_2010
from jcevns.experiments.toml_file import load_experiment
from jcevns.experiments.xenonnt import xenonnt_2024_s2
from jcevns.experiments.xenonnt_official import xenonnt_2024, xenonnt_2026
from jcevns.spelling import unknown

__all__ = ["EXPERIMENTS", "experiment", "parse_experiment"]

EXPERIMENTS: dict[str, Callable[..., Experiment]] = {
    "xenonnt-2024-s2": xenonnt_2024_s2,
    "xenonnt-2024": xenonnt_2024,
    "xenonnt-2026": xenonnt_2026,
    "pandax4t-us2": pandax4t_us2,
    "coherent-csi-2021": coherent_csi_2021,
    "coherent-lar-2020": coherent_lar_2020,
    "xenonnt-er-2022": xenonnt_er_2022,
    "lz-er-ws2022": lz_er_ws2022,
    "lz-er-ws2024": lz_er_ws2024,
    "pandax4t-er-run1": pandax4t_er_run1,
    "texono-2010": texono_2010,
}
"""Built-in experiments: name to the function that builds it."""


def experiment(name: str, **options: Any) -> Experiment:
    """Build an experiment.

    Args:
        name: a key of `EXPERIMENTS`, or the path of a TOML file.
        options: of the built-in experiment, such as `table="T3"` or `response="unsmeared"`.

    Raises:
        ValueError: unknown name or option, with the known ones.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> xenonnt.observed.tolist()  # events per bin of cS2
        [16.0, 14.0, 7.0]
        >>> jc.experiment("xenonnt-2024-s2", correction="none").correction.tolist()  # an option of this experiment
        [1.0, 1.0, 1.0]
    """
    if name.endswith(".toml"):
        if options:
            raise ValueError(f"{name}: an experiment from a file takes no options, edit the file")
        return load_experiment(Path(name))
    if name not in EXPERIMENTS:
        raise ValueError(unknown("experiment", name, EXPERIMENTS, "give a file ending in .toml, or one of"))
    build = EXPERIMENTS[name]
    known = list(inspect.signature(build).parameters)
    for option in options:
        if option not in known:
            raise ValueError(unknown(f"{name}: option", option, known))
    return build(**options)


def parse_experiment(text: str, **defaults: Any) -> Experiment:
    """Experiment from the command line's form `NAME[:option=value...]`, as in `pandax4t-us2:table=T3`.

    Args:
        text: the specification.
        defaults: options used unless the text sets them; ones the experiment does not have are ignored.
    """
    name, *pairs = text.strip().split(":")
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not value:
            raise ValueError(f"{text!r}: expected NAME:option=value, as in pandax4t-us2:table=T3")
        try:
            options[key] = float(value)
        except ValueError:
            options[key] = value
    if name in EXPERIMENTS:
        known = inspect.signature(EXPERIMENTS[name]).parameters
        options = {k: v for k, v in defaults.items() if k in known} | options
    return experiment(name, **options)
