"""The sections: each is there, and what there is nothing for is said in its place."""

import pytest
from reported import arm, frame, setting, usual

from evals.report import MACHINERY
from evals.report_arms import Evidence, Job
from evals.report_page import Bullets, Picture, Section, Text
from evals.report_parts import closing_sections, opening_section, prompts_section, setting_sections
from evals.report_tables import Table

pytestmark = pytest.mark.slow

CURVE = {
    "points": [
        {"arm": name, "knows": knows, "growth": "profile", "order": "random"}
        | {"share": share, "known": 100 * share, "accuracy": 0.4 + share / 10}
        | {"low": 0.3, "high": 0.6, "cases": 40, "people": 20}
        for name, knows in (("full", "cold"), ("rag", "cold"), ("nearest-respondents", "warm"))
        for share in (0.0, 0.5, 1.0)
    ],
    "slopes": [],
    "differences": [
        {"variant": "full", "rival": "rag", "growth": "profile"}
        | {"difference": 0.05, "low": -0.01, "high": 0.11},
        {"variant": "full", "rival": "single", "growth": "history"}
        | {"difference": None, "low": None, "high": None},
    ],
}


@pytest.fixture(scope="module")
def parts() -> dict[str, Section]:
    """The sections of most arms, by title."""
    return {section.title: section for section in setting_sections(usual(), 1, 1)}


def texts(section: Section) -> str:
    """Return the paragraphs of a section."""
    return " ".join(part.text for part in section.parts if isinstance(part, Text))


def names(section: Section) -> list[str]:
    """Return what its tables and pictures are called."""
    return [part.name for part in section.parts if isinstance(part, Table | Picture)]


def test_a_setting_has_every_section(parts: dict[str, Section]) -> None:
    """In the order in which they are read."""
    assert list(parts) == [
        *("First table", "Differences", "All arms", "Topics and kinds of question"),
        *("Groups of people", "Spread of answers", "Calibration", "Cost", "Failures"),
    ]
    assert names(parts["Differences"]) == ["differences"]
    assert names(parts["All arms"]) == ["cold-arms", "warm-arms"]
    assert names(parts["Topics and kinds of question"])[:2] == ["by-section", "by-section"]
    assert names(parts["Groups of people"]) == ["by-country", "by-sex"]
    assert names(parts["Spread of answers"]) == ["variance", "variance"]
    assert names(parts["Cost"]) == ["cost"]
    assert names(parts["Failures"]) == ["failures"]


def test_the_claims_stand_under_the_first_table(parts: dict[str, Section]) -> None:
    """Compiled ValueSim minus RAG as is and compiled, each once."""
    (claims,) = (part for part in parts["First table"].parts if isinstance(part, Bullets))
    assert [line.partition(" is ")[0] for line in claims.lines] == [
        "battery folds: full compiled minus rag",
        "battery folds: full compiled minus rag compiled",
    ]


def test_files_of_several_settings_do_not_meet() -> None:
    """Their names end in the setting's place, and so do titles begin with it."""
    first, second = (setting_sections(usual(), place, 2) for place in (1, 2))
    own = [{name for section in made for name in names(section)} for made in (first, second)]
    assert not own[0] & own[1]
    assert "first-table-2" in own[1]
    assert second[0].title == "2. First table"


def test_one_arm_alone_has_a_report() -> None:
    """What cannot be shown of it is said: no differences, no spread, no calibration."""
    sections = setting_sections(setting(arm("full", frame(0.5, people=9))), 1, 1)
    known = {section.title: texts(section) for section in sections}
    assert "there is no RAG" in known["Differences"]
    assert "ten people or more" in known["Spread of answers"]
    assert "No arm of this report gave probabilities" in known["Calibration"]
    assert "no group has 10 people (the largest has 6)" in known["Groups of people"]


