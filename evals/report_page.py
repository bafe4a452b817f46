"""A report as one page of HTML that needs nothing else, and as Markdown."""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from evals.report_tables import Table

WIDTH = 100
_NAME = ' class="name"'
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 Georgia, "Times New Roman", serif; color: #1a1a1a; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1, h2, h3, nav, table, figcaption, .about { font-family: "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; padding-top: .75rem;
  border-top: 2px solid #1a1a1a; }
p, li { max-width: 46rem; }
nav { font-size: .85rem; margin: 1rem 0; }
nav a { margin-right: 1rem; white-space: nowrap; }
a { color: #00528a; }
.banner { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem .9rem;
  max-width: 46rem; margin: 1rem 0; }
.about, .notes { font-size: .85rem; color: #444; }
.scroll { overflow-x: auto; margin: 1rem 0 .4rem; }
table { border-collapse: collapse; font-size: .82rem; width: 100%;
  border-top: 2px solid #1a1a1a; border-bottom: 2px solid #1a1a1a; }
caption { text-align: left; padding-bottom: .4rem; }
caption b { font-size: .95rem; }
th, td { padding: .22rem .55rem; text-align: right; vertical-align: baseline;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th { border-bottom: 1px solid #1a1a1a; font-weight: 600; vertical-align: bottom; }
.name { text-align: left; white-space: normal; }
tr.first td { border-top: 1px solid #bbb; }
tr.gone td { color: #777; font-style: italic; }
figure { margin: 1.25rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #444; max-width: 46rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
@media print { body { max-width: none; font-size: 10pt; padding: 0; } nav { display: none; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } .scroll { overflow: visible; } }
"""


@dataclass(frozen=True)
class Picture:
    """A picture: its file's name, its bytes (PNG), what it shows, and what it is to the blind."""

    name: str
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Text:
    """A paragraph; `markdown` for another job's tables and text, `banner` for a warning."""

    text: str
    form: str = "plain"


@dataclass(frozen=True)
class Bullets:
    """Sentences, one a point."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading."""

    title: str
    parts: tuple[Text | Bullets | Table | Picture, ...]


def html_page(title: str, sections: Sequence[Section]) -> str:
    """Return the whole page; styles and pictures are in it, and no script.

    Args:
        title: Of the page; the first section stands under it without a heading of its own.
        sections: In their order.
    """
    links = " ".join(
        f'<a href="#part-{place}">{escape(section.title)}</a>'
        for place, section in enumerate(sections)
        if place
    )
    body = []
    for place, section in enumerate(sections):
        if place:
            body.append(f'<h2 id="part-{place}">{escape(section.title)}</h2>')
        body += [_html(part) for part in section.parts]
        if not place:
            body.append(f"<nav>{links}</nav>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def markdown_page(title: str, sections: Sequence[Section]) -> str:
    """Return the same as Markdown; pictures are links to files beside it."""
    blocks = [f"# {title}"]
    for place, section in enumerate(sections):
        if place:
            blocks.append(f"## {section.title}")
        for part in section.parts:
            blocks += _markdown(part)
    return "\n\n".join(blocks) + "\n"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    """Return a table that lines up in a terminal too; the first columns to the left."""
    lines = [[_cell(text) for text in row] for row in (heads, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * w if at < names else f"{'-' * (w - 1)}:" for at, w in enumerate(widths)]
    padded = [
        [text.ljust(w) if at < names else text.rjust(w) for at, (text, w) in enumerate(pairs)]
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:]))


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _html(part: Text | Bullets | Table | Picture) -> str:
    if isinstance(part, Table):
        return _html_table(part)
    if isinstance(part, Picture):
        data = base64.b64encode(part.png).decode("ascii")
        return (
            f'<figure><img alt="{escape(part.alt)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(part.caption)}</figcaption></figure>"
        )
    if isinstance(part, Bullets):
        return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in part.lines)}</ul>"
    if part.form == "markdown":
        return "\n".join(_html_block(block) for block in part.text.strip().split("\n\n"))
    kind = f' class="{part.form}"' if part.form != "plain" else ""
    return f"<p{kind}>{escape(part.text)}</p>"


def _html_block(block: str) -> str:
    """Return a block of a job's own Markdown: a table, a list, a heading or a paragraph."""
    lines = block.strip().splitlines()
    if all(line.startswith("|") for line in lines) and len(lines) > 2:
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in (lines[0], *lines[2:])]
        cells = [[escape(cell.strip().replace("\\|", "|")) for cell in row] for row in rows]
        made = [
            "".join(
                f"<{tag}{_NAME if not at else ''}>{cell}</{tag}>" for at, cell in enumerate(row)
            )
            for row, tag in zip(cells, ("th", *["td"] * len(cells)), strict=False)
        ]
        return f'<div class="scroll"><table><tr>{"</tr><tr>".join(made)}</tr></table></div>'
    text = escape(" ".join(line.strip() for line in lines).replace("**", ""))
    if block.startswith("#"):
        return f"<h3>{text.lstrip('# ')}</h3>"
    if block.startswith("- "):
        points = [escape(" ".join(p.split())) for p in re.split(r"^- ", block, flags=re.M)[1:]]
        return f"<ul>{''.join(f'<li>{point}</li>' for point in points)}</ul>"
    return f"<p>{text}</p>"


def _html_table(table: Table) -> str:
    heads = "".join(
        f'<th scope="col"{_kind(at, table)}>{escape(head)}</th>'
        for at, head in enumerate(table.heads)
    )
    lines, before = [], ""
    for row in table.rows:
        kinds = [name for name, is_so in _looks(row, before).items() if is_so]
        cells = (("" if row[0] == before else row[0]), *row[1:])
        texts = "".join(
            f"<td{_kind(at, table)}>{escape(cell)}</td>" for at, cell in enumerate(cells)
        )
        lines.append(
            f'<tr class="{" ".join(kinds)}">{texts}</tr>' if kinds else f"<tr>{texts}</tr>"
        )
        before = row[0]
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes if note)
    return (
        f'<div class="scroll"><table><caption><b>{escape(table.title)}</b><br>'
        f'<span class="about">{escape(table.about)}.</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f'<div class="notes">{notes}</div>'
    )


def _looks(row: Sequence[str], before: str) -> dict[str, bool]:
    return {"first": bool(before) and row[0] != before, "gone": "missing" in row}


def _kind(at: int, table: Table) -> str:
    return _NAME if at < table.names else ""


def _markdown(part: Text | Bullets | Table | Picture) -> Iterator[str]:
    if isinstance(part, Table):
        yield _wrap(f"**{part.title}.** {part.about}.")
        yield markdown_table(part.heads, part.rows, part.names)
        for note in filter(None, part.notes):
            yield _wrap(note)
    elif isinstance(part, Picture):
        yield f"![{part.alt}](pictures/{part.name}.png)"
        yield _wrap(part.caption)
    elif isinstance(part, Bullets):
        yield "\n".join(_wrap(line, "- ") for line in part.lines)
    elif part.form == "markdown":
        # Its headings stand below the report's own.
        yield re.sub(r"^(?=#)", "#", part.text.strip().replace("<", "&lt;"), flags=re.M)
    else:
        text = f"**{part.text}**" if part.form == "banner" else part.text
        yield _wrap(text)


def _wrap(text: str, lead: str = "") -> str:
    return textwrap.fill(
        text.replace("<", "&lt;"),
        WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )
