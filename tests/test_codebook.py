"""The packaged codebook of WVS wave 7, and what a codebook does."""

from __future__ import annotations

import copy
import csv
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook import (
    Codebook,
    Question,
    UnknownQuestionError,
    load_codebook,
)

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "wvs7_variables.csv"
SECTIONS = {
    "social-values": (1, 45),
    "wellbeing": (46, 56),
    "social-capital": (57, 105),
    "economic-values": (106, 111),
    "corruption": (112, 120),
    "migration": (121, 130),
    "security": (131, 151),
    "postmaterialism": (152, 157),
    "science": (158, 163),
    "religious-values": (164, 175),
    "ethical-values": (176, 198),
    "political-participation": (199, 234),
    "political-culture": (235, 259),
    "demographics": (260, 290),
}
UNSCORABLE = ["Q223", "Q261", "Q262", "Q266", "Q267", "Q268", "Q270", "Q272", "Q274", "Q290"]
PRIVATE = ["Q223", "Q266", "Q267", "Q268", "Q272", "Q290"]
NEITHER_VALUE_NOR_ATTITUDE = (
    "47 51-56 91-105 112-118 120 131-141 144-145 200-222 224-233 251 253"  # of Q1..Q259
)
NOT_ORDINAL = "42 91-93 111 149-157 173-175"


def ids(ranges: str) -> list[str]:
    """Question ids of a list such as "47 51-53"."""
    numbers: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return [f"Q{number}" for number in numbers]


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    """The packaged codebook."""
    return load_codebook()


@pytest.fixture(scope="module")
def labels() -> dict[str, dict[int, str]]:
    """Labels by code from the reference list of variables, which is no part of the project."""
    if not REFERENCE.exists():
        pytest.skip("the reference list of variables is not here")
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if re.fullmatch(r"Q\d+", row["variable"])]
    found = re.compile(r"(?:^|; )(\d+)=(.*?)(?=; -?\d+=|$)")
    return {
        row["variable"]: {int(code): label for code, label in found.findall(row["codes"])}
        for row in rows
    }


def scorable(codebook: Codebook) -> Iterator[Question]:
    """The questions a prediction can be scored on."""
    return (question for question in codebook if question.scorable)


def test_all_290_questions_are_there_in_order(codebook: Codebook) -> None:
    """The codebook holds Q1..Q290, in the order of the questionnaire."""
    assert [question.id for question in codebook] == [f"Q{n}" for n in range(1, 291)]
    assert len(codebook) == 290


def test_sections_are_complete(codebook: Codebook) -> None:
    """Each section has exactly its range of questions, and a title."""
    expected = {
        section: tuple(f"Q{n}" for n in range(first, last + 1))
        for section, (first, last) in SECTIONS.items()
    }
    assert dict(codebook.sections) == expected
    assert list(codebook.section_titles) == list(SECTIONS)


def test_every_question_is_in_one_battery_of_its_section(codebook: Codebook) -> None:
    """Batteries part the questions, and none reaches into a second section."""
    members = [id for battery in codebook.batteries.values() for id in battery]
    assert sorted(members) == sorted(codebook.questions)
    for battery in codebook.batteries.values():
        assert len({codebook[id].section for id in battery}) == 1


@pytest.mark.parametrize("country", [None, "JPN", "USA", "ZWE"])
def test_texts_are_finished_in_every_country(codebook: Codebook, country: str | None) -> None:
    """A question's text has no open placeholder and ends as a question does."""
    for question in codebook:
        text = question.text_for(country)
        assert text[-1] in "?.:", question.id
        assert not re.search(r"[{}]|  |\byour your\b|\bthe the\b", text), (question.id, text)


def test_280_questions_are_scorable(codebook: Codebook) -> None:
    """All questions but the ten named ones are scorable, and these have options."""
    assert [question.id for question in codebook if not question.scorable] == UNSCORABLE
    assert len(list(scorable(codebook))) == 280
    assert all(len(question.options) >= 2 for question in scorable(codebook))


