"""The site builds without a warning, and what its pages show is what their code prints."""

import ast
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import jcevns

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "notebooks"} & set(p.relative_to(DOCS).parts))
FENCE = re.compile(r"^```(?P<kind>\{code-block\} )?(?P<language>\w+)\n(?P<body>.*?)^```$", flags=re.S | re.M)
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+\.?\d*(?:e[+-]?\d+)?(?![\w.]*\w)")
RELATIVE = 1e-3  # of each number: platforms round differently; words must agree letter by letter

LONGEST = 25  # lines of a recipe

PYHF = "ignore:jsonschema.RefResolver is deprecated:DeprecationWarning"  # by pyhf 0.7.6, which checks its schema so

# Runs the blocks of one page in one namespace; prints what each printed, as JSON.
RUNNER = """
import contextlib, io, json, sys
blocks, shown, names = json.loads(sys.stdin.read()), [], {"__name__": "__main__"}
for name, code in blocks:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, name, "exec"), names)
    shown.append(out.getvalue())
print(json.dumps(shown))
"""


def _blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, caption and text of each fenced block, in order."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        body, caption = match["body"], ""
        if match["kind"]:
            head = re.match(r"(?::caption: (.*)\n)?\n?", body)
            assert head
            caption, body = head[1] or "", body[head.end() :]
        found.append((match["language"], caption, body))
    return found


def _examples(page: Path) -> list[tuple[str, str]]:
    """Python blocks with the output that stands below each: nothing if there is none."""
    blocks = [b for b in _blocks(page) if not b[1]]
    pairs = itertools.pairwise([*blocks, ("", "", "")])
    return [
        (code, text if after == "text" else "") for (kind, _, code), (after, _, text) in pairs if kind == "python"
    ]


def _write_files(page: Path, folder: Path) -> None:
    """Files that the page shows under their names."""
    for _, caption, text in _blocks(page):
        if re.fullmatch(r"[\w.-]+\.(toml|csv|py)", caption):
            (folder / caption).write_text(text, encoding="utf-8")


_SETTINGS = {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "agg", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}


def _run(page: Path, folder: Path) -> list[str]:
    _write_files(page, folder)
    blocks = [(f"{page.name}, block {i}", code) for i, (code, _) in enumerate(_examples(page), 1)]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-W", PYHF, "-c", RUNNER],
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        env=os.environ | _SETTINGS,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def _agree(found: str, shown: str) -> bool:
    """Equal words; numbers within `RELATIVE`."""
    if NUMBER.sub("#", found) != NUMBER.sub("#", shown):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(shown), strict=True)
    return all(a == b or abs(float(a) - float(b)) <= RELATIVE * abs(float(b)) for a, b in pairs)


