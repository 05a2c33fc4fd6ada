"""Theories by name: the built-in ones with options, sums of them, and the user's classes in a file."""

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jcevns.compiled import forget_compiled
from jcevns.physics.contact import ContactInteractions
from jcevns.physics.electromagnetic import ChargeRadius, DipolePortal, MagneticMoment, Millicharge
from jcevns.physics.form_factors import Helm, KleinNystrand, SymmetrisedFermi
from jcevns.physics.interaction import Interaction
from jcevns.physics.mediators import AxialVectorMediator, ScalarMediator, TensorMediator, VectorMediator
from jcevns.physics.new_physics import NewPhysics, Sum
from jcevns.physics.nsi import NSI
from jcevns.physics.propagation import Oscillations
from jcevns.physics.recoil import load_spectrum
from jcevns.physics.standard_model import StandardModel
from jcevns.spelling import number, unknown

__all__ = ["FORM_FACTORS", "GAUGE_MODELS", "MEDIATORS", "MODEL_OPTIONS", "THEORIES", "theory"]

MEDIATORS: Mapping[str, tuple[type[Any], dict[str, Any]]] = {
    "scalar": (ScalarMediator, {}),
    "vector": (VectorMediator, {"kappa": 1.0}),
    "b-l": (VectorMediator, {"kappa": -1 / 3}),
    "axial": (AxialVectorMediator, {}),
    "tensor": (TensorMediator, {}),
}
"""The paper's interactions by name: class and settings."""

_NO_QUARKS: dict[str, Any] = {"up": 0.0, "down": 0.0}

GAUGE_MODELS: Mapping[str, tuple[type[Any], dict[str, Any]]] = {
    "b-3le": (VectorMediator, {"kappa": 1 / 3, "electron": -3.0, "flavours": (-3.0, 0.0, 0.0)}),
    "b-3lmu": (VectorMediator, {"kappa": 1 / 3, "electron": 0.0, "flavours": (0.0, -3.0, 0.0)}),
    "b-3ltau": (VectorMediator, {"kappa": 1 / 3, "electron": 0.0, "flavours": (0.0, 0.0, -3.0)}),
    "le-lmu": (VectorMediator, {**_NO_QUARKS, "electron": 1.0, "flavours": (1.0, -1.0, 0.0), "mixing": "loop"}),
    "le-ltau": (VectorMediator, {**_NO_QUARKS, "electron": 1.0, "flavours": (1.0, 0.0, -1.0), "mixing": "loop"}),
    "lmu-ltau": (VectorMediator, {**_NO_QUARKS, "electron": 0.0, "flavours": (0.0, 1.0, -1.0), "mixing": "loop"}),
    "dark-photon": (
        VectorMediator,
        {"up": 2 / 3, "down": -1 / 3, "electron": -1.0, "flavours": (1.0, 1.0, 1.0)},
    ),
}
"""Gauge bosons by name: vector mediators whose charges of quarks, electron and each neutrino are those of a symmetry.

A dark photon couples to matter by its electric charge; what it does to neutrinos is up to `flavours`.
"""

THEORIES: Mapping[str, tuple[type[Any], dict[str, Any]]] = {
    "standard-model": (StandardModel, {}),
    **MEDIATORS,
    "magnetic-moment": (MagneticMoment, {}),
    "charge-radius": (ChargeRadius, {}),
    "millicharge": (Millicharge, {}),
    "dipole-portal": (DipolePortal, {}),
    "nsi": (NSI, {}),
    "ngi": (ContactInteractions, {}),
    "oscillations": (Oscillations, {}),
    **GAUGE_MODELS,
}
"""Theories by name: class and settings."""

FORM_FACTORS: Mapping[str, type[Any]] = {"klein-nystrand": KleinNystrand, "helm": Helm, "fermi": SymmetrisedFermi}