def test_private_questions_are_the_six_named(codebook: Codebook) -> None:
    """Party, countries of birth, language and ethnic group are private, nothing else."""
    assert [question.id for question in codebook if question.private] == PRIVATE


def test_uniform_guessing_scores_about_a_quarter(codebook: Codebook) -> None:
    """Guessing uniformly over the 280 scorable questions is right in 26 % of cases."""
    chances = [1 / len(question.options) for question in scorable(codebook)]
    assert sum(chances) / len(chances) == pytest.approx(0.26, abs=0.005)


def test_the_headline_leaves_out_what_is_no_value_or_attitude(codebook: Codebook) -> None:
    """Among Q1..Q259 the scorable questions of other kinds are the 78 listed."""
    others = [
        question.id
        for question in scorable(codebook)
        if question.kind not in ("value", "attitude") and question.section != "demographics"
    ]
    assert others == ids(NEITHER_VALUE_NOR_ATTITUDE)
    assert len(others) == 78


def test_demographics_are_demographic(codebook: Codebook) -> None:
    """Q260..Q290 are of kind demographic, and no other question is."""
    found = [question.id for question in codebook if question.kind == "demographic"]
    assert found == ids("260-290")


def test_nominal_questions_have_no_order(codebook: Codebook) -> None:
    """Questions without a natural order are not ordinal; with two codes they may be binary."""
    for id in ids(NOT_ORDINAL):
        question = codebook[id]
        assert question.scale_kind in ("nominal", "binary"), id
        assert question.scale_kind == "nominal" or len(question.order) == 2, id


def test_only_these_of_the_first_259_are_nominal(codebook: Codebook) -> None:
    """No ordinal question of the questionnaire's body is declared nominal by mistake."""
    nominal = [q.id for q in codebook if q.scale_kind == "nominal" and q.section != "demographics"]
    assert set(nominal) <= set(ids(NOT_ORDINAL))


def test_quiz_items_are_knowledge(codebook: Codebook) -> None:
    """Q91..Q93 ask what a person knows."""
    assert {codebook[id].kind for id in ids("91-93")} == {"knowledge"}


OFF_SCALE = {
    **dict.fromkeys(["Q119"], 0),
    **dict.fromkeys(["Q221", "Q222"], 4),
    **dict.fromkeys(ids("241-249"), 0),
    "Q254": 5,
}


@pytest.mark.parametrize(("id", "code"), OFF_SCALE.items())
def test_codes_off_the_scale_have_no_position(codebook: Codebook, id: str, code: int) -> None:
    """Codes such as "hard to say" are options but stand nowhere between least and most."""
    assert code in codebook[id].codes
    assert code not in codebook[id].order
    assert codebook[id].position(code) is None


def test_nothing_else_is_off_an_ordinal_scale(codebook: Codebook) -> None:
    """Every other code of an ordinal question has a position."""
    off = {
        (question.id, code)
        for question in codebook
        if question.scale_kind == "ordinal"
        for code in question.codes
        if question.position(code) is None
    }
    assert off == set(OFF_SCALE.items())


def test_positions_run_from_least_to_most(codebook: Codebook) -> None:
    """The first code of the order is at 0, the last at 1, and positions rise between."""
    for question in codebook:
        places = [question.position(code) for code in question.order]
        if places:
            assert places[0] == 0.0 and places[-1] == 1.0
            assert places == sorted(places)  # type: ignore[type-var]


def test_living_standard_is_ordered_worse_same_better(codebook: Codebook) -> None:
    """Q56's code 3, about the same, stands between worse (2) and better (1)."""
    assert codebook["Q56"].order in ((2, 3, 1), (1, 3, 2))
    assert codebook["Q56"].position(3) == 0.5
    assert codebook["Q56"].direction == 0


