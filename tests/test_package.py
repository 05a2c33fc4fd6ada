"""The package as a whole: import without side effects, public names, size of modules, doctests."""

from __future__ import annotations

import doctest
import importlib
import io
import json
import pkgutil
import re
from pathlib import Path

import pytest

import jcevns
from tests.reference import run_python

SOURCE = Path(jcevns.__file__).parent
PUBLIC = [
    "AbstractChargeYield",
    "AbstractFormFactor",
    "AbstractInteraction",
    "AbstractInverseEnergyInteraction",
    "AbstractMediator",
    "AxialVectorMediator",
    "Contours",
    "DataError",
    "EXPERIMENTS",
    "ElectronTarget",
    "Estimate",
    "Experiment",
    "FLAVOURS",
    "Fit",
    "Grid",
    "GridPosterior",
    "Helm",
    "Hypothesis",
    "INTERACTIONS",
    "Interval",
    "KleinNystrand",
    "Likelihood",
    "Limit",
    "MagneticMoment",
    "NestChargeYield",
    "NeutrinoFlux",
    "Nucleus",
    "Nuisance",
    "Parameter",
    "Posterior",
    "PowerLawChargeYield",
    "Prior",
    "Response",
    "ScalarMediator",
    "ShapeNuisance",
    "StandardModel",
    "SymmetrisedFermi",
    "TabulatedChargeYield",
    "TabulatedSpectrum",
    "Target",
    "TensorMediator",
    "Theory",
    "Toys",
    "VectorMediator",
    "__version__",
    "argon",
    "asimov",
    "b8",
    "b8_as_background",
    "cesium_iodide",
    "charge_response",
    "chi2_threshold",
    "combine",
    "component_counts",
    "contours",
    "correction_factors",
    "counts_above",
    "coupling_hypothesis",
    "coupling_terms",
    "coverage",
    "discovery",
    "electrons_of",
    "estimate",
    "expected_error",
    "expected_limit",
    "expected_significance",
    "experiment",
    "find_parameter",
    "fit_quality",
    "grid",
    "grid_signals",
    "hep",
    "hypothesis",
    "interaction",
    "interpolated_response",
    "interval",
    "laplace_grid",
    "limits",
    "load_experiment",
    "load_spectrum",
    "measure",
    "open_scan",
    "parse_prior",
    "profile",
    "profile_curve",
    "reactor",
    "recoil_spectrum",
    "sample",
    "scaled",
    "scan",
    "signal",
    "signal_counts",
    "signal_strength",
    "simulate",
    "solar",
    "spallation",
    "throw",
    "to_pyhf",
    "toy_interval",
    "xenon",
    "xenon_electrons",
]
NOT_CALLABLE = {"EXPERIMENTS", "FLAVOURS", "INTERACTIONS", "__version__"}  # no docstring of their own
ENTRY_POINTS = ("jcevns.cli", "jcevns.__main__")
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(jcevns.__path__, "jcevns.") if not m.name.startswith(ENTRY_POINTS)
)


def test_import_has_no_side_effect() -> None:
    done = run_python(
        "import json, os, sys, warnings\n"
        "before = dict(os.environ), list(warnings.filters)\n"
        "import jcevns\n"
        "import jax\n"
        "assert before[0] == dict(os.environ)\n"
        "loaded = [m for m in ('matplotlib', 'numpyro', 'optax', 'tqdm', 'click') if m in sys.modules]\n"
        "print(json.dumps([jax.config.jax_enable_x64, jax.config.jax_numpy_dtype_promotion, loaded]))\n",
        "-W",
        "error",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == [False, "standard", []]


def test_messages_without_run_time_type_checks() -> None:
    """What the type checker of this test session would catch first."""
    done = run_python(
        "from jcevns import Nuisance\n"
        "try:\n"
        "    Nuisance('a', 0.1, 'flat')\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    assert done.stdout == "nuisance 'a': components must be a non-empty tuple of names\n", done.stderr


def test_public_names() -> None:
    assert sorted(jcevns.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert hasattr(jcevns, name), name
        assert name == "__version__" or getattr(jcevns, name).__doc__, name


@pytest.mark.parametrize("name", MODULES)
def test_module_exports_what_it_says(name) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


def test_modules_are_short() -> None:
    lengths = {
        str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in SOURCE.rglob("*.py")
    }
    assert lengths
    assert {path: length for path, length in lengths.items() if length >= 400} == {}


def test_every_public_function_and_class_has_an_example() -> None:
    documented = {name for name in PUBLIC if callable(getattr(jcevns, name))}
    assert documented == set(PUBLIC) - NOT_CALLABLE
    assert [name for name in sorted(documented) if ">>> " not in getattr(jcevns, name).__doc__] == []


@pytest.mark.parametrize("name", ["jcevns", *MODULES])
def test_doctests(name) -> None:
    module = importlib.import_module(name)
    written = re.findall(r"^ *>>> ", Path(module.__file__).read_text(encoding="utf-8"), flags=re.MULTILINE)
    report = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        # Nothing of the module: an example must run as a user types it.
        test.globs = {"__name__": "__main__"}
        runner.run(test, out=report.write)
    assert runner.failures == 0, report.getvalue()
    assert runner.tries == len(written)
