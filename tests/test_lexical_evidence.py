"""Tests of how statements are heard: each once, by what it shares with the question."""

import pytest

from valuesim_dspy.lexical.evidence import Evidence, gist, overlaps, read_evidence
from valuesim_dspy.lexical.parsing import Field, Option, Prompt, Task
from valuesim_dspy.lexical.scales import DEGREE, LABEL
from valuesim_dspy.lexical.text import read_passage, stem, stems

OPTIONS = tuple(
    Option(str(code), label)
    for code, label in enumerate(
        ("Very important", "Rather important", "Not very important", "Not at all important"), 1
    )
)
FACT = "Religion is very important in your life."


def hear(
    instructions: str = "Answer.",
    *,
    question: str = "How important is religion in your life?",
    option_words: float = 0.05,
    lens: float = 3.0,
    **fields: str,
) -> Evidence:
    """Read some fields as evidence on the scale of importance."""
    task = Task(tuple(Field(name) for name in fields), (), instructions, "chat")
    prompt = Prompt(task, dict(fields), (), OPTIONS, question, tuple(fields.items()))
    return read_evidence(prompt, option_words=option_words, lens=lens, field=0.5)


def test_a_statement_on_the_scale_is_a_witness() -> None:
    """It has its text, its place, and the share of the question that it holds."""
    witness, other = hear(facts=f"{FACT}\nYou live in Peru.\nYou often pray.").witnesses
    assert (witness.text, witness.place.rank, witness.place.how) == (FACT, 0, LABEL)
    assert witness.near == pytest.approx(1.0, abs=0.05)
    assert (other.place.how, other.near) == (DEGREE, 0.0)
    assert witness.seen == 1.0


def test_the_nearer_statement_holds_more_of_the_question() -> None:
    """Words that few statements hold count more than those that many hold."""
    facts = "Religion is very important to you.\n" + "\n".join(
        f"{thing} is very important in your life." for thing in ("Family", "Work", "Tea")
    )
    near = [witness.near for witness in hear(facts=facts).witnesses]
    assert near[0] > max(near[1:]) > 0


def test_a_lone_statement_is_not_thereby_common() -> None:
    """With one fact known, the word that it shares is still as good as the words it lacks."""
    (witness,) = hear(facts=FACT, question="Is religion or music dear to you?").witnesses
    assert 0.2 < witness.near < 0.6


@pytest.mark.parametrize(
    "repeated",
    [
        FACT,
        "Then again, religion is very important in your life.",
        "Read for beliefs, what bears most on the question is this: \u201cReligion is very "
        "important in your life.\u201d",
    ],
)
def test_a_repeated_statement_is_heard_once(repeated: str) -> None:
    """Neither a second field, nor a connective, nor quotation marks make a second witness."""
    heard = hear(facts=FACT, backstory=f"You live in Peru. {repeated}")
    assert [witness.text for witness in heard.witnesses] == [FACT]


def test_another_place_is_another_statement() -> None:
    """A story that changes the degree contradicts the fact, and both are heard."""
    heard = hear(facts=FACT, backstory="Religion is not very important in your life.")
    assert [witness.place.rank for witness in heard.witnesses] == [0, 2]


def test_a_repeated_statement_is_as_strong_as_its_strongest_field() -> None:
    """The stress on one of the fields that hold it is not lost."""
    stressed = hear("Answer from the backstory above all.", facts=FACT, backstory=FACT)
    plain = hear(facts=FACT, backstory=FACT)
    dismissed = hear("Ignore the facts.", facts=FACT)
    assert stressed.witnesses[0].seen > plain.witnesses[0].seen > dismissed.witnesses[0].seen


def test_what_instructions_ask_for_is_seen_better() -> None:
    """The lens raises the statements of its kind, by as much as is asked."""
    facts = f"{FACT}\nYou worry a great deal and fear not very important things."
    felt = "Look for what they fear, love, worry about, enjoy or resent."
    seen = {w.text: w.seen for w in hear(felt, facts=facts).witnesses}
    assert seen[facts.splitlines()[1]] > seen[FACT]
    assert {w.seen for w in hear(felt, lens=0.0, facts=facts).witnesses} == {1.0}


def test_words_of_the_options_count_as_asked() -> None:
    """What only tells the scale is no matter, unless it is given a weight."""
    facts = "Tea is very important here.\nYou live in Peru."
    low = hear(facts=facts, option_words=0.0).witnesses[0].near
    high = hear(facts=facts, option_words=1.0).witnesses[0].near
    assert low == 0.0
    assert high > 0.2


def test_named_options_and_counts_are_kept_apart() -> None:
    """Votes of readers and counts of answers are no statements on the matter."""
    heard = hear(
        views="The reader answers 3 (Not very important).",
        habits='Asked 3 others, you answered twice "Very important"; once "Rather important".',
    )
    assert heard.witnesses == ()
    assert [(rank, raised) for _, rank, raised in heard.told] == [(2, 1.0)]
    assert heard.counted == ((0, 2.0), (1, 1.0))


def test_the_style_asked_for_is_handed_on() -> None:
    """Instructions on the manner of answering reach those who weigh it."""
    assert hear(facts=FACT).style == 0.0
    assert hear("Notice the style: ends or middle of the scale?", facts=FACT).style > 0.5


def test_a_gist_keeps_the_matter() -> None:
    """Long openings are matter, short ones are not; quotes are opened."""
    assert gist("Also, you like tea.") == stems("you like tea")
    assert gist("Of the many things that matter, you like tea.") >= stems("many things matter tea")
    assert gist("He said: \u201cYou like tea.\u201d") == stems("like tea")


def test_overlap_is_a_share_of_the_query() -> None:
    """Shared weight over all weight, less for long sentences, never above 1."""
    passage = read_passage("You like tea.\nYou like tea and milk.\nYou own a boat.")
    query = {stem("tea"): 0.5, stem("milk"): 1.0}
    shares = overlaps(query, passage, 1.5)
    assert shares[1] == pytest.approx(1.0)
    assert shares[0] == pytest.approx(1 / 3)
    assert 2 not in shares
