"""The panel against its best member: hand-computed, whichever way it falls."""

import math

import pandas as pd
import pytest

from evals.metrics import score_frame
from evals.panel_report import PanelReport, members, panel_report, panel_sentence
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.survey.codebook import load_codebook

BOOK = load_codebook()
NAMES = ("cognitive", "affective", "behavioral")


def frame(panel: str, **views: str) -> pd.DataFrame:
    """Return a scored table: a letter a case, 1 right, 0 wrong, x failed; two cases a person."""
    outcomes = []
    for place, mark in enumerate(panel):
        known = {"respondent": f"p{place // 2:02}", "question": ("Q69", "Q70")[place % 2]}
        if mark == "x":
            outcomes.append(Outcome(**known, truth=2, answer=None, status="failed"))
            continue
        seen = {name: 2 if marks[place] == "1" else 3 for name, marks in views.items()}
        answer = 2 if mark == "1" else 3
        outcomes.append(Outcome(**known, truth=2, answer=answer, status="answered", views=seen))
    return score_frame(outcomes, BOOK)


def report(panel: str, own: str, val: str = "0110", role: str = "test") -> PanelReport:
    """Report a panel of which the affective member is the best on the valset."""
    valset = frame(val, cognitive="1000", affective="1101", behavioral="0011")
    wrong = "0" * len(panel)
    return panel_report(
        valset, frame(panel, cognitive="1" * len(panel), affective=own, behavioral=wrong), role
    )


def test_the_member_is_chosen_on_the_valset_alone() -> None:
    """The affective one, with three of four right there, though another is never wrong later."""
    found = report("1110", "1100")
    assert found.member == "affective"
    assert found.val == {"panel": 0.5, "cognitive": 0.25, "affective": 0.75, "behavioral": 0.5}


def test_the_difference_is_paired_and_by_respondent() -> None:
    """Panel 3 of 4, member 2 of 4: a quarter; one of two people makes the whole difference."""
    found = report("1110", "1100").difference
    assert (found.estimate, found.n, found.clusters) == (0.25, 4, 2)
    assert (found.low, found.high) == (0.0, 0.5)  # per person 0 and 1/2


def test_the_first_of_equal_members_is_taken() -> None:
    """A tie on the valset goes to the canonical order."""
    same = frame("1100", cognitive="1010", affective="0101")
    assert panel_report(same, same, "dev").member == "cognitive"


@pytest.mark.parametrize(
    ("panel", "own", "points", "verdict"),
    [
        ("1111", "0000", "+100.0", "the panel is more often right"),
        ("0000", "1111", "-100.0", "the member alone is more often right"),
        ("1100", "0011", "+0.0", "neither is shown to be more often right"),
        ("1010", "1010", "+0.0", "neither is shown to be more often right"),
    ],
)
def test_the_sentence_says_which_way_it_falls(
    panel: str, own: str, points: str, verdict: str
) -> None:
    """Ahead, behind or neither, with points, interval, set and how the member was chosen."""
    told = report(panel, own).sentence
    assert told.startswith(
        "On the testset the panel minus its affective member, the best of 3 on the valset: "
        f"{points} points of accuracy (95 % interval "
    )
    assert told.endswith(f"paired, clustered by 2 respondents): {verdict}.")
    assert "\n" not in told


def test_the_set_reported_on_is_named() -> None:
    """Without a test set it is the devset."""
    assert report("11", "10", role="dev").sentence.startswith("On the devset ")


def test_one_respondent_gives_no_interval() -> None:
    """The difference stands without an interval, and shows nothing."""
    told = report("11", "10").sentence
    assert "+50.0 points of accuracy (no interval, for want of respondents)" in told
    assert told.endswith("neither is shown to be more often right.")


def test_a_failed_case_is_wrong_for_panel_and_member() -> None:
    """The member's view of a case that failed is not known: it counts against both."""
    ones = "1" * 40
    found = report(f"x{ones[1:]}", ones)
    assert found.accuracies["panel"].estimate == found.accuracies["affective"].estimate == 39 / 40
    assert found.difference.estimate == 0.0
    assert found.is_valid


def test_too_few_answers_are_not_compared() -> None:
    """Below the coverage limit, on either set, there is no difference to report."""
    assert "not compared with its affective member" in report("xx11", "0011").sentence
    valset = frame("xx11", cognitive="0001", affective="0011")
    other = frame("1111", cognitive="0001", affective="0011")
    found = panel_report(valset, other, "test")
    assert not found.is_valid
    assert "fewer than 95 % of the cases were answered" in found.sentence


def test_the_table_shows_panel_and_members() -> None:
    """One row each, on both sets, the chosen one marked."""
    lines = report("1110", "1100").table.splitlines()
    assert lines[0] == "| reader | valset % | testset % [95 %] |"
    assert lines[2] == "| panel | 50.0 | 75.0 [50.0, 100.0] |"
    assert lines[3] == "| cognitive | 25.0 | 100.0 [100.0, 100.0] |"
    assert lines[4] == "| affective (chosen on the valset) | 75.0 | 50.0 [0.0, 100.0] |"
    assert lines[5] == "| behavioral | 50.0 | 0.0 [0.0, 0.0] |"
    assert len(lines) == 6


def test_the_table_without_interval_says_so() -> None:
    """One respondent: accuracies, and that there is no interval."""
    assert "| panel | 50.0 | 100.0 [no interval] |" in report("11", "10").table


def test_the_short_way_gives_the_same_sentence() -> None:
    """`panel_sentence` is the report's sentence, the same at every call."""
    val = frame("0110", cognitive="1000", affective="1101")
    test = frame("1110", cognitive="1111", affective="1100")
    told = panel_sentence(val, test, "test")
    assert told == panel_report(val, test, "test").sentence == panel_sentence(val, test, "test")


def test_no_respondent_is_in_the_report() -> None:
    """Neither sentence nor table names anybody."""
    found = report("1110", "1100")
    assert "p00" not in found.sentence + found.table


def test_the_members_are_those_with_views() -> None:
    """An arm without views has no members."""
    assert members(frame("10")) == []
    assert members(frame("1x", cognitive="1x", affective="0x")) == ["cognitive", "affective"]


def test_what_is_no_panel_is_refused() -> None:
    """One member, none, or other members in the two tables."""
    one, two = frame("1111", cognitive="1100"), frame("1111", cognitive="1100", affective="1111")
    for val, test in ((one, one), (frame("11"), frame("11")), (two, one), (one, two)):
        with pytest.raises(ConfigError, match="two members or more"):
            panel_report(val, test, "test")


def test_the_valset_is_not_reported_on() -> None:
    """The member was chosen there, so that it would look better than it is."""
    two = frame("1111", cognitive="1100", affective="1111")
    with pytest.raises(ConfigError, match="dev, test"):
        panel_report(two, two, "val")


def test_other_cases_of_the_set_are_not_needed() -> None:
    """Valset and testset have different people and sizes; only members must agree."""
    val = frame("01", cognitive="01", affective="00")
    found = panel_report(val, frame("1111", cognitive="1100", affective="1111"), "test")
    assert found.member == "cognitive"
    assert math.isclose(found.difference.estimate, 0.5)