def test_hard_to_say_is_the_middle_of_the_immigration_items(codebook: Codebook) -> None:
    """Q122..Q129 are coded 0 disagree, 1 hard to say, 2 agree."""
    for id in ids("122-129"):
        assert codebook[id].order == (0, 1, 2)
        assert "hard to say" in codebook[id].label(1).lower()


def test_direction_changes_inside_blocks(codebook: Codebook) -> None:
    """Q176 agrees at 1, Q158..Q163 at 10."""
    assert codebook["Q176"].direction == -1
    assert {codebook[id].direction for id in ids("158-163")} == {1}
    assert codebook["Q1"].direction == -1
    assert codebook["Q111"].direction == 0


def test_immigrants_impact_starts_at_very_bad(codebook: Codebook) -> None:
    """Q121's first label, wrong in the file, is mended."""
    assert codebook["Q121"].label(1) == "Very bad"
    assert codebook["Q121"].direction == 1


def test_membership_is_coded_from_zero(codebook: Codebook) -> None:
    """Q94..Q105 run from 0, not a member, to 2, active."""
    assert {codebook[id].codes for id in ids("94-105")} == {(0, 1, 2)}
    assert {codebook[id].direction for id in ids("94-105")} == {1}


@pytest.mark.parametrize(
    "id",
    ["Q94R", "Q275A", "Q275R", "Q288R", "Q289CS9", "Q33_3", "Q34_3", "Q35_3", "Q82_EU", "Q152_1"],
)
def test_recodes_and_variants_are_no_questions(codebook: Codebook, id: str) -> None:
    """Columns that repeat a question in groups, by country or on three points stay out."""
    assert id not in codebook


def test_scarce_jobs_are_asked_on_five_points(codebook: Codebook) -> None:
    """Q33..Q35 take the five-point columns, in which answers on three points are 2, 3 and 4."""
    for id in ids("33-35"):
        assert codebook[id].order == (5, 4, 3, 2, 1)
        assert [codebook[id].label(code) for code in (2, 3, 4)] == [
            "Agree",
            "Neither agree nor disagree",
            "Disagree",
        ]


@pytest.mark.parametrize(
    ("numbers", "codes"),
    [
        ("112", range(1, 11)),
        ("270", range(1, 8)),
        ("274", range(8)),
        ("275-278", range(9)),
        ("281-283", range(12)),
        ("289", range(10)),
    ],
)
def test_ranges_of_codes(codebook: Codebook, numbers: str, codes: range) -> None:
    """Codes start at 0 or 1 and end where the survey's do."""
    for id in ids(numbers):
        assert codebook[id].codes == tuple(codes)


def test_households_and_children_are_top_coded(codebook: Codebook) -> None:
    """Code 7 of Q270 and Q274 means seven or more."""
    for id in ("Q270", "Q274"):
        assert codebook[id].label(7).startswith("7 or more")
        assert "seven or more" in codebook[id].fact_text(7)
        assert "or more" not in codebook[id].fact_text(6)


def test_a_third_answer_is_not_between_the_two(codebook: Codebook) -> None:
    """Code 3 of Q111, another answer than environment or growth, is nominal and says so."""
    assert codebook["Q111"].scale_kind == "nominal"
    assert "another answer" in codebook["Q111"].label(3).lower()
    assert "another answer" in codebook["Q111"].fact_text(3)


def test_corruption_has_the_poles_that_the_file_lacks(codebook: Codebook) -> None:
    """Q112 runs from no corruption (1) to abundant corruption (10)."""
    assert codebook["Q112"].poles == ("there is no corruption", "there is abundant corruption")
    assert "no corruption" in codebook["Q112"].label(1)
    assert "abundant corruption" in codebook["Q112"].label(10)


def test_saving_is_told_apart_from_borrowing(codebook: Codebook) -> None:
    """Q286's code 3, whose label in some files adds borrowing, is spending savings only."""
    assert "borrow" not in codebook["Q286"].label(3) + codebook["Q286"].fact_text(3)
    assert "borrow" in codebook["Q286"].label(4)


