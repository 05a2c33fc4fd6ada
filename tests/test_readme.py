"""What the README prints is what it does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_python_examples_print_what_the_readme_shows(tmp_path, number):
    code, shown = _blocks("python")[number], _blocks("text")[number]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == shown


def test_first_example_has_twelve_lines():
    lines = [line for line in _blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 12


COMMANDS = re.findall(r"^\.venv/bin/jcevns (.*)$|`jcevns ([^`]*--[^`]*)`", README, flags=re.M)


@pytest.mark.parametrize(
    "command", [c for pair in COMMANDS for c in pair if c and not re.search(r"FILE|my\.toml", c)]
)
def test_command_lines_run(tmp_path, command):
    run = subprocess.run(
        [sys.executable, "-m", "jcevns", *command.split()], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert run.returncode == 0, run.stderr


def test_files_that_are_linked_exist():
    linked = re.findall(r"\]\(((?!https?:)[^)]+)\)", README)
    assert len(linked) > 10
    assert [link for link in linked if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("target", ["reproduce", "test"])
def test_make_targets_exist(target):
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
