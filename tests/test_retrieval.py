"""Retrieval: the nearest facts by words, ties by position, vectors remembered within bounds."""

import threading
from collections.abc import Sequence
from copy import deepcopy
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import person

from valuesim_dspy.retrieval import (
    DIMENSIONS,
    LexicalEmbedder,
    Retriever,
    Vectors,
    nearest_lines,
    unit_rows,
)
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.facts import Fact

CODEBOOK = load_codebook()
EMBED = LexicalEmbedder(CODEBOOK)


def facts(*texts: str) -> list[Fact]:
    """Return facts with these texts."""
    return [Fact(f"own-{index}", 1, text, "", "", "") for index, text in enumerate(texts)]


class Fixed:
    """Embeds by a table, and counts what it is asked."""

    name = "fixed"
    semantic = True

    def __init__(self, table: dict[str, list[float]]) -> None:
        self.table = table
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return the rows of the table."""
        self.asked.append(list(texts))
        return np.array([self.table[text] for text in texts], dtype=np.float32)


def test_the_nearest_facts_share_words_with_the_question() -> None:
    """Of one person's facts those on the question's matter come first, whatever their form."""
    retriever = Retriever(EMBED)
    known = person().facts
    nearest = retriever.nearest(known, "How much confidence do you have in the armed forces?", 2)
    assert [fact.question for fact in nearest] == ["Q65", "Q64"]
    (nearest_one,) = retriever.nearest(known, "How important are families?", 1)
    assert nearest_one.question == "Q1"


def test_word_forms_are_one_word() -> None:
    """Religion, religious and religions meet in a stem."""
    texts = facts("You keep bees.", "You are a religious person.", "You drive to work.")
    assert Retriever(EMBED).nearest(texts, "What do religions mean?", 1)[0] is texts[1]


def test_rare_words_weigh_more_than_common_ones() -> None:
    """A word of many questions tells less than a word of one."""
    texts = facts("In your country it is important.", "You were told of divorce.")
    query = "Is divorce an important matter in your country today, important for your country?"
    weights = EMBED([text.text for text in texts]) @ EMBED([query])[0]
    assert Retriever(EMBED).nearest(texts, "important divorce", 1)[0] is texts[1]
    assert weights.shape == (2,) and (weights > 0).all()


def test_the_nearest_comes_first_and_the_farthest_last() -> None:
    """The order is by cosine, not by length of the vectors."""
    table = {"far": [0.0, 9.0], "near": [0.1, 0.0], "between": [5.0, 5.0], "?": [1.0, 0.0]}
    known = facts("far", "near", "between")
    found = Retriever(Fixed(table)).nearest(known, "?", 3)
    assert [fact.text for fact in found] == ["near", "between", "far"]


@given(count=st.integers(1, 260), k=st.integers(1, 20), width=st.sampled_from([3, 384]))
@settings(max_examples=60, deadline=None)
def test_ties_go_to_the_earlier_fact(count: int, k: int, width: int) -> None:
    """Facts with the same vector come in their own order, however the product is computed."""
    rng = np.random.default_rng(width)
    row, query = rng.random(width).tolist(), rng.random(width).tolist()
    known = facts(*(f"fact {index}" for index in range(count)))
    table = {fact.text: row for fact in known} | {"?": query}
    assert list(Retriever(Fixed(table)).nearest(known, "?", k)) == known[:k]


def test_more_than_there_are_gives_all() -> None:
    """A k beyond the facts is no error, and nothing comes twice."""
    known = person().facts
    found = Retriever(EMBED).nearest(known, "trust", 1000)
    assert len(found) == len(known) and set(found) == set(known)


def test_no_facts_give_none_and_ask_no_embedder() -> None:
    """Of somebody of whom nothing is known, nothing is retrieved."""
    embed = Fixed({})
    assert Retriever(embed).nearest([], "?", 3) == () and embed.asked == []


def test_a_query_without_content_words_takes_the_first_facts() -> None:
    """A zero vector is near to nothing: positions decide, and no number is NaN."""
    known = person().facts
    with np.errstate(all="raise"):
        found = Retriever(EMBED).nearest(known, "Do you or is it?", 3)
    assert found == known[:3]


def test_facts_without_content_words_come_last() -> None:
    """A zero row is less near than any fact that shares a word."""
    known = facts("It is what it is.", "You keep bees.")
    assert Retriever(EMBED).nearest(known, "bees", 2) == (known[1], known[0])


def test_rows_have_length_one_or_zero() -> None:
    """Unit rows, shape kept, zero rows kept, the input untouched."""
    given_rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    rows = unit_rows(given_rows)
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    assert rows.dtype == np.float32 and given_rows[0, 0] == 3.0


def test_the_lexical_embedder_gives_unit_rows_of_a_fixed_width() -> None:
    """One row a text, equal for equal texts, zero for none."""
    rows = EMBED(["You trust your neighbours.", "", "You trust your neighbours."])
    assert rows.shape == (3, DIMENSIONS) and rows.dtype == np.float32
    assert np.linalg.norm(rows[0]) == pytest.approx(1, abs=1e-5)
    assert (rows[0] == rows[2]).all() and not rows[1].any()
    assert EMBED([]).shape == (0, DIMENSIONS)
    assert EMBED.name == "lexical" and EMBED.semantic is False


def test_sentences_are_embedded_once() -> None:
    """All people share sentences: only new ones are asked for, each once."""
    table = {text: [1.0, float(len(text))] for text in ("a", "bb", "ccc", "?")}
    embed = Fixed(table)
    retriever = Retriever(embed)
    retriever.nearest(facts("a", "bb", "a"), "?", 1)
    retriever.nearest(facts("bb", "ccc"), "?", 1)
    assert embed.asked == [["a", "bb", "?"], ["ccc"]]


def test_no_more_is_remembered_than_allowed() -> None:
    """The oldest vectors go first, and results do not depend on what is remembered."""
    texts = [f"{index} bees" for index in range(20)]
    table = {text: [1.0, float(index)] for index, text in enumerate([*texts, "?"])}
    small, large = Retriever(Fixed(table), remembered=5), Retriever(Fixed(table))
    for start in (0, 3, 10, 0):
        known = facts(*texts[start : start + 8])
        assert small.nearest(known, "?", 3) == large.nearest(known, "?", 3)
        assert len(small._known) <= 5
    assert len(large._known) == 19


def test_an_embedder_that_loses_rows_is_an_error() -> None:
    """A row less would shift every fact by one."""

    class Short(Fixed):
        def __call__(self, texts: Sequence[str]) -> Vectors:
            return super().__call__(texts)[:-1]

    with pytest.raises(ValueError, match="shorter"):
        Retriever(Short({"a": [1.0], "?": [1.0]})).nearest(facts("a"), "?", 1)


def test_what_one_thread_forgets_does_not_fail_another() -> None:
    """While one thread embeds, others may push out the vectors it found remembered."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Fixed):
        def __call__(self, texts: Sequence[str]) -> Vectors:
            if "slow" in texts:
                inside.set()
                assert go_on.wait(timeout=30)
            return super().__call__(texts)

    names = ["a", "b", "slow", "c", "d", "e", "?"]
    retriever = Retriever(Slow({name: [1.0, 2.0] for name in names}), remembered=3)
    retriever.nearest(facts("a", "b"), "?", 1)
    found: list[tuple[Fact, ...]] = []
    known = facts("a", "slow")
    thread = threading.Thread(target=lambda: found.append(retriever.nearest(known, "?", 2)))
    thread.start()
    assert inside.wait(timeout=30)
    retriever.nearest(facts("c", "d", "e"), "?", 1)
    go_on.set()
    thread.join(timeout=30)
    assert found == [tuple(known)]