MOST = {
    1: "1-7 18 27 33 36 39 43-47 51 56-58 64 119 131-132 139 142 144 151 165-173 176 196 199-201"
    " 209 213 217 221 224 234-235 253-255 285-287",
    2: "94 122 124 129 263-265",
    4: "113 118 130",
    5: "121",
    8: "275-278",
    10: "48-50 90 106-110 112 120 158-164 177 195 240-241 250-252 288",
}


@pytest.mark.parametrize(("most", "numbers"), MOST.items())
def test_the_order_ends_at_the_most(codebook: Codebook, most: int, numbers: str) -> None:
    """For one item of each scale: the code that means most of what the item names."""
    for id in ids(numbers):
        question = codebook[id]
        if question.scale_kind != "nominal":
            assert question.order[-1] == most, id


def test_most_is_checked_for_every_scale(codebook: Codebook) -> None:
    """The table above leaves out no scale that has an order."""
    checked = {codebook[id].scale for numbers in MOST.values() for id in ids(numbers)}
    ordered = {question.scale for question in codebook if question.order}
    assert ordered - checked == {"household-size", "children-count"}


def test_poles_read_inside_a_sentence(codebook: Codebook) -> None:
    """Poles are in the second or third person, in lower case, and differ."""
    for question in codebook:
        if question.poles:
            assert len(set(question.poles)) == 2
            for pole in question.poles:
                assert not re.search(r"\bi\b|[.{}]|^[A-Z][a-z]", pole), (question.id, pole)


NO_ONE_ORGANISATION = "the main regional organisation of your part of the world"


@pytest.mark.parametrize(
    ("country", "named"),
    [
        ("DEU", "European Union (EU)"),
        ("EGY", "Arab League"),
        ("NGA", "African Union (AU)"),
        ("PHL", "Association of Southeast Asian Nations (ASEAN)"),
        ("JPN", "Asia-Pacific Economic Cooperation forum (APEC)"),
        ("BGD", "South Asian Association for Regional Cooperation (SAARC)"),
        ("BRA", "Mercosur"),
        ("USA", "North American Free Trade Agreement (NAFTA)"),
        ("CAN", "Canada-United States-Mexico Agreement (CUSMA)"),
        *[(alpha, NO_ONE_ORGANISATION) for alpha in (None, "MEX", "NZL", "PAK", "RUS", "TUR")],
    ],
)
def test_the_regional_organisation_is_named_where_known(
    codebook: Codebook, country: str | None, named: str
) -> None:
    """Q82 names its organisation by country, and none where it is not known for sure."""
    question = codebook["Q82"]
    for text in (question.text_for(country), *(question.fact_text(c, country) for c in (1, 4))):
        assert named in text
        assert country is None or (NO_ONE_ORGANISATION in text) == (named == NO_ONE_ORGANISATION)


def test_organisations_named_are_columns_of_the_survey(codebook: Codebook) -> None:
    """Q82 names no organisation, and no country, that the official list does not have."""
    if not REFERENCE.exists():
        pytest.skip("the reference list of variables is not here")
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        rows = {row["variable"]: row for row in csv.DictReader(file)}
    asked = " ".join(row["label"] for name, row in rows.items() if name.startswith("Q82_"))
    asked = asked.replace("South East", "Southeast")
    surveyed = {int(number) for number in re.findall(r"(\d+)=", rows["B_COUNTRY"]["codes"])}
    by_country = codebook["Q82"].wording.by_country["organisation"]
    for alpha in set(by_country) - {"default"}:
        assert codebook.country(alpha).numeric in surveyed, alpha
        name = by_country[alpha].split(" (")[0].split()[-1]
        assert name in asked or "Cooperation" in by_country[alpha], alpha


