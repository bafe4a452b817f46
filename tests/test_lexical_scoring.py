"""Tests of the choice among options."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.lexical.parsing import Demo, Field, Option, Prompt, Task
from valuesim_dspy.lexical.scoring import NEAR, choose
from valuesim_dspy.lexical.weights import WEIGHTS

LABELS = ("Very important", "Rather important", "Not very important", "Not at all important")
IMPORTANCE = tuple(Option(str(code), label) for code, label in enumerate(LABELS, start=1))
TEN = tuple(
    Option(str(code), {1: "Never justifiable", 10: "Always justifiable"}.get(code, str(code)))
    for code in range(1, 11)
)
QUESTION = "How important is religion in your life?"


def ask(
    facts: str,
    question: str = QUESTION,
    options: tuple[Option, ...] = IMPORTANCE,
    *,
    instructions: str = "Answer.",
    demos: tuple[Demo, ...] = (),
    temperature: float = 0.0,
    **others: str,
) -> Prompt:
    """Return a prompt with facts and perhaps other fields."""
    fields = {"facts": facts, **others}
    task = Task(tuple(Field(name) for name in fields), (), instructions, "chat")
    return Prompt(
        task,
        {**fields, "question": question},
        demos,
        options,
        question,
        tuple(fields.items()),
        temperature=temperature,
    )


def test_the_statement_on_the_matter_decides() -> None:
    """Of statements on the same scale the one that shares the question's words wins."""
    facts = (
        "Family is very important in your life.\nFriends are very important in your life.\n"
        "Your religion is not at all important to you.\nWork is very important in your life."
    )
    choice = choose(ask(facts))
    assert choice.option.code == "4"
    assert choice.votes[0].text == "Your religion is not at all important to you."


def test_word_forms_meet() -> None:
    """Stems carry evidence where words do not."""
    facts = "Religious services are not very important to you.\nTea is very important to you."
    assert choose(ask(facts)).option.code == "3"


@pytest.mark.parametrize("number", [1, 3, 5, 8, 10])
def test_points_on_the_same_scale_carry_over(number: int) -> None:
    """On ten points the place of the nearest statement is predicted."""
    facts = (
        f"On whether divorce can be justified, you stand at {number} on a scale from 1 (never "
        "justifiable) to 10 (always justifiable)."
    )
    choice = choose(ask(facts, "Can divorce among friends be justified?", TEN))
    assert choice.option.code == str(number)


def test_without_evidence_no_option_stands_out_and_the_ends_are_least() -> None:
    """Nothing known: every option keeps some support, the moderate ones the most."""
    choice = choose(ask("You live in Peru."))
    assert choice.votes == ()
    assert sum(choice.support) == pytest.approx(1)
    assert min(choice.support) > 0
    assert choice.option.code in ("2", "3")


def test_the_persons_habit_on_a_scale_tips_the_balance() -> None:
    """Statements on the same scale that share no word still tell how the person answers."""
    facts = "\n".join(
        f"Having {thing} is not very important here." for thing in ("tea", "milk", "rain")
    )
    assert choose(ask(facts, "How vital is music?")).option.code == "3"


def test_counted_answers_tell_a_habit() -> None:
    """A line that counts earlier answers on the same options is read as such."""
    habits = (
        'Asked 9 other questions, you answered once "Very important"; 8 times "Not very important".'
    )
    assert choose(ask("You live in Peru.", habits=habits)).option.code == "3"


def test_views_that_name_an_option_are_votes() -> None:
    """Two readers who name an option outweigh one, whatever else their views quote."""
    views = (
        "The first reader answers 4 (Not at all important): so.\n"
        "The second reader answers 4 (Not at all important): so.\n"
        "The third reader answers 1 (Very important): so."
    )
    assert choose(ask("You live in Peru.", views=views)).option.code == "4"


def test_options_without_order_are_chosen_by_their_words() -> None:
    """Aims win by the words they share with statements."""
    options = (
        Option("1", "Economic growth"),
        Option("2", "Strong defence"),
        Option("3", "Cleaner cities"),
    )
    facts = "You live in Peru.\nYou often march for clean air in cities."
    assert choose(ask(facts, "Which aim comes first?", options)).option.code == "3"


