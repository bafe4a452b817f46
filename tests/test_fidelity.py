"""Fidelity: what a story keeps of the facts, word by word and as strong as they were."""

from functools import cache
from random import Random

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import person

from valuesim_dspy.case import Profile, make_cases
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.lexical.text import split_sentences
from valuesim_dspy.lm import make_lm
from valuesim_dspy.modules import BackstoryWriter
from valuesim_dspy.own import own_profile
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.facts import Fact, make_fact
from valuesim_dspy.survey.folds import make_fold
from valuesim_dspy.survey.synthetic import synthesize

CODEBOOK = load_codebook()
FAMILY = "Family is very important in your life."
DIVORCE = (
    "On whether divorce can be justified, you stand at {} on a scale from 1 (never justifiable) "
    "to 10 (always justifiable)."
)


def facts(*texts: str) -> list[Fact]:
    """Return facts with these texts."""
    return [Fact(f"own-{index}", 1, text, "", "", "") for index, text in enumerate(texts)]


@cache
def survey_profile(index: int) -> Profile:
    """Return the profile of a synthetic person: more than a hundred facts."""
    people = synthesize(6, seed=3)
    return make_cases(people, [index], make_fold(CODEBOOK), "test")[0].case.profile


@pytest.mark.parametrize("join", [" ", "\n", "\n- ", "\n\n"])
def test_the_facts_themselves_keep_everything(join: str) -> None:
    """Joined in any way, all facts of a person are kept."""
    for known in (person().facts, survey_profile(0).facts):
        assert backstory_fidelity(known, join.join(fact.text for fact in known)) == 1.0


def test_every_fact_of_the_codebook_keeps_itself_and_its_answer_apart() -> None:
    """Each answer's sentence keeps its fact; that of another answer on its scale hardly ever."""
    others = mistaken = 0
    for question in CODEBOOK:
        if not question.gives_facts or not question.options:
            continue
        own = {code: make_fact(question, code) for code in question.codes}
        for code, fact in own.items():
            assert backstory_fidelity([fact], fact.text) == 1.0, fact.text
            if code in question.order and question.kind in ("value", "attitude"):
                told = {own[other].text for other in question.order} - {fact.text}
                others += len(told)
                mistaken += sum(backstory_fidelity([fact], text) for text in told)
    assert others > 1000 and mistaken / others < 0.01


@pytest.mark.parametrize(
    "text", ["", "   ", "The tide table for Harwich lists two floods a day.", "!"]
)
def test_an_unrelated_text_keeps_nothing(text: str) -> None:
    """No words in common: 0, for few facts and for many."""
    assert backstory_fidelity(person().facts, text) == 0.0
    assert backstory_fidelity(survey_profile(0).facts, text) == 0.0


def test_no_facts_are_refused() -> None:
    """There is no share of nothing."""
    with pytest.raises(ValueError, match="at least one fact"):
        backstory_fidelity([], "You live.")


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        (FAMILY, "Family is quite important in your life."),
        (FAMILY, "Family is not very important in your life."),
        (FAMILY, "Family is important in your life."),
        ("Work is quite important in your life.", "Work is very important in your life."),
        ("You agree that men lead better.", "You disagree that men lead better."),
        ("You agree that men lead better.", "You strongly agree that men lead better."),
        (
            "You have quite a lot of confidence in the press.",
            "You have a great deal of confidence in the press.",
        ),
        ("You believe in hell.", "You do not believe in hell."),
        ("You were not the victim of a crime.", "You were the victim of a crime."),
        ("You often pray.", "You never pray."),
        ("Few of the judges are corrupt.", "Most of the judges are corrupt."),
        ("You are 34 years old.", "You are 35 years old."),
        ("You don't trust strangers.", "You trust strangers."),
    ],
)
def test_another_strength_is_a_loss(fact: str, told: str) -> None:
    """Quite never becomes very, and a no is no yes."""
    assert backstory_fidelity(facts(fact), fact) == 1.0
    assert backstory_fidelity(facts(fact), told) == 0.0


@pytest.mark.parametrize("number", range(1, 11))
def test_another_number_is_a_loss(number: int) -> None:
    """A place on a scale is kept at its number alone, the ends of the scale included."""
    known = facts(DIVORCE.format(number))
    assert backstory_fidelity(known, DIVORCE.format(number)) == 1.0
    for wrong in set(range(1, 11)) - {number}:
        assert backstory_fidelity(known, DIVORCE.format(wrong)) == 0.0


@pytest.mark.parametrize(
    "told",
    [
        "You place divorce, on a scale of what can be justified, at 7.",
        "On whether divorce can be justified, you stand at 7.",
        "As for divorce, you stand at 7, and at 2 for theft, on how far it can be justified.",
    ],
)
def test_a_number_is_found_in_other_words(told: str) -> None:
    """The scale's ends need not be named, and the number may end the sentence."""
    assert backstory_fidelity(facts(DIVORCE.format(7)), told) == 1.0