def test_worship_counts_with_the_values(codebook: Codebook) -> None:
    """Attendance and prayer, behaviour by content, are values: the protocol's list decides."""
    assert {codebook[id].kind for id in ids("164-175")} == {"value"}


def test_choosing_up_to_five_is_no_verdict_on_the_rest(codebook: Codebook) -> None:
    """Q7..Q17 say that the choice was limited, and call nothing unimportant."""
    for id in ids("7-17"):
        left_out = codebook[id].fact_text(2)
        for text in (codebook[id].text, codebook[id].fact_text(1), left_out):
            assert "up to five" in text
        assert "did not mention" in left_out and "important" not in left_out


def test_first_and_second_choices_say_which_they_are(codebook: Codebook) -> None:
    """Q152..Q157 are pairs of choices among the same four aims."""
    for first, second in (("Q152", "Q153"), ("Q154", "Q155"), ("Q156", "Q157")):
        assert codebook[first].options == codebook[second].options
        for id, word, other in ((first, "first", "second"), (second, "second", "first")):
            for text in (codebook[id].text, *map(codebook[id].fact_text, (1, 2, 3, 4))):
                assert f"{word} choice" in text and other not in text


def test_every_question_stands_on_its_own(codebook: Codebook) -> None:
    """No two questions have the same text, and none speaks for the interviewer or the crowd."""
    texts = [question.text for question in codebook]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert not re.search(r"\b(I|we|us|our|the following|this card|above|below)\b", text), text
        assert len(text.split()) <= 45, text


def test_questions_do_not_lead(codebook: Codebook) -> None:
    """What is agreed to may be disagreed with, and nothing is taken for granted."""
    for question in codebook:
        if "agree" in question.text:
            assert "agree or disagree" in question.text, question.id
        assert not re.search(r"\b(don't|isn't|surely|of course|obviously)\b", question.text)


def test_questions_leave_the_options_to_the_options(codebook: Codebook) -> None:
    """A question of four labels or more does not list them again in its text."""
    for question in codebook:
        labels = [option.label.lower() for option in question.options]
        if len(labels) >= 4 and not labels[1].isdigit():
            assert sum(label in question.text.lower() for label in labels) < 3, question.id


def test_no_internet_is_its_own_kind_of_missing(codebook: Codebook) -> None:
    """Q217..Q220 use -3 and -5 for no internet; elsewhere these are missing answers."""
    for code in (-3, -5):
        assert {codebook[id].missing[code] for id in ids("217-220")} == {"no-internet"}
        apart = {q.id for q in codebook if q.missing[code] == "no-internet"}
        assert apart == set(ids("217-220"))
    assert codebook["Q1"].missing == codebook.missing
    assert codebook.missing[-1] == "dont-know"


def test_twins_are_declared_both_ways(codebook: Codebook) -> None:
    """A twin names existing questions, and each of them names it back."""
    for question in codebook:
        for other in question.twins:
            assert question.id in codebook[other].twins
            assert other != question.id


@pytest.mark.parametrize(
    ("id", "twins"),
    [
        ("Q6", ["Q164"]),
        ("Q4", ["Q199"]),
        ("Q46", ["Q49"]),
        ("Q22", ["Q36", "Q182"]),
        ("Q15", ids("164-173")),
        ("Q173", ["Q15", *ids("164-172")]),
        ("Q34", ids("121-130")),
        ("Q237", ["Q245"]),
        ("Q238", ["Q250"]),
        ("Q239", ["Q242"]),
        ("Q209", ["Q218"]),
        ("Q215", ["Q219"]),
        ("Q289", ["Q171"]),
        ("Q152", ["Q153"]),
        ("Q154", ["Q155"]),
        ("Q156", ["Q157"]),
        ("Q261", ["Q262"]),
        ("Q263", ids("264-268")),
        ("Q57", []),
    ],
)
def test_twins_are_the_declared_ones(codebook: Codebook, id: str, twins: list[str]) -> None:
    """Questions that nearly repeat each other know it."""
    assert list(codebook[id].twins) == twins


