"""Experiments by name: the built-in ones, with options, and the user's TOML files."""

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jcevns.experiments.borexino import LOWEST, borexino_phase2
from jcevns.experiments.borexino_spectrum import borexino_phase3
from jcevns.experiments.coherent_csi import coherent_csi_2021
from jcevns.experiments.coherent_lar import coherent_lar_2020
from jcevns.experiments.electron_recoil import lz_er_ws2022, lz_er_ws2024, pandax4t_er_run1, xenonnt_er_2022
from jcevns.experiments.experiment import Experiment
from jcevns.experiments.pandax4t import pandax4t_us2
from jcevns.experiments.texono import texono_2010
from jcevns.experiments.toml_file import load_experiment
from jcevns.experiments.xenonnt import xenonnt_2024_s2
from jcevns.experiments.xenonnt_official import xenonnt_2024, xenonnt_2026
from jcevns.spelling import number, unknown

__all__ = ["EXPERIMENTS", "describe", "experiment", "listed", "parse_experiment", "takes"]


class _Entry(NamedTuple):
    build: Callable[..., Experiment]
    status: str
    about: str


_ENTRIES: Mapping[str, _Entry] = {
    "xenonnt-2024-s2": _Entry(
        xenonnt_2024_s2, "published", "XENONnT 8B CEvNS, SR0+SR1 in three cS2 bins, as arXiv:2411.11749 has it"
    ),
    "xenonnt-2024": _Entry(
        xenonnt_2024, "published", "XENONnT 8B CEvNS, SR0+SR1, the released four-dimensional templates"
    ),
    "xenonnt-2026": _Entry(
        xenonnt_2026, "published", "XENONnT 8B CEvNS, SR0+SR1+SR2, released templates, some widths assumed"
    ),
    "pandax4t-us2": _Entry(
        pandax4t_us2, "reconstructed", "PandaX-4T 8B CEvNS, ionisation only (US2), eight bins of electrons"
    ),
    "coherent-csi-2021": _Entry(
        coherent_csi_2021, "published", "COHERENT CsI[Na] CEvNS at the SNS, light and time, 99 bins"
    ),
    "coherent-lar-2020": _Entry(
        coherent_lar_2020, "published", "COHERENT argon CEvNS at the SNS, energy, F90 and time, 960 bins"
    ),
    "xenonnt-er-2022": _Entry(xenonnt_er_2022, "published", "XENONnT electron recoils, 1 to 30 keV, 1.16 tonne-year"),
    "lz-er-ws2022": _Entry(lz_er_ws2022, "digitised", "LZ electron recoils, first run, 0.904 tonne-year"),
    "lz-er-ws2024": _Entry(lz_er_ws2024, "digitised", "LZ electron recoils of 2024, 3.3 tonne-year"),
    "pandax4t-er-run1": _Entry(
        pandax4t_er_run1, "digitised", "PandaX-4T electron recoils of Run1, exposure inferred"
    ),
    "texono-2010": _Entry(
        texono_2010, "published", "TEXONO reactor antineutrinos on electrons of CsI(Tl), rate only"
    ),
    "borexino-phase2": _Entry(
        borexino_phase2, "published", "Borexino solar pp, pep and 7Be neutrinos on electrons, three rates"
    ),
    "borexino-phase3": _Entry(
        borexino_phase3, "digitised", "Borexino solar neutrinos on electrons, 0.32 to 2.64 MeV, response inferred"
    ),
}

EXPERIMENTS: Mapping[str, Callable[..., Experiment]] = {name: entry.build for name, entry in _ENTRIES.items()}
"""Built-in experiments: name to the function that builds it."""

_RANGES = {
    "field": (1.0, 1e5, "V/cm"),
    "beam_centre": (-6.0, 6.0, "us"),
    "beam_width": (1e-3, 6.0, "us"),
    "background_error": (1e-4, 1e2, "relative"),
    "bin_keV": (0.1, 29.0, "keV"),
    "exposure": (1e-4, 1e4, "tonne-year"),
    "above_keV": (LOWEST, 230.0, "keV"),
    "merge": (1.0, 43.0, "channels"),
    "accidental_sr2": (1e-4, 1e2, "relative"),
    "efficiency": (1e-4, 1e2, "relative"),
}
"""Values that each option of a number may have, and their unit."""

_FORM = "NAME:option=value, as in pandax4t-us2:table=T3"


def describe() -> list[dict[str, Any]]:
    """What the built-in experiments are, without building them.

    Returns:
        One dict each: `name`, `about` in one line, `status` of the data at default options, and `options`, pairs of
        a name and its default.

    Example:
        >>> from jcevns.experiments.catalogue import describe
        >>> describe()[3]["options"]
        [('table', 'T1'), ('shape', 'bahcall1996'), ('field', 88.0), ('response', 'paper')]
    """
    return [
        {
            "name": name,
            "about": entry.about,
            "status": entry.status,
            "options": [(option, p.default) for option, p in inspect.signature(entry.build).parameters.items()],
        }
        for name, entry in _ENTRIES.items()
    ]


