"""The package as a whole: import without side effects, public names, size of modules, doctests."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import io
import json
import pkgutil
import re
from pathlib import Path

import pytest

import jcevns
from tests.reference import run_python

SOURCE = Path(jcevns.__file__).parent
GROUPS = (jcevns.physics, jcevns.detectors)
PUBLIC = {n: getattr(g, n) for g in (jcevns, *GROUPS) for n in g.__all__ if getattr(g, n) not in GROUPS}
NOT_CALLABLE = {"EXPERIMENTS", "FLAVOURS", "FLUXES", "THEORIES", "__version__"}  # no docstring of their own
MOST_NAMES, MOST_LINES = 68, 400
LAYERS = (
    ("parameters", "precision", "constants", "spelling", "datasets", "files", "histogram", "export", "compiled"),
    *(("physics",), ("detectors",), ("experiments",), ("likelihood",), ("fit",), ("statistics",), ("plot",)),
    *(("paper",), ("cli", "__main__")),
)
OWN_NAMES = ("flux", "sin2w", "mass", "coupling", "b8_flux")
OWNERS = ("physics", "experiments", "paper")  # where these are defined, and the reproduction of the paper
ENTRY_POINTS = ("jcevns.cli", "jcevns.__main__")
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(jcevns.__path__, "jcevns.") if not m.name.startswith(ENTRY_POINTS)
)


def test_import_has_no_side_effect() -> None:
    done = run_python(
        "import json, os, sys, warnings\n"
        "before = dict(os.environ), list(warnings.filters)\n"
        "import jcevns\n"
        "assert 'jax' not in sys.modules\n"
        "import jcevns.fit.interval\n"  # the folder does not take the place of the function
        "assert callable(jcevns.fit) and jcevns.fit.__module__ == 'jcevns.fit.fit'\n"
        "assert all(getattr(jcevns, name) is not None for name in jcevns.__all__)\n"
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
    assert len(set(jcevns.__all__)) == len(jcevns.__all__) < MOST_NAMES
    assert len(PUBLIC) == sum(len(g.__all__) for g in (jcevns, *GROUPS)) - len(GROUPS)  # each in one place
    for name, found in PUBLIC.items():
        assert name == "__version__" or found.__doc__, name
    with pytest.raises(AttributeError, match="estimate"):
        jcevns.estimate  # noqa: B018 - gone


def test_the_likelihood_comes_first() -> None:
    for name, found in PUBLIC.items():
        if inspect.isfunction(found):
            arguments = list(inspect.signature(found).parameters)
            assert "likelihood" not in arguments[1:], name


def sources() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


def layer(module: str) -> int:
    """Of a module `jcevns.part...`; the package itself is on top of all."""
    part = [*module.split("."), ""][1]
    return next((i for i, names in enumerate(LAYERS) if part in names), len(LAYERS))


def test_no_module_imports_from_a_layer_above() -> None:
    upward = []
    for path, text in sources().items():
        own = ".".join(("jcevns", *path.relative_to(SOURCE).with_suffix("").parts))
        if own == "jcevns.__init__":
            continue
        assert layer(own) < len(LAYERS), f"{own} is in no layer"
        for node in ast.walk(ast.parse(text)):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                plain = name.split(".")[0] == "jcevns"
                if plain and name != "jcevns" and layer(name) > layer(own):
                    upward.append(f"{own} imports {name}")
    assert upward == []


def test_names_of_parameters_stay_where_they_are_defined() -> None:
    """Everything else works on any parameter: no string that names one of the paper's."""
    found = []
    for path, text in sources().items():
        if path.relative_to(SOURCE).parts[0] in OWNERS:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and node.value in OWN_NAMES:
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno}: {node.value!r}")
    assert found == []


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
    assert {path: length for path, length in lengths.items() if length >= MOST_LINES} == {}


def test_every_public_function_and_class_has_an_example() -> None:
    documented = {name for name, found in PUBLIC.items() if callable(found)}
    assert documented == set(PUBLIC) - NOT_CALLABLE
    assert [name for name in sorted(documented) if ">>> " not in PUBLIC[name].__doc__] == []


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