def test_a_retriever_is_shared_by_copies() -> None:
    """Teleprompters copy programs: the vectors and their lock stay where they are."""
    retriever = Retriever(EMBED)
    assert deepcopy({"binding": retriever})["binding"] is retriever


LINES = [
    "- You keep bees.",
    "- You have quite a lot of confidence in the police.",
    "- You drive to work.",
    "- You have no confidence at all in the press.",
    "- You sing.",
]


def test_nearest_lines_keep_their_order() -> None:
    """The lines that share most with the query, as they stood; fewer lines come back whole."""
    assert nearest_lines(LINES, "How much confidence do you have in the press?", 2) == [
        LINES[1],
        LINES[3],
    ]
    assert nearest_lines(LINES, "bees", 5) == LINES and nearest_lines([], "bees", 2) == []
    assert nearest_lines(LINES, "bees and the press", 1) != nearest_lines(LINES, "work", 1)


def test_lines_that_share_nothing_go_to_the_earlier() -> None:
    """Without a common word the first lines stay."""
    assert nearest_lines(LINES, "volcano", 2) == LINES[:2]
    assert nearest_lines(LINES, "", 3) == LINES[:3]


def test_long_lines_have_no_advantage() -> None:
    """Overlap counts relative to the length of a line."""
    long = "- You named bees, honey, orchards, meadows, gardens, hedges and streams as yours."
    assert nearest_lines([long, "- You keep bees."], "bees", 1) == ["- You keep bees."]


@given(
    lines=st.lists(st.sampled_from([*LINES, "- You drink.", ""]), max_size=12),
    query=st.sampled_from(["confidence in the press", "bees", "", "police work"]),
    count=st.integers(0, 12),
)
@settings(deadline=None)
def test_nearest_lines_are_a_part_in_order(lines: list[str], query: str, count: int) -> None:
    """Always `count` of the lines, or all, in their own order."""
    found = nearest_lines(lines, query, count)
    assert len(found) == min(count, len(lines))
    rest = iter(lines)
    assert all(line in rest for line in found)


def test_equal_lines_go_to_the_earlier_whatever_their_words() -> None:
    """Words as rare as each other weigh the same in any order: no last bit decides."""
    rng = Random(0)
    for _ in range(60):
        words = ["".join(rng.choices("bdgkmpx", k=8)) + "x" for _ in range(12)]
        one, other = words[:6], words[6:]
        often = [copies for copies in range(6) for _ in range(copies)]
        rest = [f"{one[copies]} {other[copies]}" for copies in often]
        lines = [" ".join(one), " ".join(other), *rest]
        assert nearest_lines(lines, " ".join(words), 1) == lines[:1]
