"""Computes what `shipped` reads: `python -m jcevns.cli.describe`, or `make listings`, writes the file anew.

For developers, after a change of a theory, a parameter, an experiment or its data; a test says when it is due.
"""

import inspect
import os
from collections.abc import Mapping
from typing import Any

from jcevns.cli.app import json_text, start_jax
from jcevns.cli.building import classes, fields_of
from jcevns.cli.listings import plain_record
from jcevns.cli.shipped import LISTINGS, Listings
from jcevns.experiments.catalogue import describe, experiment
from jcevns.files import write_text
from jcevns.parameters import Parameters, declared
from jcevns.physics.flux import FLUX
from jcevns.physics.standard_model import StandardModel
from jcevns.physics.theories import FORM_FACTORS, MODEL_OPTIONS, THEORIES
from jcevns.physics.theories import theory as by_name

__all__ = ["computed"]


def computed() -> Listings:
    """The listings from the code and the data, in double precision; every experiment is built.

    Raises:
        DataError: a table of the data is missing or damaged.
    """
    standard = list(declared(StandardModel()))
    kinds = [*classes().values(), *FORM_FACTORS.values()]
    return {
        "theories": [_theory(name, standard) for name in THEORIES],
        "experiments": [_experiment(entry) for entry in describe()],
        "form_factors": {name: list(declared(kind())) for name, kind in FORM_FACTORS.items()},
        "parameters": list(dict.fromkeys([*standard, *(name for kind in kinds for name in fields_of(kind))])),
        "measured": FLUX,
    }


def _theory(name: str, standard: list[str]) -> dict[str, Any]:
    kind, settings = THEORIES[name]
    records = declared(by_name(name))
    own = [record for key, record in records.items() if key not in standard or kind is StandardModel]
    left = {"standard_model", *MODEL_OPTIONS.values(), *records}
    options = [o for o in inspect.signature(kind).parameters if o not in left]
    return {
        "name": name,
        "about": inspect.cleandoc(kind.__doc__ or "").partition("\n")[0],
        "settings": settings,
        "parameters": [plain_record(record) for record in records.values()],
        "options": [*options, *(o for o in MODEL_OPTIONS if o not in records)],
        "table": str(Parameters(own)).splitlines(),
    }


def _experiment(entry: Mapping[str, Any]) -> dict[str, Any]:
    built = experiment(entry["name"])
    return {
        "name": entry["name"],
        "about": entry["about"],
        "status": built.status,
        "fluxes": [flux.parameter.name for flux in built.fluxes.values()],
        "bins": int(built.observed.size),
        "events": float(built.observed.sum()),
        "options": dict(entry["options"]),
        "notes": list(built.notes),
    }


if __name__ == "__main__":
    os.environ.pop("JCEVNS_DATA", None)  # the file is of the data beside the code
    start_jax()
    write_text(LISTINGS, json_text(computed()) + "\n")