def test_a_neighbours_strength_does_not_count() -> None:
    """What the next sentence says of another matter keeps nothing of this one."""
    matters = ("divorce", "abortion", "gambling", "bribery")
    given_facts = [DIVORCE.replace("divorce", matter).format(3) for matter in matters]
    told = [DIVORCE.format(8), *given_facts[1:], "Family is rather important in your life."]
    told.append("Friends are very important in your life.")
    known = facts(*given_facts, FAMILY, "Friends are very important in your life.")
    assert backstory_fidelity(known, " ".join(told)) == pytest.approx(4 / 6)


def test_several_facts_in_a_sentence_are_all_kept() -> None:
    """A sentence that tells more may hold other strengths beside the one it needs."""
    known = facts(FAMILY, "Work is quite important in your life.", "You live in Japan.")
    told = (
        "You live in Japan, where family is very important in your life and work quite important."
    )
    assert backstory_fidelity(known, told) == 1.0


def test_a_dropped_fact_is_missed_among_its_kin() -> None:
    """Facts of one battery share most words: the others do not stand in for the one left out."""
    head = "Choosing qualities for children to learn at home, up to five, you did not mention "
    names = ("good manners", "hard work", "thrift", "obedience", "imagination", "tolerance")
    known = facts(*(f"{head}{name}." for name in names))
    for index in range(len(names)):
        story = " ".join(fact.text for at, fact in enumerate(known) if at != index)
        assert backstory_fidelity(known, story) == pytest.approx(1 - 1 / len(names))


def test_half_of_the_facts_are_about_a_half() -> None:
    """The figure is near to the share of facts told, for people with many similar facts."""
    for index in range(3):
        known = survey_profile(index).facts
        told = " ".join(fact.text for fact in known[::2])
        assert 0.48 <= backstory_fidelity(known, told) <= 0.58


def test_another_person_is_told_apart() -> None:
    """The same questions answered otherwise are not kept: what is the same, and little more."""
    one, other = survey_profile(1).facts, survey_profile(2).facts
    same = len({fact.text for fact in one} & {fact.text for fact in other}) / len(one)
    found = backstory_fidelity(one, " ".join(fact.text for fact in other))
    assert same <= found <= same + 0.15


def test_a_statement_of_several_sentences_is_kept_sentence_by_sentence() -> None:
    """One's own words may be long; all of them are needed."""
    known = own_profile({}, statements=("You keep bees. You sell honey at the market.",)).facts
    assert backstory_fidelity(known, "You sell honey at the market. And you keep bees.") == 1.0
    assert backstory_fidelity(known, "You keep bees.") == 0.0


def test_a_fact_without_content_words_is_looked_for_as_it_stands() -> None:
    """There is nothing to weigh: the words themselves must be there."""
    assert backstory_fidelity(facts("You do."), "So you do.") == 1.0
    assert backstory_fidelity(facts("You do."), "Nothing of the kind.") == 0.0


def test_the_embedded_writer_keeps_the_facts() -> None:
    """What the offline model writes holds all facts, so the offline figures mean something."""
    profile = survey_profile(0)
    with dspy.context(lm=make_lm(LMRole(), name="task_lm")):
        story = BackstoryWriter()(profile=profile)
    assert backstory_fidelity(profile.facts, story) >= 0.95


SENTENCES = tuple(fact.text for index in range(3) for fact in survey_profile(index).facts)


@given(seed=st.integers(0, 2**32), size=st.integers(1, 40), drops=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_leaving_sentences_out_never_raises_fidelity(seed: int, size: int, drops: int) -> None:
    """Whatever the story, each sentence less keeps as many facts or fewer, down to none."""
    rng = Random(seed)
    known = facts(*rng.sample(SENTENCES, rng.randint(1, 25)))
    told = [
        rng.choice([f.text for f in known]) if rng.random() < 0.5 else rng.choice(SENTENCES)
        for _ in range(size)
    ]
    before = backstory_fidelity(known, " ".join(told))
    for _ in range(min(drops, len(told))):
        told.pop(rng.randrange(len(told)))
        after = backstory_fidelity(known, " ".join(told))
        assert 0 <= after <= before <= 1
        before = after


@given(st.text(max_size=80), st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5))
@settings(deadline=None)
def test_any_text_gives_a_share(story: str, texts: list[str]) -> None:
    """No text breaks the measure, and a story that repeats the facts keeps those with words."""
    known = facts(*texts)
    assert 0 <= backstory_fidelity(known, story) <= 1
    worded = [text for text in texts if split_sentences(text)]
    if worded:
        assert backstory_fidelity(facts(*worded), "\n".join(worded)) == 1.0


def test_equal_inputs_give_equal_figures() -> None:
    """The measure depends on the texts alone, not on what was measured before."""
    known = survey_profile(0).facts
    story = " ".join(fact.text for fact in known[::3])
    first = backstory_fidelity(known, story)
    backstory_fidelity(survey_profile(1).facts, story)
    assert backstory_fidelity(known, story) == first
