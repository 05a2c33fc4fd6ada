"""Names of experiments, as they are written: what help, completion and messages need, without building anything."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jcevns.experiments.groups import GROUPS
from jcevns.spelling import unknown

__all__ = ["ENTRIES", "INPUTS", "Entry", "check_known", "check_option_names", "listed", "parsed"]


INPUTS = ("efficiency", "charge_yield", "form_factor", "flux")
"""Options that take a file, or an object in Python, in place of what an experiment was published with."""


class Entry(NamedTuple):
    """A built-in experiment.

    Attributes:
        where: `module:function` that builds it, in this folder.
        status: of its data at default options.
        about: what it is, in a line.
        options: names of its options, the arguments of the function.
    """

    where: str
    status: str
    about: str
    options: str = ""


ENTRIES: Mapping[str, Entry] = {
    "xenonnt-2024-s2": Entry(
        "xenonnt:xenonnt_2024_s2",
        "published",
        "XENONnT 8B CEvNS, SR0+SR1 in three cS2 bins, as arXiv:2411.11749 has it",
        "response shape correction efficiency charge_yield form_factor flux",
    ),
    "xenonnt-2024": Entry(
        "xenonnt_official:xenonnt_2024",
        "published",
        "XENONnT 8B CEvNS, SR0+SR1, the released four-dimensional templates",
        "shape template",
    ),
    "xenonnt-2026": Entry(
        "xenonnt_official:xenonnt_2026",
        "published",
        "XENONnT 8B CEvNS, SR0+SR1+SR2, released templates, some widths assumed",
        "shape accidental_sr2 efficiency",
    ),
    "xenonnt-s2only-2026": Entry(
        "xenonnt_s2only:xenonnt_s2only_2026",
        "published",
        "XENONnT ionisation signals alone, SR0+SR1+SR2, 7 bins of S2 each; data run low",
        "shape flux template run disjoint",
    ),
    "pandax4t-us2": Entry(
        "pandax4t:pandax4t_us2",
        "reconstructed",
        "PandaX-4T 8B CEvNS, ionisation only (US2), eight bins of electrons",
        "table shape field response efficiency charge_yield form_factor flux",
    ),
    "coherent-csi-2021": Entry(
        "coherent_csi:coherent_csi_2021",
        "published",
        "COHERENT CsI[Na] CEvNS at the SNS, light and time, 99 bins",
        "shapes steady_state beam_centre beam_width electrons widths",
    ),
    "coherent-lar-2020": Entry(
        "coherent_lar:coherent_lar_2020",
        "published",
        "COHERENT argon CEvNS at the SNS, energy, F90 and time, 960 bins",
        "shapes correction",
    ),
    "xenonnt-er-2022": Entry(
        "electron_recoil:xenonnt_er_2022",
        "published",
        "XENONnT electron recoils, 1 to 30 keV, 1.16 tonne-year",
        "binding background_error bin_keV efficiency",
    ),
    "lz-er-ws2022": Entry(
        "electron_recoil:lz_er_ws2022",
        "digitised",
        "LZ electron recoils, first run, 0.904 tonne-year",
        "binding background_error efficiency",
    ),
    "lz-er-ws2024": Entry(
        "electron_recoil:lz_er_ws2024",
        "digitised",
        "LZ electron recoils of 2024, 3.3 tonne-year",
        "binding background_error efficiency",
    ),
    "pandax4t-er-run1": Entry(
        "electron_recoil:pandax4t_er_run1",
        "digitised",
        "PandaX-4T electron recoils of Run1, exposure inferred",
        "exposure binding background_error efficiency",
    ),
    "texono-2010": Entry(
        "texono:texono_2010",
        "published",
        "TEXONO reactor antineutrinos on electrons of CsI(Tl), rate only",
    ),
    "borexino-phase2": Entry(
        "borexino:borexino_phase2",
        "published",
        "Borexino solar pp, pep and 7Be neutrinos on electrons, three rates",
        "above_keV solar_model",
    ),
    "borexino-phase3": Entry(
        "borexino_spectrum:borexino_phase3",
        "digitised",
        "Borexino solar neutrinos on electrons, 0.32 to 2.64 MeV, response inferred",
        "bismuth210 background_error merge solar_model",
    ),
    "dresden-ii": Entry(
        "dresden:dresden_ii",
        "digitised",
        "Dresden-II reactor CEvNS in germanium, 130 bins; hangs on contested quenching",
        "quenching k normalisation off errors electrons",
    ),
    "conus-plus-2025": Entry(
        "germanium_rates:conus_plus_2025",
        "transcribed",
        "CONUS+ reactor CEvNS in germanium, rate only",
        "k threshold",
    ),
    "coherent-ge-2024": Entry(
        "germanium_rates:coherent_ge_2024",
        "transcribed",
        "COHERENT germanium CEvNS at the SNS, first result, rate only",
        "k errors prediction",
    ),
    "coherent-ge-2026": Entry(
        "germanium_rates:coherent_ge_2026",
        "transcribed",
        "COHERENT germanium CEvNS at the SNS, second result, rate only",
        "k errors",
    ),
}
"""Built-in experiments by name."""

_FORM = "NAME:option=value, as in pandax4t-us2:table=T3"


def listed(text: str) -> list[str]:
    """Experiments separated by commas; a comma inside the path of a file that is there belongs to it."""
    pieces, found = text.split(","), []
    while pieces:
        for size in range(2, len(pieces) + 1):
            whole = ",".join(pieces[:size]).strip()
            values = [option.partition("=")[2] for option in re.split(r":(?=\w+=)", whole)]
            files = filter(_is_file, [whole] if whole.endswith(".toml") else values)
            if sum(file.count(",") for file in files) == size - 1:
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


def parsed(text: str) -> tuple[str, dict[str, str]]:
    """Name and options of `NAME[:option=value...]`."""
    text = text.strip()
    if text.endswith(".toml") and text.partition(":")[0] not in ENTRIES:
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


def check_known(given: Iterable[str]) -> None:
    """Raise ValueError for a name that is no built-in experiment, no group and no file, or for an unknown option."""
    for text in given:
        name, options = parsed(text)
        if name.endswith(".toml") or name in GROUPS:
            continue
        if name not in ENTRIES:
            raise ValueError(
                unknown("experiment", name, [*ENTRIES, *GROUPS], "give a file ending in .toml, or one of")
            )
        check_option_names(name, options)


def check_option_names(name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError for what is no option of a built-in experiment, or a file that is not there."""
    known = ENTRIES[name].options.split()
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                unknown(f"{name}: option", option, known, "choose from" if known else "it has no options").rstrip()
            )
        if isinstance(value, str) and value.lower().endswith(".csv") and not _is_file(value):
            raise ValueError(f"{name}: {option}={value}: there is no such file")
