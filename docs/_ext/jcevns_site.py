"""What the site generates at build time: the reference, the data tables, the notebooks.

Pages hold a marker, which is replaced by text before the page is parsed; nothing is written beside the sources but
copies of the notebooks.
"""

import ast
import dataclasses
import importlib
import inspect
import math
import re
import shutil
import textwrap
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxRole

import jcevns

PUBLIC = {
    id(getattr(group, name)): f"{group.__name__}.{name}"
    for group in (jcevns.physics, jcevns.detectors, jcevns)
    for name in group.__all__
    if not name.startswith("_") and not isinstance(getattr(group, name), types.ModuleType)
}
"""Names of the interface: of the package and of its groups."""

FULL = {name.rpartition(".")[2]: name for name in PUBLIC.values()}

# Names of other libraries in signatures and base classes: they have no page here, and their inventories are on the
# network. Everything else must resolve.
FOREIGN_MODULES = frozenset(
    {
        "collections.abc",
        "concurrent.futures",
        "equinox",
        "jax",
        "jnp",
        "matplotlib",
        "np",
        "numpy",
        "os",
        "typing",
        "xarray",
    }
)
FOREIGN_NAMES = frozenset(
    {
        "Any",
        "Array",
        "Axes",
        "Bool",
        "Callable",
        "Complex",
        "Container",
        "Figure",
        "Float",
        "Future",
        "Int",
        "Iterable",
        "Iterator",
    }
    | {"Line2D", "Mapping", "Module", "NamedTuple", "Path", "Sequence", "ndarray"}
    | {"Objective", "Run", "Table"}  # ours: aliases, and of modules that have no page
    | {"bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple", "type", "None"}
    | {"ImportError", "OSError", "RuntimeError", "TypeError", "ValueError"}
)


class Name(SphinxRole):
    """A word in single backticks: a link if it is unmistakably one of our names, code otherwise."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Nodes of one use."""
        text = self.text
        literal = nodes.literal(text, text)
        target = text.removesuffix("()")
        ours = target.startswith("jcevns.") or (target in FULL and (target[0].isupper() or "_" in target))
        if not ours or not _is_documented(target):
            return [literal], []
        link = addnodes.pending_xref("", literal, refdomain="py", reftype="obj", reftarget=_full(target))
        link["refwarn"] = True
        link.source, link.line = self.get_source_info()
        return [link], []


def _full(name: str) -> str:
    return name if name.startswith("jcevns.") else FULL.get(name, f"jcevns.{name}")


def _is_documented(name: str) -> bool:
    """Whether a dotted name is an object or module of the package."""
    parts = _full(name).split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False


# Reference.


def module_reference(name: str) -> Iterator[str]:
    """Section of one module: its docstring, then every name of its `__all__`, public ones under `jcevns`."""
    module = importlib.import_module(name)
    yield from (name, "-" * len(name), "", f".. automodule:: {name}", "")
    documented = ModuleAnalyzer.for_module(name).find_attr_docs()
    for label in getattr(module, "__all__", ()):
        item = getattr(module, label)
        public = PUBLIC.get(id(item), "")
        shown = public if public.endswith(f".{label}") else f"{name}.{label}"
        if inspect.isclass(item):
            yield from (f".. autoclass:: {shown}", "   :members:")
            if any(base.__module__.startswith("jcevns") for base in item.__bases__):
                yield "   :show-inheritance:"
            yield ""
        elif inspect.isroutine(item) or hasattr(item, "__wrapped__"):
            yield from (f".. autofunction:: {shown}", "")
        elif not isinstance(item, types.ModuleType):
            yield from _constant(shown, f"{name}.{label}", item, documented.get(("", label), []))


def _constant(shown: str, where: str, value: Any, text: list[str]) -> Iterator[str]:
    module, _, label = shown.rpartition(".")
    yield from (f".. py:data:: {label}", f"   :module: {module}")
    if shown != where:
        yield f"   :canonical: {where}"
    if isinstance(value, (int, float, str)) or (isinstance(value, tuple) and len(repr(value)) < 60):
        yield f"   :value: {value!r}"
    yield ""
    yield from (f"   {line}" for line in text)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        keys = ", ".join(f"``{key}``" for key in value)
        yield f"   Keys: {keys}."
    yield ""


def reference(match: re.Match[str]) -> str:
    """Section of the module that a marker names."""
    return "\n".join(module_reference(match.group(1)))


# Signatures as they stand in the source: jaxtyping's types, evaluated, no longer say `Float[Array, "bin"]`.


def _parse(item: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(item))).body[0]


def _annotation(node: ast.expr | None) -> str:
    if node is None:
        return ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return re.sub(r"' ", "'", ast.unparse(node))


