"""Reports as a browser reads them: well-formed, fetching nothing, every link and picture with its end."""

from __future__ import annotations

import base64
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image

VOID = {"meta", "img", "br"}


def report_of(folder: Path) -> str:
    """What `reproduce` wrote there."""
    return (folder / "report.html").read_text(encoding="utf-8")


def rows_of(table: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by the names of their columns."""
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """Checks that every element is closed, and keeps pictures, links, cells and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.anchors: dict[str, str] = {}
        self.unscrolled = 0
        self.text = ""
        self.outer: list[str | None] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe", "object", "embed", "video", "audio", "source")
        given = dict(attrs)
        self.unscrolled += tag == "table" and (self.open[-1], self.outer[-1]) != ("div", "wide")
        if tag == "img":
            self.pictures.append((given["src"], given["alt"]))
        if tag == "a":
            self.links.append(given["href"])
        if "id" in given:
            assert given["id"] not in self.anchors
            self.anchors[given["id"]] = tag
        if tag not in VOID:
            self.open.append(tag)
            self.outer.append(given.get("class"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.outer.pop()

    def handle_data(self, data):
        self.text += data


def checked(text: str, *sites: str) -> Page:
    """The page: it fetches nothing, what is wide scrolls by itself, links lead into it and to given sites alone."""
    page = Page(text)
    assert page.unscrolled == 0
    assert "default-src 'none'" in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert not re.search(r'url\(|@import|srcset|src="(?!data:)', text)
    for source, words in page.pictures:
        head, content = source.split(",")
        assert head == "data:image/png;base64"
        assert matplotlib.image.imread(io.BytesIO(base64.b64decode(content))).std() > 0.05
        assert 5 < len(words) < 120
    for link in page.links:
        assert link.startswith(sites) if sites and link[0] != "#" else link[1:] in page.anchors, link
    return page