def test_an_option_off_the_scale_is_not_drifted_into() -> None:
    """Statements near the end of a scale do not support the option beyond it."""
    options = tuple(
        Option(str(code), label)
        for code, label in enumerate(("Always", "Usually", "Never", "Not allowed to vote"), start=1)
    )
    facts = "You never vote in elections.\nYou never talk about elections."
    choice = choose(ask(facts, "Do you vote in local elections?", options))
    assert choice.option.label == "Never"
    assert choice.support[3] < min(choice.support[:3])


def test_instructions_change_the_choice() -> None:
    """The same person and question, read for feelings or for deeds, may be answered otherwise."""
    facts = (
        "You love your church, and it is very important to you.\n"
        "Attending church weekly is not at all important to you."
    )
    question = "How important is the church for you?"
    felt = choose(ask(facts, question, instructions="Read what they feel: love, fear, joy, trust."))
    done = choose(
        ask(facts, question, instructions="Read what they do: attend, join, act, weekly habit.")
    )
    assert felt.option.code == "1"
    assert done.option.code == "4"


def test_a_stressed_field_counts_more() -> None:
    """The field that instructions name above all wins over an equal one."""
    fields = {"backstory": "Religion is not at all important to you."}
    facts = "Religion is very important to you."
    one = choose(ask(facts, instructions="Answer from the backstory above all.", **fields))
    other = choose(ask(facts, instructions="Answer from the facts above all.", **fields))
    assert one.option.code == "4"
    assert other.option.code == "1"


def test_the_sum_of_vague_statements_is_bounded() -> None:
    """Two hundred phrases of degree on a shared word do not outweigh one statement that fits."""
    vague = "\n".join(f"You very often hear of religion on day {day}." for day in range(200))
    fits = "Religion is not at all important in your life."
    assert choose(ask(f"{vague}\n{fits}")).option.code == "4"
    one, many = choose(ask(vague.split("\n")[0])), choose(ask(vague))
    assert many.support[0] < one.support[0] + 0.2
    assert max(many.support) < 0.5


def test_points_on_other_scales_do_not_pile_up_at_an_end() -> None:
    """The direction of a scale with other ends is unknowable: the middle stays the best guess."""
    facts = "\n".join(
        f"On satisfaction with {thing}, you stand at 10 on a scale from 1 (low) to 10 (high)."
        for thing in ("tea", "milk", "rain", "snow", "wind", "sun", "ice", "salt", "fog", "hail")
    )
    choice = choose(ask(facts, "Can divorce be justified?", TEN))
    assert choice.option.code in ("5", "6")
    assert choice.support[0] == pytest.approx(choice.support[9])
    assert choice.support[0] > choose(ask("You live in Peru.", "?", TEN)).support[0]


def test_a_statement_in_two_fields_is_one_witness() -> None:
    """A story that repeats a fact adds nothing to it."""
    facts = "Religion is very important in your life.\nFaith is not very important in your life."
    story = "You live in Peru. Then again, religion is very important in your life."
    once, twice = choose(ask(facts)), choose(ask(facts, backstory=story))
    assert twice.support == pytest.approx(once.support, abs=0.01)
    changed = choose(ask(facts, backstory=story.replace("very", "rather")))
    assert changed.support[1] > once.support[1] + 0.2


def test_an_option_near_the_others_beats_a_lone_end() -> None:
    """One end may have the most votes, and yet be the most wrong where the rest is far off."""
    scale = ("Strongly agree", "Agree", "Disagree", "Strongly disagree")
    options = tuple(Option(str(code), label) for code, label in enumerate(scale))
    verbs = ["strongly agree"] * 5 + ["disagree"] * 4 + ["strongly disagree"] * 4
    facts = "\n".join(f"You {verb} that day {day} is good." for day, verb in enumerate(verbs))
    prompt = ask(facts, "Is rain good?", options)
    assert choose(prompt, weights=replace(WEIGHTS, compromise=0.0)).index == 0
    assert choose(prompt).index == 2


def test_items_of_a_list_mostly_go_unnamed() -> None:
    """Of an offer to name or not to name, the latter is expected where nothing is known."""
    listed = (Option("1", "Mentioned"), Option("2", "Not mentioned"))
    assert choose(ask("You live in Peru.", "Would you mention rain?", listed)).option.code == "2"
    assent = (Option("1", "Yes"), Option("2", "No"))
    assert choose(ask("You live in Peru.", "Is it rain?", assent)).option.code == "1"


