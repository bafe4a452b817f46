"""Perturbations: what changes in a case, what must not, and that draws are repeated by a seed."""

import random
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from people import case

from evals.perturbing import (
    PERTURBATIONS,
    REPEAT,
    REWRITES,
    WRAPPERS,
    Asking,
    PerturbedCase,
    reordered,
    shown_codes,
)
from valuesim_dspy.case import Case, HistoryItem
from valuesim_dspy.survey.codebook import Codebook, load_codebook

CHANGING = [name for name in PERTURBATIONS if name not in (REPEAT, "official-wording")]
QUESTIONS = ("Q69", "Q49", "Q57", "Q122", "Q30", "Q177")


def shown(name: str, question: str = "Q69", seed: int = 0, **known: object) -> Case:
    """Return a case under a perturbation."""
    return PERTURBATIONS[name].change(case(question, **known), Asking(seed))


def labels(shown_case: Case) -> Mapping[int, str]:
    """Return label by the original's code."""
    codes = shown_codes(shown_case)
    options = shown_case.question.options
    return {code: option.label for code, option in zip(codes, options, strict=True)}


def offered() -> list[str]:
    """Return the ids of all questions of the codebook that can be asked."""
    return [question.id for question in load_codebook() if question.scorable]


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_perturbed_case_is_another_case(name: str, question: str) -> None:
    """Nothing that remembers answers by case takes one for the other."""
    assert shown(name, question) != case(question)
    assert shown(name, question) == shown(name, question)
    assert shown(name, question).question.id == question


@pytest.mark.parametrize("name", CHANGING)
def test_a_case_keeps_who_is_asked_and_what_is_known(name: str) -> None:
    """The person, the answers in the profile and the history stay; so does what a log may show."""
    before = replace(case(), history=(HistoryItem(load_codebook()["Q70"], 1),))
    after = PERTURBATIONS[name].change(before, Asking())
    assert after.profile.key == before.profile.key
    assert after.profile.answers == before.profile.answers
    assert after.history_text == before.history_text
    assert repr(after) == repr(before)
    assert repr(after.profile) == repr(before.profile)
    assert sorted(after.profile.facts_text.splitlines()) == sorted(
        before.profile.facts_text.splitlines()
    )


@pytest.mark.parametrize("name", CHANGING)
def test_past_answers_read_the_same_however_options_are_shown(name: str) -> None:
    """Response style is evidence, not wording: no perturbation takes it away."""
    assert "once" in case().habits_text
    assert shown(name).habits_text == case().habits_text


def test_a_history_that_is_taken_away_is_not_read_from_the_original() -> None:
    """A variant without a history is asked without it under a perturbation too."""
    with_past = replace(case(), history=(HistoryItem(load_codebook()["Q70"], 1),))
    bare = replace(PERTURBATIONS["options-reversed"].change(with_past, Asking()), history=())
    assert bare.habits_text == case().habits_text != with_past.habits_text


def test_repetition_changes_nothing() -> None:
    """It is the request that is another one, not the case."""
    assert shown(REPEAT) == case()
    assert shown(REPEAT).inputs() == case().inputs()


def test_reversed_options_are_listed_from_the_last() -> None:
    """Codes keep their labels."""
    turned = shown("options-reversed")
    assert turned.options_text.splitlines() == case().options_text.splitlines()[::-1]
    assert shown_codes(turned) == case().question.codes[::-1]
    assert turned.question.order == case().question.order


@pytest.mark.parametrize("question", QUESTIONS)
def test_shuffled_options_are_the_same_lines_in_another_order(question: str) -> None:
    """Never in the order that they had."""
    lines = shown("options-shuffled", question).options_text.splitlines()
    assert lines != case(question).options_text.splitlines()
    assert sorted(lines) == sorted(case(question).options_text.splitlines())


def test_orders_are_drawn_by_person_question_and_seed() -> None:
    """The same three give the same order; another of any gives another somewhere."""

    def orders(seed: int, question: str, answers: dict[str, int] | None = None) -> object:
        known = {"answers": answers} if answers else {}
        return shown_codes(shown("options-shuffled", question, seed, **known))

    one = [orders(seed, "Q49") for seed in range(4)]
    assert one == [orders(seed, "Q49") for seed in range(4)]
    assert len(set(one)) == 4
    assert orders(0, "Q50") != one[0]
    assert orders(0, "Q49", {"Q1": 2}) != one[0]


@pytest.mark.parametrize("question", offered())
def test_new_codes_lead_back_to_the_options_they_stand_for(question: str) -> None:
    """The codes are the same ones, dealt out anew; each leads back to the label it is shown with.

    Places on the scale go with the labels, so that a mean or a vote finds the same middle.
    """
    before, after = case(question), shown("labels-for-numbers", question)
    assert isinstance(after, PerturbedCase)
    assert sorted(after.codes) == sorted(after.codes.values()) == list(before.question.codes)
    assert any(new != old for new, old in after.codes.items())
    for new, old in after.codes.items():
        plain = before.question.label(old)
        assert after.question.label(new) == plain or re.search(r"\d", plain)
        assert after.question.position(new) == before.question.position(old)
    # Labels stand where they stood: what changes is the number before each.
    assert shown_codes(after) == before.question.codes


