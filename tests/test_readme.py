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


def test_command_lines_run(tmp_path):
    commands = re.findall(r"^\.venv/bin/jcevns (.*)$", README, flags=re.M)
    assert len(commands) >= 3
    for command in commands:
        run = subprocess.run(
            [sys.executable, "-m", "jcevns", *command.split()],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
        )
        assert run.returncode == 0, (command, run.stderr)


def test_toml_example_is_an_experiment(tmp_path):
    import jcevns as jc

    (text,) = _blocks("toml")
    file = tmp_path / "my.toml"
    file.write_text(text, encoding="utf-8")
    result = jc.fit(str(file), "flux")
    assert result.valid
    assert result.data_status["my-detector"]["status"] == "user"


@pytest.mark.parametrize("target", ["reproduce", "test"])
def test_make_targets_exist(target):
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
