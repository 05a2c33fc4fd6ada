"""The report of a fit: one page that is well-formed, fetches nothing and shows what the fit found."""

from __future__ import annotations

import dataclasses
import html
import re
import sys

import pytest

from jcevns import Likelihood, Nuisance, cli, fit
from jcevns.plot.report import report_page, write_report
from tests.pages import Page, checked
from tests.problems import counting


def _likelihood(name: str = "small") -> Likelihood:
    nuisances = (Nuisance("efficiency", 0.2, ("signal",)), Nuisance("flat", 0.15, ("flat",)))
    made = counting("small", [31.0, 42.0, 19.0], [10.0, 15.0, 5.0], {"flat": [18.0, 22.0, 20.0]}, nuisances)
    return Likelihood(dataclasses.replace(made, name=name, notes=("<script>alert(1)</script> & more",)))


@pytest.fixture(scope="module")
def made() -> tuple:
    likelihood = _likelihood()
    found = fit(likelihood, "flux")
    return found, report_page(likelihood, found, command="jcevns fit flux --experiments 'a b.toml'")


def test_page_is_whole_and_fetches_nothing(made) -> None:
    _, text = made
    page = checked(text)
    assert len(page.pictures) == 5  # profile, pulls, correlation, impacts, spectrum
    assert set(page.links) == {f"#{name}" for name, tag in page.anchors.items()}
    assert [name for name, tag in page.anchors.items() if tag == "pre"] == ["command"]  # to which the numbers link
    assert page.links.count("#command") > 15


def test_page_shows_what_was_found(made) -> None:
    found, text = made
    words = Page(text).text
    assert found.summary in words
    assert str(found.goodness) in words
    for name, pull in found.pulls.items():
        assert re.search(rf"{re.escape(name)}\s*{re.escape(f'{pull:+.3f}')}", words)
    assert "<script>alert(1)</script> & more" in words
    assert "<script>" not in text
    assert html.escape("jcevns fit flux --experiments 'a b.toml'", quote=True).replace("&#x27;", "&#39;") in text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", words)
    assert f"Python{sys.version.split()[0]}" in words.replace("\n", "")


def test_page_of_a_fit_that_is_not_valid_says_so_and_why_parts_are_missing(tmp_path) -> None:
    bare = Likelihood(counting("bare", [3.0, 2.0, 6.0], [2.0, 1.0, 3.0], {"flat": [1.0, 1.0, 2.0]}, (), error=None))
    found = dataclasses.replace(fit(bare, "sin2w"), problems=("it is made up",), valid=False)
    path = write_report(report_page(bare, found), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "index.html"
    words = Page(path.read_text(encoding="utf-8")).text
    for sentence in (
        "not valid: it is made up",
        "no parameter with a constraint is fitted beside sin2w",
        "no band from a result that is not valid: it is made up",
        "No parameter has a constraint.",
    ):
        assert sentence in words


def test_command_line_writes_the_page_and_how_to_repeat_it(tmp_path, capsys) -> None:
    arguments = ["fit", "flux", "--experiments", "xenonnt-2024-s2", "--report", str(tmp_path / "out dir")]
    arguments.append("--no-errors")
    assert cli.guarded(lambda: cli.cli(arguments, prog_name="jcevns", standalone_mode=False)) == 0
    assert "index.html" in capsys.readouterr().err
    words = Page((tmp_path / "out dir" / "index.html").read_text(encoding="utf-8")).text
    assert f"jcevns fit flux --experiments xenonnt-2024-s2 --report '{tmp_path}/out dir'" in words
    assert "post-fit shift [1e6 cm^-2 s^-1]" in words
    blocked = tmp_path / "file"
    blocked.write_text("")
    arguments[5] = str(blocked / "x")
    assert cli.guarded(lambda: cli.cli(arguments, prog_name="jcevns", standalone_mode=False)) == 2