def theory(specification: str, **options: Any) -> Interaction:
    """A theory from its name.

    Args:
        specification: `NAME[:option=value...]`, several joined by `+`; `spectrum:FILE.csv` for a table of dR/dT; or
            `FILE.py:ClassName` for a class of your own. The last runs the file: it is code, not data.
        options: fields of the class, as `mass=10.0` or `flavours=(0, 1, 0)`, for a single name.

    Raises:
        ValueError: unknown name or option, a file or a class that is not there.

    Example:
        >>> import jcevns as jc
        >>> mediator = jc.theory("b-l", mass=10.0, coupling=1e-5)
        >>> round(float(mediator.kappa), 3)
        -0.333
        >>> jc.theory("vector:kappa=-0.333+magnetic-moment").label
        'magnetic-moment+vector'
    """
    found: Interaction | None = None
    for part in _split(specification):
        one = _one(part, options)
        found = one if found is None else found + one
    if found is None:
        raise ValueError("the theory has no name: give one, as in scalar or scalar+magnetic-moment")
    return _calculated(found)


def _calculated(found: Interaction) -> Interaction:
    """With flavours calculated, where a part has a potential in matter and no part calculates them yet."""
    parts = [p for p in (found.parts if isinstance(found, Sum) else (found,)) if isinstance(p, NewPhysics)]
    if any(p.bends for p in parts) and not any(p.oscillating for p in parts):
        model = getattr(found, "standard_model", None)
        return found + (Oscillations() if model is None else Oscillations(standard_model=model))
    return found


def _split(text: str) -> list[str]:
    """Parts at a plus that is not in an exponent."""
    parts: list[str] = []
    for piece in text.split("+"):
        before = parts[-1][-2:] if parts else ""
        exponent = len(before) == 2 and before[1] in "eE" and before[0] in "0123456789." and piece[:1].isdigit()
        if exponent or (parts and _in_path(parts[-1], piece)):
            parts[-1] += "+" + piece
        else:
            parts.append(piece.strip())
    return [p for p in parts if p]


def _in_path(before: str, piece: str) -> bool:
    """Whether a plus is inside the path of a file that is there."""
    whole = f"{before}+{piece}"
    place = whole.removeprefix("spectrum:") if whole.startswith("spectrum:") else whole.rpartition(".py:")[0] + ".py"
    try:
        return Path(place).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        return False


def _one(text: str, options: Mapping[str, Any]) -> Interaction:
    if ".py:" in text:
        return _from_file(text, options)
    name, *pairs = text.split(":")
    if name == "spectrum":
        if options:
            raise ValueError(f"{text!r}: option {next(iter(options))!r} is not used here, a spectrum has none")
        file = text.partition(":")[2]  # a path may hold colons
        if not file:
            raise ValueError(f"{text!r}: write spectrum:FILE.csv")
        return load_spectrum(file)
    if name not in THEORIES:
        raise ValueError(unknown("theory", name, THEORIES, "give FILE.py:ClassName, spectrum:FILE.csv, or one of"))
    kind, settings = THEORIES[name]
    return _built(kind, {**settings, **_options(text, pairs, kind, options)}, name)


