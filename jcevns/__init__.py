"""Differentiable likelihoods for coherent elastic neutrino-nucleus scattering and the probes beside it."""

import importlib
import importlib.metadata
import sys
import types
from typing import Any

import lazy_loader

__version__ = importlib.metadata.version("jcevns")

# The public names are those of __init__.pyi, imported when they are first used: JAX takes a second.
__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_names, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


class _Package(types.ModuleType):
    """`jcevns.fit` is the function, whatever was imported from the folder of the same name before."""

    @property
    def fit(self) -> Any:
        return importlib.import_module("jcevns.fit.fit").fit

    @fit.setter
    def fit(self, module: types.ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package
