"""The page: nothing in it is fetched, nothing in it is code, and its text is that of Markdown."""

import base64
import re
from html.parser import HTMLParser

import pandas as pd

from evals.report_page import (
    Bullets,
    Picture,
    Section,
    Text,
    html_page,
    markdown_page,
    markdown_table,
)
from evals.report_tables import Table

NASTY = "<script>alert(1)</script> & \"quoted\" 'x'"
LOGGED = f"""## Its heading

A text of **two**
lines {NASTY}.

| arm | n |
| --- | --: |
| a\\|b | 1 |
| {NASTY} | 2 |

- one
  point
- another
"""
PNG = b"\x89PNG\r\n\x1a\n-not-really-"


class Reader(HTMLParser):
    """Collects tags, attributes and whether tags are closed."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.values: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append(tag)
        self.values += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that what is closed was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.text.append(data)


def sections() -> list[Section]:
    """Return one part of each kind, all of them with markup in their texts."""
    table = Table(
        name="first",
        title=NASTY,
        about=NASTY,
        frame=pd.DataFrame(),
        heads=("folds", "arm", NASTY),
        rows=(("battery", "a|b", "1"), ("battery", NASTY, "2"), ("topic", "all", "missing")),
        notes=(NASTY, ""),
    )
    return [
        Section("", (Text(NASTY), Text("Beware.", "banner"))),
        Section(NASTY, (table, Picture("one", PNG, NASTY, NASTY))),
        Section("Words", (Bullets((NASTY, "two")), Text(LOGGED, "markdown"))),
    ]


def read(page: str) -> Reader:
    """Parse a page."""
    reader = Reader()
    reader.feed(page)
    return reader


def test_texts_are_no_markup() -> None:
    """Whatever stands in a title, a cell, a caption or a note is text, and tags are closed."""
    page = html_page(NASTY, sections())
    reader = read(page)
    assert reader.open == []
    assert "script" not in reader.tags
    assert "".join(reader.text).count("<script>alert(1)</script>") >= 9
    assert "<script" not in page


def test_nothing_is_fetched() -> None:
    """No address outside the page: pictures are data, links go to parts of it, no style sheet."""
    reader = read(html_page("Title", sections()))
    sources = [value for name, value in reader.values if name in ("src", "href")]
    assert sources
    assert all(value.startswith(("data:image/png;base64,", "#part-")) for value in sources)
    assert "link" not in reader.tags
    assert "@import" not in html_page("Title", sections())
    assert "url(" not in html_page("Title", sections())


def test_pictures_are_in_the_page() -> None:
    """Byte for byte, with a text for those who cannot see them."""
    reader = read(html_page("Title", sections()))
    (data,) = (value for name, value in reader.values if name == "src")
    assert base64.b64decode(data.partition(",")[2]) == PNG
    assert ("alt", NASTY) in reader.values


def test_links_lead_to_headings() -> None:
    """Each section but the first has a heading and a link to it."""
    reader = read(html_page("Title", sections()))
    links = [value for name, value in reader.values if name == "href"]
    ids = [value for name, value in reader.values if name == "id"]
    assert links == [f"#{id}" for id in ids] == ["#part-1", "#part-2"]
    assert reader.tags.count("h1") == 1


def test_repeated_folds_are_left_out_and_missing_rows_are_marked() -> None:
    """So that blocks of a table can be seen; the Markdown keeps every cell."""
    page = html_page("Title", sections())
    assert page.count(">battery<") == 1
    assert re.search(r'<tr class="first gone"><td class="name">topic<', page)
    assert markdown_page("Title", sections()).count("| battery |") == 2


def test_markdown_says_the_same() -> None:
    """Headings, tables, notes and pictures by file; markup is not let through."""
    text = markdown_page("Title", sections())
    assert text.startswith("# Title\n")
    assert "## Words" in text
    assert "](pictures/one.png)" in text
    assert "| a\\|b" in text
    assert "- two" in text
    assert "**Beware.**" in text
    assert "<script" not in re.sub(r"^#.*$|^!.*$", "", text, flags=re.M)
    assert "### Its heading" in text


def test_tables_of_other_jobs_are_tables_of_the_page() -> None:
    """With their heading, their paragraphs and their lists; signs of Markdown are gone."""
    page = html_page("Title", [Section("", (Text(LOGGED, "markdown"),))])
    assert "<h3>Its heading</h3>" in page
    assert "<p>A text of two lines &lt;script" in page
    assert '<th class="name">arm</th><th>n</th>' in page
    assert '<td class="name">a|b</td><td>1</td>' in page
    assert "<ul><li>one point</li><li>another</li></ul>" in page
    assert read(page).open == []


def test_a_markdown_table_lines_up() -> None:
    """Names to the left, numbers to the right, in columns of one width."""
    made = markdown_table(("arm", "n"), [("rag", "1"), ("longer", "23456")], 1)
    assert made.splitlines() == [
        "| arm    |     n |",
        "| ------ | ----: |",
        "| rag    |     1 |",
        "| longer | 23456 |",
    ]