def test_codes_equal_the_reference(codebook: Codebook, labels: dict[str, dict[int, str]]) -> None:
    """All 290 questions have the codes of the official list of variables."""
    for question in codebook:
        official = () if question.scale_kind == "open" else tuple(sorted(labels[question.id]))
        assert question.codes == official, question.id


def test_labels_share_a_word_with_the_reference(
    codebook: Codebook, labels: dict[str, dict[int, str]]
) -> None:
    """No label is given to a wrong code: each shares a word with the official one."""

    def words(label: str) -> set[str]:
        return {word[:5] for word in re.findall(r"[a-z0-9]+", label.lower())}

    mended = {("Q121", 1), ("Q106", 10), ("Q112", 1), ("Q112", 10), ("Q289", 4)}
    mended |= {("Q288", 1), ("Q288", 10)}  # "steps" there
    strangers = [
        (question.id, option.code, option.label, labels[question.id][option.code])
        for question in codebook
        for option in question.options
        if (question.id, option.code) not in mended
        and not option.label.isdigit()
        and not words(option.label) & words(labels[question.id][option.code])
    ]
    assert strangers == []


def test_countries_are_known_by_both_codes(codebook: Codebook) -> None:
    """Countries are found by alpha-3 and by number, and are named as in a sentence."""
    assert codebook.country_name("USA") == "the United States"
    assert codebook.country_alpha(392) == "JPN"
    assert codebook.country_alpha(909) == "NIR"
    assert codebook.country("MOR") is codebook.country("MAR")
    assert all(len(alpha) == 3 and alpha.isupper() for alpha in codebook.countries)


def test_countries_of_the_survey_are_all_known(codebook: Codebook) -> None:
    """Every country of the official list has its number here, and nearly the same name."""
    if not REFERENCE.exists():
        pytest.skip("the reference list of variables is not here")
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        codes = next(r["codes"] for r in csv.DictReader(file) if r["variable"] == "B_COUNTRY")
    listed = re.findall(r"(\d+)=([^;]+)", codes)
    assert len(listed) >= 90
    for number, name in listed:
        ours = codebook.country_name(codebook.country_alpha(int(number)))
        assert name.split()[0] in ours, (number, name, ours)


def test_unknown_countries_are_refused_with_a_hint(codebook: Codebook) -> None:
    """An unknown country code raises and names the nearest known one."""
    with pytest.raises(SurveyDataError, match=r"no country 'JPM'.*JPN"):
        codebook.country_name("JPM")
    with pytest.raises(SurveyDataError, match="number 9999"):
        codebook.country_alpha(9999)


def test_unknown_questions_are_key_errors_with_a_hint(codebook: Codebook) -> None:
    """Asking for a question that is not there is a KeyError and says what is near."""
    with pytest.raises(KeyError) as caught:
        codebook["Q291"]
    assert isinstance(caught.value, UnknownQuestionError)
    assert "no question Q291 (did you mean Q" in str(caught.value)
    assert "Q291" not in codebook and "Q29" in codebook


def test_loading_is_cached_and_copies_are_shared(codebook: Codebook) -> None:
    """One process holds one codebook, however often it is loaded or copied."""
    assert load_codebook("wvs7") is codebook
    assert copy.deepcopy(codebook) is codebook
    assert copy.deepcopy(codebook["Q1"]) is codebook["Q1"]


def test_pickling_keeps_the_digest(codebook: Codebook) -> None:
    """A codebook sent to another process is equal there."""
    sent = pickle.loads(pickle.dumps(codebook))
    assert sent == codebook and sent.digest == codebook.digest
    assert sent["Q57"] == codebook["Q57"]
    assert re.fullmatch(r"[0-9a-f]{16}", codebook.digest)