def test_an_arm_of_which_only_the_run_is_left_has_one_too() -> None:
    """Its tables are there, without a breakdown."""
    lost = arm("full", None, metrics={"accuracy": 0.5, "coverage": 1.0})
    known = {section.title: section for section in setting_sections(setting(lost), 1, 1)}
    assert names(known["First table"]) == ["first-table"]
    assert "Topics and kinds of question" not in known
    assert "Cost" not in known


def test_probabilities_are_scored_where_there_are_any() -> None:
    """A reliability curve and three scores; right 8 of 10 when 0.6 was said is a gap of 0.2."""
    known = setting(arm("rag", frame(0.4)), arm("full", frame(0.8, said=True)))
    (section,) = (s for s in setting_sections(known, 1, 1) if s.title == "Calibration")
    picture, table = section.parts
    assert isinstance(picture, Picture)
    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [("battery", "full")]
    right = frame(0.8, said=True)["correct"].mean()
    assert float(table.rows[0][2]) == pytest.approx(abs(right - 0.6), abs=1e-3)


def test_learning_curves_are_drawn_cold_and_warm_apart() -> None:
    """With the differences in slope; one without a number is a dash."""
    job = Job("f" * 32, "demo", "history", curve=CURVE)
    (section,) = closing_sections(Evidence((), (job,)))
    assert names(section) == ["learning-curve-cold", "learning-curve-warm", "slopes"]
    table = section.parts[-1]
    assert isinstance(table, Table)
    assert table.rows == (
        ("profile", "full minus rag", "+5.0 [-1.0, 11.0]"),
        ("history", "full minus single", "-"),
    )


def test_without_a_history_there_is_no_curve_and_that_is_said() -> None:
    """So that nobody takes its absence for an omission of the page."""
    (section, *_) = closing_sections(Evidence((usual(),), ()))
    assert section.title == "Learning curve"
    assert "No run of `python -m evals history` was given" in texts(section)


def test_tables_of_other_jobs_are_shown_as_they_were_printed() -> None:
    """Robustness and contamination, word for word."""
    jobs = (Job("1" * 32, "a", "robustness", table="| x |"), Job("2" * 32, "b", "contamination"))
    sections = closing_sections(Evidence((), jobs))
    assert [section.title for section in sections] == ["Learning curve", "Robustness"]
    assert sections[1].parts == (Text("| x |", "markdown"),)


def test_methods_and_limits_come_last() -> None:
    """Limits that settings share are said once."""
    known = (usual(), usual())
    sections = closing_sections(Evidence(known, ()))
    assert [section.title.split(":")[0] for section in sections] == [
        *("Learning curve", "Methods", "Methods", "Limits")
    ]
    (lines,) = sections[-1].parts
    assert isinstance(lines, Bullets)
    assert len(set(lines.lines)) == len(lines.lines)


def test_the_opening_warns_where_nothing_is_said_of_people() -> None:
    """And names the settings and the cards."""
    made = arm("full", frame(0.5), task_lm="offline/lexical-1")
    cards = {"cards/1.md": "The champion: cards/1.md"}
    section = opening_section(Evidence((setting(made),), ()), "2026-01-02", cards)
    assert Text(MACHINERY, "banner") in section.parts
    assert "2026-01-02" in texts(section)
    assert "The champion: cards/1.md" in texts(section)
    plain = opening_section(Evidence((usual(), usual()), ()), "2026-01-02", {})
    assert MACHINERY not in texts(plain)
    (lines,) = (part for part in plain.parts if isinstance(part, Bullets))
    assert len(lines.lines) == 2


def test_prompts_have_a_table() -> None:
    """Each arm with its teleprompter, its embedder and its digest."""
    known = setting(arm("rag", frame(0.4)), arm("full compiled", frame(0.5)))
    digests = {("battery", "rag"): "0a", ("battery", "full compiled"): "1b"}
    section = prompts_section(known, digests, 2, 3)
    (table,) = section.parts
    assert isinstance(table, Table)
    assert table.name == "prompts-2"
    assert table.rows[1] == (
        *("battery", "full compiled", "bootstrap", "sentence-transformers/mini", "1b"),
    )
    assert list(table.frame["prompts"]) == ["0a", "1b"]