def _options(text: str, pairs: list[str], kind: type[Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Options as written, each as its field is, and those given beside the text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not value:
            raise ValueError(f"{text!r}: expected NAME:option=value, as in vector:kappa=-0.333")
        if key in options:
            raise ValueError(f"{text!r}: option {key!r} is given twice")
        try:
            parsed: Any = [number(v) for v in value.split(",")]
            parsed = parsed[0] if len(parsed) == 1 else tuple(parsed)
        except ValueError:
            parsed = value
        options[key] = _typed(text, kind, key, parsed)
    for key in more:
        if key in options:
            raise ValueError(f"{text!r}: option {key!r} is given twice, in the name and beside it")
    return options | dict(more)


def _is_number(default: Any) -> bool:
    return isinstance(default, int | float) and not isinstance(default, bool)


def _typed(text: str, kind: type[Any], key: str, value: Any) -> Any:
    """A written value, refused where its field holds another kind: a number, several, or text."""
    here = f"{text!r}: option {key!r}"
    field = kind.__dataclass_fields__.get(key)
    if key == "standard_model":
        raise ValueError(f"{here} is for Python: write sin2w, form_factor or couplings")
    if key in ("form_factor", "couplings") or (field is not None and isinstance(field.default, str)):
        wanted, good = "a word", isinstance(value, str)
    elif key == "flavours":
        wanted, good = "three numbers, as 0,1,-1", isinstance(value, tuple) and len(value) == 3
    elif field is not None and isinstance(field.default, tuple):
        wanted = f"{len(field.default)} numbers, separated by commas"
        good = isinstance(value, tuple) and len(value) == len(field.default)
    elif key in MODEL_OPTIONS or (field is not None and ("parameter" in field.metadata or _is_number(field.default))):
        wanted, good = "a number", isinstance(value, float)
    else:
        return value
    if not good:
        raise ValueError(f"{here} must be {wanted}")
    return value


MODEL_OPTIONS = {
    "couplings": "electron_couplings",
    "nuclear_couplings": "nuclear_couplings",
    "form_factor": "form_factor",
    "R_n": "form_factor",
    "R_p": "form_factor",
    "sin2w": "sin2w",
    "g_V_p": "g_V_p",
    "g_V_n": "g_V_n",
}
"""Options that go to the Standard Model: `couplings` to those of electrons and nuclei, radii to the form factor."""


def _built(kind: type[Any], options: dict[str, Any], name: str) -> Interaction:
    """An instance; options of the Standard Model go to the one it is added to."""
    known = [n for n in inspect.signature(kind).parameters if n not in ("standard_model", "populations")]
    adds = "standard_model" in inspect.signature(kind).parameters
    own: dict[str, Any] = {}
    model: dict[str, Any] = {}
    radii = {key: options[key] for key in ("R_n", "R_p") if key in options}
    if radii:
        options = {"form_factor": "klein-nystrand", **options}
    for key, value in options.items():
        if key == "form_factor" and (adds or kind is StandardModel):
            model[key] = _form_factor(value, radii, name)
        elif key in known or (key == "standard_model" and adds):
            own[key] = value
        elif key == "couplings" and (adds or kind is StandardModel):
            model = {"electron_couplings": value, "nuclear_couplings": value, **model}
        elif key in MODEL_OPTIONS and (adds or kind is StandardModel):
            if key not in radii:
                model[MODEL_OPTIONS[key]] = value
        else:
            every = [*known, *(k for k in MODEL_OPTIONS if k not in known and (adds or kind is StandardModel))]
            raise ValueError(unknown(f"{name}: option", key, every))
    if kind is StandardModel:
        return _checked(name, kind, own | model)
    return _checked(name, kind, own | ({"standard_model": StandardModel(**model)} if model else {}))


def _checked(name: str, kind: type[Any], options: dict[str, Any]) -> Any:
    try:
        return kind(**options)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"theory {name!r}: {error}") from None


def _form_factor(value: Any, radii: Mapping[str, Any], name: str) -> Any:
    if not isinstance(value, str):
        if radii:
            raise ValueError(f"{name}: give {', '.join(radii)} to the form factor itself")
        return value
    if value not in FORM_FACTORS:
        raise ValueError(unknown("form factor", value, FORM_FACTORS))
    if radii and value == "fermi":
        raise ValueError(
            f"{name}: form_factor='fermi' has no radii of protons and neutrons: choose klein-nystrand or helm"
        )
    return _checked(name, FORM_FACTORS[value], dict(radii))


def _from_file(text: str, options: Mapping[str, Any]) -> Interaction:
    """An instance of a class in a Python file, which is run."""
    place, _, rest = text.rpartition(".py:")
    path, (name, *pairs) = Path(f"{place}.py"), rest.split(":")
    if not path.is_file():
        raise ValueError(f"theory {text!r}: there is no file {path}")
    label = f"_jcevns_theory_{path.stem}"
    specification = importlib.util.spec_from_file_location(label, path)
    if specification is None or specification.loader is None:
        raise ValueError(f"theory {text!r}: {path} cannot be loaded as Python")
    forget_compiled()  # the file may change anything
    module = importlib.util.module_from_spec(specification)
    sys.modules[label] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    classes = {k: v for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, Interaction)}
    if name not in classes:
        own = [k for k, v in classes.items() if v.__module__ == label]
        raise ValueError(unknown(f"{path}: class", name, own or classes, "an Interaction of the file is wanted:"))
    return _checked(text, classes[name], _options(text, pairs, classes[name], options))