def _id(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path):
    build = ["-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    run = subprocess.run(
        [sys.executable, *build, str(DOCS), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    pages = "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "html" / "api").glob("*.html"))
    public = getattr(jcevns, "__all__", dir(jcevns))
    names = [n for n in public if not n.startswith("_") and not isinstance(getattr(jcevns, n), types.ModuleType)]
    assert len(names) > 40
    missing = [name for name in names if f'id="jcevns.{name}"' not in pages]
    assert not missing
    html = "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "html").glob("*.html"))
    assert "generated:" not in html
    assert "status-reconstructed" in html
    _check_resources(tmp_path / "html")


class Resources(HTMLParser):
    """What a browser loads for a page, and its pictures without words."""

    def __init__(self, text: str):
        super().__init__()
        self.loaded: list[str] = []
        self.wordless: list[str] = []
        self.feed(text)
        self.loaded += re.findall(r"(?:url\(|@import\s+(?!url))[\"']?([^\"')]+)", text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        relations = set((given.get("rel") or "").split())
        if tag != "a" and not relations & {"index", "search", "next", "prev", "canonical"}:
            self.loaded += [given[name] for name in ("src", "href", "data", "poster", "srcset") if given.get(name)]
        alt = given.get("alt") or ""
        if tag == "img" and (not alt or alt.endswith((".png", ".svg"))):
            self.wordless.append(given.get("src") or "")


def _check_resources(site: Path) -> None:
    """Nothing is fetched: all that a page loads lies in the site. Equations have their script, pictures words."""
    renderer = site / "_static" / "mathjax" / "tex-svg.js"
    assert renderer.stat().st_size > 1e6
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    equations = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        found = Resources(text)
        assert not found.wordless, page
        for name in found.loaded:
            assert name.startswith(("data:", "#")) or (page.parent / urlsplit(name).path).exists(), f"{page}: {name}"
        if 'class="math notranslate' in text:
            equations += 1
            assert renderer in {(page.parent / urlsplit(name).path).resolve() for name in found.loaded}, page
    assert equations > 20
    for sheet in site.rglob("*.css"):
        for name in Resources(sheet.read_text(encoding="utf-8")).loaded:
            assert name.startswith(("data:", "#")) or (sheet.parent / urlsplit(name).path).exists(), (
                f"{sheet}: {name}"
            )


def test_a_resource_from_elsewhere_is_found():
    page = '<a href="https://a.org/x">x</a><script src="https://b.org/y.js"></script><img src="p.png" alt="p.png">'
    found = Resources(page + "<style>@import url(https://c.org/z.css);</style>")
    assert found.loaded == ["https://b.org/y.js", "p.png", "https://c.org/z.css"]
    assert found.wordless == ["p.png"]


def test_recipes_are_short():
    recipes = [(page.name, code) for page in PAGES if page.parent.name == "howto" for code, _ in _examples(page)]
    assert len(recipes) > 14
    assert not [name for name, code in recipes if len([line for line in code.splitlines() if line.strip()]) > LONGEST]


@pytest.mark.parametrize("page", [p for p in PAGES if _examples(p)], ids=_id)
def test_python_examples_print_what_the_page_shows(tmp_path, page):
    for (_, shown), found in zip(_examples(page), _run(page, tmp_path), strict=True):
        assert _agree(found, shown), f"shown:\n{shown}\nfound:\n{found}"


# Runs command lines in one process, which compiles once; prints exit code and output of each, as JSON.
COMMANDS = """
import contextlib, io, json, shlex, sys
from jcevns.cli import cli, guarded
results = []
for line in json.loads(sys.stdin.read()):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = guarded(lambda: cli(shlex.split(line), standalone_mode=False))
    results.append((code, out.getvalue()))
print(json.dumps(results))
"""


def _command_lines(page: Path) -> list[str]:
    texts = [text.replace("\\\n", " ") for language, _, text in _blocks(page) if language == "sh"]
    return [line for text in texts for line in text.splitlines() if line.startswith("jcevns ")]


@pytest.mark.slow
def test_a_theory_of_ones_own_runs_from_the_command_line(tmp_path):
    page = DOCS / "howto" / "own_theory.md"
    _write_files(page, tmp_path)
    lines = [line.removeprefix("jcevns ") for line in _command_lines(page)]
    assert {line.split()[0] for line in lines} >= {"fit", "limit", "contour", "scan", "posterior", "toys"}
    run = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
        env=os.environ | _SETTINGS,
    )
    assert run.returncode == 0, run.stderr
    for line, (code, output) in zip(lines, json.loads(run.stdout.splitlines()[-1]), strict=True):
        assert code == 0, f"{line}\n{output}"
        assert "NOT VALID" not in output
    assert {p.name for p in (tmp_path / "contour").iterdir()} == {
        *("contour.png", "contour.pdf", "contour.csv", "hepdata")
    }
    assert (tmp_path / "my.zarr").is_dir()


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_command_lines_are_accepted(page):
    """Commands and options exist and parse; nothing is run."""
    from jcevns.cli import cli

    for line in _command_lines(page):
        words = shlex.split(line.replace("${SLURM_ARRAY_TASK_ID}", "1"))[1:]
        context, command = None, cli
        while hasattr(command, "resolve_command"):
            context = command.make_context(command.name, words, parent=context)
            _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(command.name, words, parent=context)


def test_help_keeps_its_lines():
    """In a raw docstring click's mark of a block that keeps its lines would be printed."""
    from jcevns.cli import cli

    for command in cli.commands.values():
        assert "\\b" not in f"{command.help} {command.epilog} {cli.help}", command.name


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_links_are_well_formed(page):
    text = page.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "\n?\n" not in text  # an output that was never filled in
    for number in re.findall(r"(?:arXiv:|arxiv\.org/abs/)([\w-]+(?:[./]\w+)?)", text):
        assert re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+/\d{7}", number), number
    for link in re.findall(r"\]\((https:[^)]*)\)", text):
        assert re.fullmatch(r"https://[\w.-]+(/[\w./?#%=&~+-]*)?", link), link


def test_links_between_notebooks_lead_somewhere():
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for link in re.findall(r"\]\(([\w./-]+\.ipynb)\)", "".join(cell["source"])):
                    assert (notebook.parent / link).exists(), f"{notebook.name}: {link}"


def test_every_module_is_in_the_reference():
    areas = "".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.rst"))
    shown = set(re.findall(r"^\.\. reference:: (\S+)$", areas, flags=re.M))
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "jcevns").rglob("*.py")}
    left_out = re.compile(
        r".*__(init|main)__|jcevns\.cli\..*|jcevns\.experiments\.toml_re(ader|sponse)|"
        r"jcevns\.paper\.(bayesian|html|official|run|steps)"
    )
    assert {m for m in modules if not left_out.fullmatch(m) and _has_names(m)} <= shown <= modules


def _has_names(module: str) -> bool:
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    return any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in tree.body)


def test_sampler_check_page_shows_what_was_run():
    stored = json.loads((ROOT / "benchmarks" / "results" / "sampler_check.json").read_text(encoding="utf-8"))
    assert stored["settings"]["data_sets"] >= 200
    page = (DOCS / "sampler_check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w, ]+) \| (\w+) \| .* \| ([\d.]+) \| ([\d.]+) \|$", page, flags=re.M)
    shown = {(sampled.replace(", ", " and "), name): (chi2, p) for sampled, name, chi2, p in rows}
    assert len(shown) == len(stored["ranks"]) == 3
    for row in stored["ranks"]:
        label = row["sampled"].removesuffix(" alone")
        assert shown[label, row["parameter"]] == (f"{row['chi2']:.2f}", f"{row['p_value']:.2f}")
        assert sum(row["counts"]) == stored["settings"]["data_sets"]
        assert row["p_value"] > 0.01
