"""Tests of the features of plain English."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.lexical.text import (
    DEGREES,
    LEAST_SENTENCES,
    PASSAGES_KEPT,
    SENTENCES_KEPT,
    STOP_WORDS,
    bag,
    find_degree,
    idf,
    read_passage,
    read_sentence,
    scale_point,
    split_sentences,
    stem,
    stems,
    word_set,
    words,
)


@pytest.mark.parametrize(
    "family",
    [
        "religion religions religious religiosity",
        "politics political politically",
        "justify justified justifiable",
        "important importance",
        "immigrant immigrants immigration",
        "democracy democratic democracies democrat",
        "economy economic economics",
        "environment environmental",
        "believe believes believing belief beliefs",
        "vote votes voting voted",
        "family families",
        "child children",
        "woman women",
        "science scientific scientist scientists",
        "government governments governing",
        "happy happiness",
        "corrupt corruption",
        "neighbour neighbours neighbour's",
    ],
)
def test_words_of_one_family_share_a_stem(family: str) -> None:
    """Forms of one word meet in one stem, so that a question finds its facts."""
    assert len({stem(word) for word in family.split()}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("police", "politics"), ("trust", "true"), ("work", "world"), ("army", "art")],
)
def test_unlike_words_keep_unlike_stems(one: str, other: str) -> None:
    """The stemmer does not join words that merely begin alike."""
    assert stem(one) != stem(other)


@given(st.text(alphabet=st.characters(min_codepoint=97, max_codepoint=122), min_size=1))
def test_a_stem_is_never_empty_and_begins_its_word(word: str) -> None:
    """A stem is a non-empty beginning of its word, but for the few irregular words."""
    assert stem(word)
    assert word.startswith(stem(word)[:1]) or stem(word) == "person"


def test_words_are_lower_case_and_keep_apostrophes() -> None:
    """Curly and straight apostrophes are one, and punctuation is dropped."""
    assert words("Don\u2019t BE so, 10-fold; it's") == ["don't", "be", "so", "10", "fold", "it's"]


def test_stems_leave_stop_words_out_and_bag_keeps_them() -> None:
    """Content words and all words are two sets."""
    assert stems("You do not trust the police") == {stem("trust"), stem("police")}
    assert {"not", "the", "you"} <= bag("You do not trust the police")


def test_word_set_splits_at_spaces() -> None:
    """A list of words between spaces is a set of words."""
    assert word_set("a b  c") == {"a", "b", "c"}


def test_stop_words_hold_no_word_of_matter() -> None:
    """Words that a question may turn on are not stop words."""
    assert STOP_WORDS.isdisjoint({"family", "god", "work", "trust", "agree", "important"})


def test_sentences_come_from_lines_then_from_prose() -> None:
    """Bullets, numbers in brackets and quotes of lists are dropped; prose is cut at full stops."""
    text = "- One fact.\n* Two facts. And three!\n[1] «A blob.»\n\n   \n# Title"
    assert split_sentences(text) == (
        "One fact.",
        "Two facts.",
        "And three!",
        "A blob.",
        "Title",
    )


def test_a_full_stop_inside_a_number_does_not_end_a_sentence() -> None:
    """A sentence ends where white space and a capital or a quote follow."""
    assert split_sentences("You earn 2.5 times more. You save.") == (
        "You earn 2.5 times more.",
        "You save.",
    )


@pytest.mark.parametrize("text", ["", "   \n ", "(nothing is known)", "- (none)", "...\n--"])
def test_remarks_and_blanks_are_no_sentences(text: str) -> None:
    """A placeholder in parentheses is not taken for something that was said."""
    assert split_sentences(text) == ()


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("family is very important", 1.0),
        ("family is rather important", 0.4),
        ("family is not very important", -0.4),
        ("family is not at all important", -1.0),
        ("you strongly agree that it is so", 1.0),
        ("you agree that it is always so", 0.4),
        ("you neither agree nor disagree that it is so", 0.0),
        ("you strongly disagree that it is so", -1.0),
        ("you have a great deal of confidence", 1.0),
        ("you have none at all", -1.0),
        ("it was very bad", -1.0),
        ("you are not satisfied at all", -1.0),
        ("you are not close at all to it", -1.0),
        ("you live in a town", None),
    ],
)
def test_degrees_are_read_from_the_longest_phrase(text: str, position: float | None) -> None:
    """The strength of a sentence is that of its longest phrase of degree."""
    assert find_degree(text)[0] == position


def test_the_phrase_of_degree_is_told_between_spaces() -> None:
    """The phrase found is given too, to be compared with labels."""
    assert find_degree("you neither agree nor disagree that")[1] == " neither agree nor disagree "
    assert find_degree("you live here") == (None, "")


def test_all_positions_of_degree_lie_between_minus_one_and_one() -> None:
    """Positions are comparable."""
    assert all(-1 <= position <= 1 for position in DEGREES.values())
    assert DEGREES["very"] > DEGREES["rather"] > DEGREES["not very"] > DEGREES["not at all"]


def test_a_point_on_a_scale_is_read_with_the_words_of_its_ends() -> None:
    """A fact on a ten-point scale gives number, ends and what the ends mean."""
    point, rest = scale_point(
        "On tax cheats, you stand at 3 on a scale from 1 (never justifiable) to 10 (always so)."
    )
    assert point is not None
    assert (point.value, point.low, point.high) == (3, 1, 10)
    assert point.share == pytest.approx(2 / 9)
    assert stem("never") in point.low_words
    assert stem("always") in point.high_words
    assert "justifiable" not in rest


@pytest.mark.parametrize(
    ("text", "value", "low", "high"),
    [
        ("You place it at 6 on a scale of corruption from 1 (none) to 10 (all).", 6, 1, 10),
        ("On a scale from 0 to 10, you say 0.", 0, 0, 10),
        ("Of 40 people you rate him 4 on a scale from 1 to 5.", 4, 1, 5),
        ("You give it 7 out of 10.", 7, 1, 10),
        ("You give it 0 out of 10.", 0, 0, 10),
    ],
)
def test_scales_are_read_in_several_wordings(text: str, value: int, low: int, high: int) -> None:
    """The number nearest before the scale is the value, else one after it."""
    point, _ = scale_point(text)
    assert point is not None
    assert (point.value, point.low, point.high) == (value, low, high)


@pytest.mark.parametrize(
    "text", ["You are 45 years old.", "You stand at 12 on a scale from 1 to 10.", "9 out of 3"]
)
def test_numbers_that_are_no_point_on_a_scale_are_left(text: str) -> None:
    """An age, or a number beyond the ends, is no point."""
    assert scale_point(text)[0] is None


def test_a_sentence_on_a_numeric_scale_has_no_degree_of_its_own() -> None:
    """The words of the ends ("never", "always") say nothing of where the person stands."""
    sentence = read_sentence("You stand at 5 on a scale from 1 (never) to 10 (always).")
    assert sentence.degree is None
    assert sentence.phrase == ""
    assert "never" not in sentence.padded


def test_a_sentence_is_read_once() -> None:
    """Features are memoised by the text."""
    assert read_sentence("You like tea.") is read_sentence("You like tea.")
    assert read_sentence.cache_info().maxsize == SENTENCES_KEPT
    assert read_passage.cache_info().maxsize == PASSAGES_KEPT


def test_a_passage_knows_which_sentences_hold_a_stem() -> None:
    """The index of stems points at sentences in order."""
    passage = read_passage("- You trust the police.\n- You like tea.\n- The police like you.")
    assert passage.postings[stem("police")] == (0, 2)
    assert passage.sentences[1].text == "You like tea."
    assert "the" not in passage.postings


def test_rare_stems_weigh_more_and_unknown_ones_are_left_out() -> None:
    """The inverse document frequency falls with the number of sentences that hold a stem."""
    passage = read_passage("\n".join(["You like tea."] * 1 + ["You like milk."] * 6))
    rare = idf({stem("tea"), stem("milk"), stem("unheard")}, [passage])
    assert set(rare) == {stem("tea"), stem("milk")}
    assert 0 < rare[stem("milk")] < rare[stem("tea")] <= 1


def test_a_word_is_not_common_because_little_is_said() -> None:
    """Among few sentences a stem that one of them holds stays rare."""
    alone, one_of_many = (
        idf({stem("tea")}, [read_passage("\n".join(["You like tea.", *others]))])[stem("tea")]
        for others in ([], [f"You own boat {number}." for number in range(LEAST_SENTENCES - 1)])
    )
    assert alone == one_of_many > 0.5


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_text_can_be_read(lines: list[str]) -> None:
    """No text breaks the reader, and every inverse frequency lies in (0, 1]."""
    passage = read_passage("\n".join(lines))
    assert all(0 < value <= 1 for value in idf(passage.postings, [passage]).values())