def test_loading_needs_no_heavy_import() -> None:
    """Commands start with the codebook: pandas, numpy and dspy stay out."""
    program = (
        "import sys; from valuesim_dspy.survey.codebook import load_codebook; load_codebook();"
        "print([m for m in ('pandas', 'numpy', 'dspy', 'pyarrow', 'litellm') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.strip() == "[]"


SMALL = """
id: small
version: 3
title: A small codebook
scales:
  yes-no: {kind: binary, options: {1: Yes, 2: No}, order: [2, 1]}
batteries:
  - {id: one, kind: value, scale: yes-no, ask: "Do you like {topic}?",
     fact: "You say {answer} to {topic}.", items: {A1: {topic: tea}, A2: {topic: coffee}}}
"""


def test_one_file_is_a_codebook(tmp_path: Path) -> None:
    """A header may hold batteries itself, so a whole codebook fits in one file."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    small = load_codebook(path)
    assert (small.id, small.version, small.title) == ("small", 3, "A small codebook")
    assert dict(small.batteries) == {"one": ("A1", "A2")}
    assert dict(small.sections) == {"questions": ("A1", "A2")}
    assert small["A2"].fact_text(2) == "You say no to coffee."
    assert repr(small).startswith("Codebook(small 3, 2 questions")


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    """Another wording, code or order is another digest; another place is not."""
    digests = set()
    changes = [("", ""), ("like", "enjoy"), ("[2, 1]", "[1, 2]"), ("You say", "You said")]
    for number, (old, new) in enumerate(changes):
        path = tmp_path / f"{number}.yaml"
        path.write_text(SMALL.replace(old, new) if old else SMALL)
        digests.add(load_codebook(path).digest)
    again = tmp_path / "again.yaml"
    again.write_text(SMALL)
    assert len(digests) == 4
    assert load_codebook(again).digest in digests


def test_files_of_a_folder_are_merged_in_order_of_name(tmp_path: Path) -> None:
    """Sections come from the files of a folder, sorted by name, wherever the header stands."""
    battery = (
        "batteries: [{id: %s, kind: value, scale: s, ask: a, fact: '{answer}',"
        " items: {%s: {topic: t}}}]"
    )
    (tmp_path / "b.yaml").write_text("section: second\ntitle: t\n" + battery % ("b2", "Q2"))
    (tmp_path / "a.yaml").write_text("section: first\ntitle: t\n" + battery % ("b1", "Q1"))
    (tmp_path / "z.yaml").write_text(
        "id: x\nversion: 1\ntitle: t\nscales: {s: {kind: nominal, options: {1: A, 2: B}}}\n"
    )
    loaded = load_codebook(tmp_path)
    assert list(loaded.questions) == ["Q1", "Q2"]
    assert dict(loaded.sections) == {"first": ("Q1",), "second": ("Q2",)}


def test_interleaved_batteries_are_put_in_order_of_number(tmp_path: Path) -> None:
    """A battery may have other questions asked between its own."""
    path = tmp_path / "small.yaml"
    extra = SMALL.replace("A1: {topic: tea}", "A1: {topic: tea}, A10: {topic: milk}")
    path.write_text(
        extra + "  - {id: two, kind: value, scale: yes-no, ask: a, fact: '{answer}',"
        " items: {A3: {topic: t}}}\n"
    )
    loaded = load_codebook(path)
    assert list(loaded.questions) == ["A1", "A2", "A3", "A10"]
    assert loaded.batteries["one"] == ("A1", "A2", "A10")


def test_ids_of_other_forms_keep_the_order_of_the_file(tmp_path: Path) -> None:
    """Ids that are not a letter and a number are left where they stand."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("A1:", "tea:").replace("A2:", "coffee:"))
    assert list(load_codebook(path).questions) == ["tea", "coffee"]


def test_a_codebook_that_is_not_there_names_the_packaged_ones() -> None:
    """A wrong name says which names there are."""
    with pytest.raises(MissingDataError, match=r"no codebook 'wvs8'.*wvs7"):
        load_codebook("wvs8")