def experiment(name: str, **options: Any) -> Experiment:
    """Build an experiment.

    Args:
        name: `NAME[:option=value...]` with a key of `EXPERIMENTS`, or the path of a TOML file.
        options: of the built-in experiment, such as `table="T3"` or `response="unsmeared"`.

    Raises:
        ValueError: unknown name or option, with the known ones, or a value of the wrong kind.

    Example:
        >>> import jcevns as jc
        >>> xenonnt = jc.experiment("xenonnt-2024-s2")
        >>> xenonnt.observed.tolist()  # events per bin of cS2
        [16.0, 14.0, 7.0]
        >>> pandax = jc.experiment("pandax4t-us2:table=T3")  # the same as with table="T3"
        >>> pandax.notes[0][:8]
        'table T3'
    """
    name, own = _parsed(name)
    twice = [option for option in options if option in own]
    if twice:
        raise ValueError(f"{name}: option {twice[0]!r} is given twice, in the name and beside it")
    options = own | options
    if name.endswith(".toml"):
        if options:
            raise ValueError(f"{name}: an experiment from a file takes no options, edit the file")
        return load_experiment(Path(name))
    known = _options(name)
    for option in options:
        if option not in known:
            remedy = "choose from" if known else "it has no options"
            raise ValueError(unknown(f"{name}: option", option, known, remedy).rstrip())
    return EXPERIMENTS[name](**{o: _typed(name, o, value, known[o]) for o, value in options.items()})


def parse_experiment(text: str, **defaults: Any) -> Experiment:
    """The same with defaults: options used where the experiment has them and the text does not set them."""
    name, own = _parsed(text)
    if name.endswith(".toml"):
        return experiment(text)
    known = _options(name)
    return experiment(name, **({k: v for k, v in defaults.items() if k in known} | own))


def takes(text: str, option: str) -> bool:
    """Whether an experiment has an option, and the text does not set it."""
    name, own = _parsed(text)
    return name in EXPERIMENTS and option in _options(name) and option not in own


def listed(text: str) -> list[str]:
    """Experiments separated by commas; a comma inside the path of a file that is there belongs to it."""
    pieces, found = text.split(","), []
    while pieces:
        for size in range(1, len(pieces) + 1):
            whole = ",".join(pieces[:size]).strip()
            values = [option.partition("=")[2] for option in re.split(r":(?=\w+=)", whole)]
            if any(map(_is_file, [whole] if whole.endswith(".toml") else values)):
                break
        else:
            size = 1
        found.append(",".join(pieces[:size]).strip())
        pieces = pieces[size:]
    return [one for one in found if one]


def _is_file(path: str) -> bool:
    try:
        return bool(path) and Path(path).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        return False


def _parsed(text: str) -> tuple[str, dict[str, str]]:
    """Name and options of `NAME[:option=value...]`."""
    text = text.strip()
    if text.endswith(".toml") and text.partition(":")[0] not in EXPERIMENTS:
        return text, {}
    name, *pieces = text.split(":")
    pairs: list[str] = []
    for piece in pieces:
        # A colon inside a path, as in table=C:\\bins.csv, begins no option.
        if pairs and "=" in pairs[-1] and "=" not in piece and any(c in piece for c in "/\\."):
            pairs[-1] += f":{piece}"
        else:
            pairs.append(piece)
    options: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not key or not separator or not value:
            raise ValueError(f"{text!r}: {pair!r} is no option, expected {_FORM}")
        if key in options:
            raise ValueError(f"{text!r}: option {key!r} is given twice")
        options[key] = value
    return name, options


def _options(name: str) -> dict[str, Any]:
    """Options of a built-in experiment and their defaults."""
    if name not in EXPERIMENTS:
        raise ValueError(unknown("experiment", name, EXPERIMENTS, "give a file ending in .toml, or one of"))
    return {option: p.default for option, p in inspect.signature(EXPERIMENTS[name]).parameters.items()}


def _typed(name: str, option: str, value: Any, default: Any) -> Any:
    """A value as its default is: a number or text."""
    if isinstance(default, str):
        if not isinstance(value, str | Path):
            raise ValueError(f"{name}: {option} {value!r} must be text, such as {default!r}")
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        given = number(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: {option} {value!r} must be a number, such as {default:g}") from None
    low, high, unit = _RANGES[option]
    if not low <= given <= high:
        raise ValueError(f"{name}: {option} {given:g} must be from {low:g} to {high:g} ({unit}), such as {default:g}")
    return given