def test_numbers_in_labels_and_at_the_ends_of_a_scale_are_spelled() -> None:
    """A five that is shown behind a nine would say two things at once."""
    after = shown("labels-for-numbers", "Q177")
    assert labels(after)[5] == "five"
    assert "from one (never justifiable) to ten (always justifiable)" in after.question_text
    assert len(set(labels(after).values())) == 10


def test_other_questions_keep_their_text_when_codes_change() -> None:
    """Only numbers that name an end of the scale are spelled."""
    assert shown("labels-for-numbers").question_text == case().question_text


def test_facts_are_shuffled_once_a_person() -> None:
    """All questions of a person see one order, so that the prefix of their prompts is shared."""
    one, other = (shown("facts-shuffled", question) for question in ("Q69", "Q49"))
    assert one.profile.facts_text == other.profile.facts_text
    assert one.profile == other.profile != case().profile
    assert one.profile.facts_text != case().profile.facts_text
    assert shown("facts-shuffled", seed=1).profile.facts_text != one.profile.facts_text
    assert one.question == case().question


def test_a_person_of_one_fact_has_nothing_to_shuffle() -> None:
    """The case stays as it is, which tells whoever measures to leave it out."""
    alone = replace(case(), profile=replace(case().profile, answers={}, known="nothing"))
    assert len(alone.profile.facts) == 1
    assert PERTURBATIONS["facts-shuffled"].change(alone, Asking()) is alone


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in REWRITES])
def test_every_rewrite_meets_questions_of_the_codebook(pattern: str) -> None:
    """A template that matches nothing would be dead; what it makes is one question still."""
    said = dict(REWRITES)[pattern]
    found = [q.wording.ask for q in load_codebook() if re.fullmatch(pattern, q.wording.ask)]
    assert len(found) >= 3
    for ask in found:
        made = re.sub(pattern, said, ask)
        assert made != ask
        assert made.count("?") == ask.count("?")
        assert "\\" not in made
        assert made.count("{country}") == ask.count("{country}")


def test_the_rewrites_read_well() -> None:
    """One of each, spelled out."""
    made = {
        ask: re.sub(pattern, said, ask)
        for pattern, said in REWRITES
        for question in load_codebook()
        if re.fullmatch(pattern, ask := question.wording.ask)
    }
    police = "How much confidence do you have in the police?"
    assert made[police] == "In the police, how much confidence do you have?"
    assert made["Do you believe in God?"] == "Is God something that you believe in?"
    assert made["How much do you trust your family?"] == "To what extent do you trust your family?"


@pytest.mark.parametrize("question", offered())
def test_every_question_can_be_paraphrased(question: str) -> None:
    """The text changes; options, codes and what stands for the country do not."""
    before, after = case(question), shown("paraphrased", question)
    assert after.question_text != before.question_text
    assert after.options_text == before.options_text
    assert "{" not in after.question_text
    assert after.question_text[0] == after.question_text[0].upper()


def test_paraphrases_vary_between_questions_and_seeds() -> None:
    """Wrappers and rewrites both come up."""
    texts = {shown("paraphrased", seed=seed).question_text for seed in range(40)}
    assert len(texts) == len(WRAPPERS) + 1
    assert any(text.startswith("In the police") for text in texts)


def test_the_own_wording_stands_in_for_the_one_in_force() -> None:
    """Where both are the same, or no other is in force, nothing changes."""
    plain = load_codebook()
    official = replace(plain["Q69"].wording, ask="The police: a lot of confidence?")
    reworded = plain["Q69"].reworded(official, plain["Q69"].options)
    codebook = replace(plain, questions={**plain.questions, "Q69": reworded}, wording="abcd")
    profile = replace(case().profile, codebook=codebook)
    before, change = Case(profile, codebook["Q69"]), PERTURBATIONS["official-wording"].change
    after = change(before, Asking(plain=plain))
    assert after.question_text == plain["Q69"].text
    assert after.profile is profile
    assert change(Case(profile, codebook["Q70"]), Asking(plain=plain)).question == plain["Q70"]
    same = Case(profile, codebook["Q70"])
    assert change(same, Asking(plain=plain)) is same
    assert change(before, Asking()) is before


def test_reordered_never_returns_the_order_it_got() -> None:
    """Two items are swapped; one or none stay."""
    for seed in range(20):
        assert reordered((1, 2), random.Random(seed)) == [2, 1]
        assert reordered("abc", random.Random(seed)) != list("abc")
    assert reordered((1,), random.Random(0)) == [1]
    assert reordered((), random.Random(0)) == []


def test_only_new_codes_are_said_to_recode() -> None:
    """Arms that read codes of others can follow everything else."""
    assert [name for name, one in PERTURBATIONS.items() if one.recodes] == ["labels-for-numbers"]
    assert all(name == one.name and one.what for name, one in PERTURBATIONS.items())


def test_the_codebook_itself_is_left_alone() -> None:
    """Questions are shared by all cases: a perturbation makes its own."""
    before = load_codebook().digest
    for name in PERTURBATIONS:
        shown(name, "Q177")
    fresh: Codebook = replace(load_codebook())
    assert fresh.digest == before
    assert case("Q177").question.codes == tuple(range(1, 11))
    assert [option.code for option in case("Q177").question.options] == list(range(1, 11))