def _argument(name: str, annotation: str, default: str | None) -> str:
    text = f"{name}: {annotation}" if annotation else name
    if default is None:
        return text
    return f"{text} = {default}" if annotation else f"{text}={default}"


def _function(tree: ast.FunctionDef, bound: bool) -> tuple[str, str | None]:
    every = tree.args
    positional = [*every.posonlyargs, *every.args]
    defaults = [None] * (len(positional) - len(every.defaults)) + [ast.unparse(d) for d in every.defaults]
    parts = [_argument(a.arg, _annotation(a.annotation), d) for a, d in zip(positional, defaults, strict=True)]
    parts = parts[1:] if bound else parts
    if every.vararg:
        parts.append("*" + _argument(every.vararg.arg, _annotation(every.vararg.annotation), None))
    elif every.kwonlyargs:
        parts.append("*")
    for a, d in zip(every.kwonlyargs, every.kw_defaults, strict=True):
        parts.append(_argument(a.arg, _annotation(a.annotation), None if d is None else ast.unparse(d)))
    if every.kwarg:
        parts.append("**" + _argument(every.kwarg.arg, _annotation(every.kwarg.annotation), None))
    return f"({', '.join(parts)})", _annotation(tree.returns) or None


def _default(value: ast.expr | None, field: dataclasses.Field | None) -> str | None:
    """Default of a field; of one that a function declares, what it ends up with."""
    if not isinstance(value, ast.Call) or field is None:
        return None if value is None else ast.unparse(value)
    if field.default_factory is not dataclasses.MISSING:
        return f"{getattr(field.default_factory, '__name__', 'list')}()"
    return None if field.default is dataclasses.MISSING else repr(field.default)


def _fields(cls: type) -> str | None:
    """Arguments of a dataclass or a named tuple."""
    fields: dict[str, dataclasses.Field] = {}
    if dataclasses.is_dataclass(cls):
        fields = {f.name: f for f in dataclasses.fields(cls)}
        order = [f.name for f in fields.values() if f.init]
    elif hasattr(cls, "_fields"):
        order = list(cls._fields)
    else:
        return None
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        if parent.__module__.startswith("jcevns"):
            for line in _parse(parent).body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    name = line.target.id
                    default = _default(line.value, fields.get(name))
                    found[name] = _argument(name, _annotation(line.annotation), default)
    return f"({', '.join(found[name] for name in order)})"


def signature(app: Sphinx, what: str, name: str, item: Any, options: Any, shown: str, returns: str) -> Any:
    """What autodoc shows as the signature."""
    if what == "class" and isinstance(item, type):
        own = item.__dict__.get("__init__")
        if issubclass(item, BaseException):
            return None  # nothing to replace
        written = own is not None and getattr(own, "__qualname__", "").startswith(item.__qualname__)
        if written and "def __init__" in inspect.getsource(item):
            return _function(_parse(inspect.unwrap(own)), bound=True)[0], None
        return _fields(item) or "", None
    if what in ("function", "method"):
        plain = inspect.unwrap(item)
        if isinstance(plain, partial) or not inspect.isroutine(plain):
            return None
        tree = _parse(plain)
        static = isinstance(tree, ast.FunctionDef) and any(
            ast.unparse(d) == "staticmethod" for d in tree.decorator_list
        )
        return _function(tree, bound=what == "method" and not static)
    return None


_COLON = "\ue000"


