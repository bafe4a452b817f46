"""Tables for LaTeX, with booktabs and a caption that says what the numbers are of."""

from __future__ import annotations

from collections.abc import Sequence

from evals.report_tables import Table

LONG = 40
"""Rows above which a table may break over pages (longtable)."""
_SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
    **{"<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "''"},
    "\n": " ",
}
_PLAIN = {"\u2013": "--", "\u2014": "---", "\u2212": "$-$", "\u00b1": "$\\pm$", "\u2026": "..."}


def escape(text: str) -> str:
    """Return a text in which nothing is a command to LaTeX."""
    return "".join(_SPECIAL.get(sign, _PLAIN.get(sign, sign)) for sign in text)


def latex_table(table: Table, facts: str) -> str:
    """Return a table environment; the preamble needs `\\usepackage{booktabs}`.

    Args:
        table: What is shown.
        facts: Model snapshot, prompt digest and date, for the caption.
    """
    caption = escape(f"{table.title}. {table.about}. {facts}.")
    notes = escape(" ".join(filter(None, table.notes)))
    spec = "l" * table.names + "r" * (len(table.heads) - table.names)
    label = f"\\label{{tab:{table.name}}}"
    head = _row(table.heads)
    body = _body(table.rows)
    if len(table.rows) > LONG:
        return (
            "% needs \\usepackage{booktabs,longtable}\n"
            f"\\begin{{longtable}}{{{spec}}}\n\\caption{{{caption}}}{label}\\\\\n\\toprule\n{head}\n"
            f"\\midrule\n\\endfirsthead\n\\toprule\n{head}\n\\midrule\n\\endhead\n"
            f"{body}\n\\bottomrule\n\\multicolumn{{{len(table.heads)}}}{{p{{\\linewidth}}}}"
            f"{{\\footnotesize {notes}}}\n\\end{{longtable}}\n"
        )
    return (
        "% needs \\usepackage{booktabs,graphicx}\n"
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}{label}\n"
        f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n"
        f"\\begin{{tabular}}{{{spec}}}\n\\toprule\n{head}\n\\midrule\n{body}\n\\bottomrule\n"
        f"\\end{{tabular}}}}\n\\par\\smallskip\\footnotesize {notes}\n\\end{{table}}\n"
    )


def _body(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows, the first column only where it changes, with a rule there."""
    lines, before = [], ""
    for row in rows:
        if row[0] != before and before:
            lines.append("\\addlinespace")
        lines.append(_row(("" if row[0] == before else row[0], *row[1:])))
        before = row[0]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    # Braces, because a bracket after \\ is read as its option.
    texts = [f"{{{text}}}" if text.startswith("[") else text for text in map(escape, cells)]
    return f"{' & '.join(texts)} \\\\"
