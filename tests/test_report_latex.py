"""LaTeX that compiles whatever stands in a table, and says what the numbers are of."""

import re

import pandas as pd
import pytest

from evals.report_latex import LONG, escape, latex_table
from evals.report_tables import Table


def table(*rows: tuple[str, ...], **changes: object) -> Table:
    """Return a small table."""
    known: dict[str, object] = {
        **{"name": "small_one", "title": "A & B", "about": "24 people; 100% of them"},
        **{"frame": pd.DataFrame(), "heads": ("folds", "arm", "accuracy % [95 %]")},
        **{"rows": rows, "notes": ("Left out: a_b.", "")},
    }
    return Table(**(known | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("5 % & $3", r"5 \% \& \$3"),
        ("#1 a_b {x}", r"\#1 a\_b \{x\}"),
        ("~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("a < b > c | d", r"a \textless{} b \textgreater{} c \textbar{} d"),
        ("two\nlines", "two lines"),
        ("a \u2013 b \u2212 1", "a -- b $-$ 1"),
    ],
)
def test_what_is_special_to_latex_is_escaped(text: str, safe: str) -> None:
    """Each of the ten special characters, and what would be typeset otherwise."""
    assert escape(text) == safe


def test_nothing_special_is_left_in_a_table() -> None:
    """Outside its own commands: no bare percent sign, ampersand, hash or underscore."""
    made = latex_table(table(("a_b", "x & y # z", "5 % [1, 2]")), "Model a_b; 5 % of {x}")
    body = made.split("\n", 1)[1]
    bare = re.sub(r"\\[%&#_{}$]", "", body)
    assert "#" not in bare
    assert "_" not in re.sub(r"\\label\{[^}]*\}", "", bare)
    assert bare.count("%") == 1  # the end of the line that opens the box
    assert bare.count("&") == 2 * 2


def test_the_caption_says_what_the_numbers_are_of() -> None:
    """Title, people, folds, model, prompts and date, in one sentence each."""
    made = latex_table(table(("b", "x", "1")), "Model m-1; prompts 0a1b; written on 2026-01-02")
    (caption,) = re.findall(r"\\caption\{(.*)\}\\label", made)
    assert caption == (
        r"A \& B. 24 people; 100\% of them. Model m-1; prompts 0a1b; written on 2026-01-02."
    )
    assert r"\label{tab:small_one}" in made


def test_rules_are_those_of_booktabs() -> None:
    """Names to the left, numbers to the right, a space where the first column changes."""
    made = latex_table(table(("a", "x", "1"), ("a", "y", "2"), ("b", "x", "3")), "f")
    lines = made.splitlines()
    assert r"\begin{tabular}{llr}" in lines
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert lines.count(rule) == 1
    assert r"\hline" not in made
    assert [line for line in lines if line.endswith(r"\\")][1:] == [
        r"a & x & 1 \\",
        r" & y & 2 \\",
        r"b & x & 3 \\",
    ]
    assert lines.count(r"\addlinespace") == 1
    assert "Left out: a\\_b." in made


def test_a_bracket_after_a_line_is_no_option() -> None:
    """Cells that begin with one are put in braces: after `\\\\` LaTeX reads an option."""
    made = latex_table(table(("a", "x", "[1, 2]"), ("[b]", "x", "3")), "f")
    assert "{[1, 2]}" in made
    assert "{[b]} & x" in made


def test_a_long_table_breaks_over_pages() -> None:
    """Its head is repeated; a short one stays whole."""
    rows = [("a", f"arm {place}", "1") for place in range(LONG + 1)]
    made = latex_table(table(*rows), "f")
    assert r"\begin{longtable}{llr}" in made
    assert made.count(r"folds & arm &") == 2
    assert made.count(r"\endhead") == 1
    assert r"\begin{tabular}" not in made
    assert r"\begin{tabular}" in latex_table(table(*rows[:LONG]), "f")
    assert made.count("{") - made.count(r"\{") == made.count("}") - made.count(r"\}")