def before_napoleon(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text but for backticks and bullets: a star or a bar means itself, a colon no type."""
    for i, line in enumerate(lines):
        bullet = re.match(r" *\* |", line)
        pieces = line[bullet.end() :].split("`")
        pieces[::2] = [re.sub(r"([*|])", r"\\\1", piece) for piece in pieces[::2]]
        lines[i] = bullet.group() + "`".join(pieces)
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(":", _COLON)


def after_napoleon(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """The colons again."""
    lines[:] = [line.replace(_COLON, ":") for line in lines]


# Data.

_MEANING = {
    "published": "stands in the source, at most re-gridded or summed",
    "computed": "follows from a formula or from another table",
    "transcribed": "copied by hand, by us or by others, from a text or a file that was not obtainable",
    "digitised": "read from a figure, by us or by others",
    "reconstructed": "made up to match published totals; not data",
    "inferred": "deduced from published results, not stated there",
    "assumed": "chosen by us, no source",
}


def _badge(status: str) -> str:
    return f'<span class="status status-{status}">{status}</span>'


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _source(arxiv: str, doi: str) -> str:
    links = [f"[arXiv:{arxiv}](https://arxiv.org/abs/{arxiv})"] if arxiv else []
    links += [f"[doi](https://doi.org/{doi})"] if doi else []
    return ", ".join(links) or "see the card"


def statuses(_: re.Match[str]) -> str:
    """What the status words mean."""
    return _table(["status", "meaning"], [[_badge(k), v] for k, v in _MEANING.items()])


def data_table(_: re.Match[str]) -> str:
    """One row per card."""
    from jcevns import datasets

    rows = []
    for card in datasets.cards().values():
        licence = "facts" if card.licence.startswith("facts") else card.licence
        link = f"[`{card.name}`](#card-{card.name.replace('_', '-')})"
        rows.append([link, _badge(card.status), card.title, _source(card.arxiv, card.doi), licence])
    return _table(["table", "status", "what", "source", "licence"], rows)


def data_cards(_: re.Match[str]) -> str:
    """Every card with its columns."""
    from jcevns import datasets

    parts = []
    for card in datasets.cards().values():
        columns = [[f"`{c.name}`", "" if c.unit == "1" else c.unit, c.description] for c in card.columns]
        parts += [
            f"(card-{card.name.replace('_', '-')})=",
            f"### {card.name}",
            f"{_badge(card.status)} {card.title}. {card.description}",
            f"Source: {card.reference}; {_source(card.arxiv, card.doi)}. Licence: {card.licence}. "
            f"File `{card.file}`, SHA-256 `{card.sha256[:16]}...`.",
            _table(["column", "unit", "content"], columns),
        ]
    return "\n\n".join(parts)


def totals(_: re.Match[str]) -> str:
    """PandaX-4T's totals, with the status of each."""
    from jcevns import datasets

    table = datasets.read_table("pandax4t_us2_totals")
    rows = []
    for i, name in enumerate(table["quantity"]):
        value, error = float(table["value"][i]), float(table["error"][i])
        number = f"{value:g}" + (f" ± {error:g}" if error else "")
        unit = str(table["unit"][i])
        rows.append([f"`{name}`", f"{number} {'' if unit == '1' else unit}", _badge(str(table["status"][i])),
                     str(table["source"][i])])  # fmt: skip
    return _table(["quantity", "value", "status", "source"], rows)


def experiments(_: re.Match[str]) -> str:
    """The built-in experiments, from their records."""
    from jcevns.experiments.catalogue import EXPERIMENTS, experiment

    parts = []
    for name in EXPERIMENTS:
        record = experiment(name)
        words = " ".join(record.notes).lower()
        badges = [record.status] + [w for w in ("inferred", "assumed") if w in words and w != record.status]
        exposure = "" if math.isnan(record.exposure) else f", {record.exposure:.4g} tonne-year"
        rows = []
        for flux in (flux.parameter for flux in record.fluxes.values()):
            width = "none" if flux.sigma is None else f"{flux.sigma / flux.default:.4g}"
            rows.append([f"`{flux.name}`", width, "signal", "flux"])
        rows += [
            [f"`{n.name}`", f"{n.sigma:.4g}", ", ".join(n.components), "shared" if n.shared else ""]
            for n in record.nuisances
        ]
        rows += [[f"`{s.name}`", "1", "shape", f"{s.anchors[0]:g} to {s.anchors[-1]:g}"] for s in record.shapes]
        parts += [
            f"### {name}",
            " ".join(map(_badge, badges)) + f" {record.observed.size} bins ({record.observable}), "
            f"{float(record.observed.sum()):g} events{exposure}. Tables: "
            + ", ".join(f"[`{t}`](../data.md#card-{t.replace('_', '-')})" for t in record.tables)
            + ".",
            "\n".join(f"* {note}" for note in record.notes),
            _table(["parameter", "width", "acts on", ""], rows),
        ]
    return "\n\n".join(parts)


def combinations(_: re.Match[str]) -> str:
    """One row per built-in experiment, and the groups."""
    from jcevns.experiments.catalogue import EXPERIMENTS, experiment
    from jcevns.experiments.groups import GROUPS

    built = {name: experiment(name) for name in EXPERIMENTS}
    rows = []
    for name, record in built.items():
        fluxes = ", ".join(f"`{flux.parameter.name}`" for flux in record.fluxes.values())
        targets = ", ".join(dict.fromkeys(type(c.target).__name__ for c in record.channels))
        clash = [f"`{n}`" for n, other in built.items() if n != name and set(other.runs) & set(record.runs)]
        rows.append(
            [
                f"[`{name}`](#{name})",
                fluxes,
                {"Nuclei": "nuclei", "ElectronTarget": "electrons"}.get(targets, targets),
                f"{record.observed.size}",
                f"{float(record.observed.sum()):g}",
                _badge(record.status),
                ", ".join(clash),
            ]
        )
    head = ["experiment", "fluxes", "recoils of", "bins", "events", "status", "not together with (same runs)"]
    groups = [
        [f"`{name}`", group.about, ", ".join(f"`{m}`" for m in group.members),
         "; ".join(f"`{n}` {why}" for n, why in group.left_out.items())]
        for name, group in GROUPS.items()
    ]  # fmt: skip
    return _table(head, rows) + "\n\n" + _table(["group", "what", "experiments", "left out"], groups)


def reproductions(_: re.Match[str]) -> str:
    """Published numbers beside ours."""
    from benchmarks import reproductions as written

    return _table(written.HEAD, written.cells()) + "\n\n" + "\n".join(f"* {line}" for line in written.left())


def borexino_moment(_: re.Match[str]) -> str:
    """What limits on the moment rest on."""
    from benchmarks import borexino_moment as written

    return _table(written.HEAD, written.cells())


def speed(_: re.Match[str]) -> str:
    """Tables of the committed benchmark."""
    from benchmarks.page import tables

    return tables()


# Command line.


def keep_lines(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Blocks whose lines click keeps are typed text: sphinx-click has them as verses."""
    out: list[str] = []
    for line in lines:
        if line.startswith("| "):
            if not (out and out[-1].startswith("   ")):
                out += ["", ".. code-block:: text", ""]
            out.append(f"   {line[2:]}")
        else:
            out.append(line)
    lines[:] = out


# Notebooks.


def copy_notebooks(app: Sphinx) -> None:
    """Copies of the repository's notebooks, and of no others, so that the glob finds them."""
    target, source = Path(app.srcdir) / "notebooks", Path(app.srcdir).parent / "notebooks"
    found = sorted(source.glob("*.ipynb")) if source.is_dir() else []
    target.mkdir(exist_ok=True)
    for old in target.glob("*.ipynb"):
        if old.name not in {f.name for f in found}:
            old.unlink()
    for file in found:
        copy = target / file.name
        if not copy.exists() or copy.read_bytes() != file.read_bytes():
            shutil.copyfile(file, copy)
    # A link to a notebook that is not in the tree is no error of the site: `tests/test_docs.py` looks after those.
    linked = {link for file in found for link in re.findall(r"\]\(([\w./-]+\.ipynb)\)", file.read_text("utf-8"))}
    absent = {link for link in linked if not (source / link).exists()}
    app.config.nitpick_ignore = {*app.config.nitpick_ignore, *(("myst", link) for link in absent)}


def notebooks(_: re.Match[str]) -> str:
    """A glob toctree, if there is anything to find."""
    if not any((Path(__file__).parents[1] / "notebooks").glob("*.ipynb")):
        return "There are none in this tree yet."
    return "```{toctree}\n:maxdepth: 1\n:glob:\n\nnotebooks/*\n```"


def describe(app: Sphinx, doctree: nodes.document) -> None:
    """Pictures that a notebook's code drew say in whose section they stand."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt"):
            section: Any = image
            while not isinstance(section, nodes.section | nodes.document):
                section = section.parent
            title = section.next_node(nodes.title)
            image["alt"] = f"figure: {title.astext() if title else app.env.docname}"


_GENERATED = {
    "statuses": statuses,
    "data-table": data_table,
    "data-cards": data_cards,
    "totals": totals,
    "experiments": experiments,
    "combinations": combinations,
    "reproductions": reproductions,
    "borexino-moment": borexino_moment,
    "speed": speed,
    "notebooks": notebooks,
}
_MARKER = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.M)
_REFERENCE = re.compile(r"^\.\. reference:: ([\w.]+)$", re.M)


def generate(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replace the markers of a page."""
    text = _MARKER.sub(lambda m: _GENERATED[m.group(1)](m), content[0])
    content[0] = _REFERENCE.sub(reference, text)


def foreign(app: Sphinx, env: Any, node: addnodes.pending_xref, contnode: nodes.Node) -> nodes.Node | None:
    """Names of other libraries stay plain; our classes in signatures are found by their last part."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if target.rpartition(".")[2].startswith("_"):
        return contnode  # private aliases
    module, _, last = target.rpartition(".")
    foreign_module = module.split(".")[0] in FOREIGN_MODULES or module in FOREIGN_MODULES
    if foreign_module or (not module and last in FOREIGN_NAMES) or not target.strip("'") or target.startswith("'"):
        return contnode  # shapes of arrays are strings
    ours = {shown.rpartition(".")[2]: shown for shown in env.domaindata["py"]["objects"]}
    shown = ours.get(target.rpartition(".")[2])
    if shown is None:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", shown, node, contnode)


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point of the extension."""
    app.add_role("name", Name())
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", generate)
    app.connect("doctree-read", describe)
    for part in ("description", "epilog"):
        app.connect(f"sphinx-click-process-{part}", keep_lines)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    app.connect("missing-reference", foreign)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": jcevns.__version__}