def make_demo(answer: str, question: str = QUESTION, facts: str = "You live in Chile.") -> Demo:
    """Return a worked example on the importance scale."""
    options = "\n".join(f"{option.code}: {option.label}" for option in IMPORTANCE)
    return Demo({"facts": facts, "question": question, "options": options}, {"answer": answer})


def test_demos_on_the_same_options_are_weak_evidence() -> None:
    """Others' answers decide where the person's facts are silent, and only there."""
    demos = (make_demo("4"), make_demo("4"), make_demo("4"))
    assert choose(ask("You live in Peru.", demos=demos)).option.code == "4"
    known = "Religion is very important in your life."
    assert choose(ask(known, demos=demos * 5)).option.code == "1"


def test_demos_on_scales_of_the_same_form_tell_of_positions() -> None:
    """What others answer on a scale of equal length moves the guess, less than the same options."""
    options = "1: Very good\n2: Fairly good\n3: Fairly bad\n4: Very bad"
    other = Demo({"question": "How good is rain?", "options": options}, {"answer": "4"})
    alike = make_demo("4", "How good is rain?")
    none, form, same = (
        choose(ask("You live in Peru.", demos=demos)).support[3]
        for demos in ((), (other,) * 3, (alike,) * 3)
    )
    assert none < form < same


def test_demos_on_other_options_tell_nothing() -> None:
    """A code means something else on a scale of another length."""
    other = Demo({"question": QUESTION, "options": "1: Yes\n4: No"}, {"answer": "4"})
    without = choose(ask("You live in Peru."))
    assert choose(ask("You live in Peru.", demos=(other,))).support == without.support


def test_a_demo_of_the_same_person_counts_as_theirs() -> None:
    """Where the inputs repeat, the answer of the example is the person's own."""
    facts = "\n".join(
        f"- You like {thing}." for thing in ("tea", "milk", "rain", "snow", "wind", "sun")
    )
    stranger = choose(ask(facts, demos=(make_demo("4", facts="- You like ale.\n- You like gin."),)))
    own = choose(ask(facts, demos=(make_demo("4", facts=facts),)))
    assert own.support[3] > stranger.support[3]
    assert own.option.code == "4"


def test_choices_repeat_without_a_generator() -> None:
    """At temperature 0 the best supported option is taken, every time."""
    prompt = ask("Religion is rather important in your life.")
    assert choose(prompt) == choose(prompt)
    assert choose(replace(prompt, temperature=1.0)).index == choose(prompt).index


def test_draws_stay_near_the_best_and_are_freer_when_warmer() -> None:
    """Above temperature 0 only well supported options are drawn, the best one most often."""
    facts = "Religion is very important to you.\nYour religion is rather important to you."
    warm, hot = ask(facts, temperature=0.3), ask(facts, temperature=2.0)
    best = choose(warm)
    draws = {
        prompt.temperature: [choose(prompt, rng=Random(seed)).index for seed in range(200)]
        for prompt in (warm, hot)
    }
    for seen in draws.values():
        assert all(best.support[rank] >= NEAR * max(best.support) for rank in seen)
    assert len(set(draws[2.0])) > 1
    assert draws[0.3].count(best.index) >= draws[2.0].count(best.index)


def test_equal_support_goes_to_the_lower_index() -> None:
    """Ties are settled by place, not by chance."""
    options = (Option("7", "Bread"), Option("8", "Salt"))
    assert choose(ask("You live in Peru.", "Which one?", options)).index == 0


def test_weights_can_be_given() -> None:
    """A rule without weight is without effect."""
    prompt = ask("Religion is not at all important in your life.")
    mute = replace(WEIGHTS, strong=0.0, vague=0.0, style=0.0)
    assert choose(prompt).option.code == "4"
    assert choose(prompt, weights=mute).votes == ()
    assert choose(prompt, weights=mute).support == choose(ask("You live in Peru.")).support


@given(st.lists(st.text(max_size=60), max_size=6), st.text(max_size=60))
def test_any_statements_give_shares(facts: list[str], question: str) -> None:
    """Whatever the prompt says, the support is a distribution and the choice its maximum."""
    choice = choose(ask("\n".join(facts), question))
    assert sum(choice.support) == pytest.approx(1)
    assert choice.support[choice.index] == max(choice.support)
