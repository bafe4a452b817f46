"""Somebody else's profile: always the same other person, never oneself, nothing of one's own."""

import copy

import pytest
from people import person, prompt_of, reply, scripted

from evals.baselines import OtherProfile
from valuesim_dspy.case import Case, HistoryItem, Profile
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.survey.codebook import load_codebook

BOOK = load_codebook()


def profile(number: int) -> Profile:
    """One of several people, told apart by how often they pray and by country."""
    home = ("BRA", "DEU", "EGY", "NGA")[number % 4]
    return Profile(f"key{number}", {"Q171": number % 7 + 1, "Q1": 2}, BOOK, country=home)


PEOPLE = [profile(number) for number in range(8)]


def test_everybody_has_one_other_person_and_never_themself() -> None:
    """The draw depends on person and seed: the same for every question and in every process."""
    arm = OtherProfile().bind(PEOPLE, seed=3)
    others = {p.key: arm.other(p) for p in PEOPLE}
    assert all(other.key != key for key, other in others.items())
    again = OtherProfile().bind(PEOPLE, seed=3)
    assert others == {p.key: again.other(p) for p in PEOPLE}
    assert others != {p.key: arm.bind(PEOPLE, seed=4).other(p) for p in PEOPLE}
    assert len({other.key for other in others.values()}) > 2


def test_nothing_of_the_person_asked_reaches_the_model() -> None:
    """Facts, country and history are the other's; question and options are the case's."""
    later = (HistoryItem(BOOK["Q70"], 1),)
    asked = Case(person(), BOOK["Q69"], later)
    arm = OtherProfile().bind([profile(1)])
    assert arm.inputs(asked) == Case(profile(1), BOOK["Q69"]).inputs()
    with scripted([reply(3)]) as engine:
        assert arm(case=asked).answer == 3
    prompt = prompt_of(engine.requests[0])
    assert "Germany" in prompt and "Japan" not in prompt
    assert not any(fact.text in prompt for fact in asked.profile.facts)


def test_without_anybody_else_it_says_so() -> None:
    """Unbound, or bound to the person alone, it cannot answer."""
    for people in ([], [PEOPLE[0]]):
        with pytest.raises(MissingDataError, match="bind"):
            OtherProfile().bind(people).other(PEOPLE[0])


def test_copies_share_the_people_and_state_holds_none() -> None:
    """Teleprompters copy the arm; what is saved names nobody."""
    arm = OtherProfile().bind(PEOPLE, seed=3)
    twin = copy.deepcopy(arm)
    assert [twin.other(p) for p in PEOPLE] == [arm.other(p) for p in PEOPLE]
    assert all(a is b for a, b in zip(twin._others, PEOPLE, strict=True))
    assert list(arm.dump_state()) == ["direct.answer"] and "key1" not in str(arm.dump_state())


def test_the_most_that_may_be_read_is_the_longest_profile() -> None:
    """What must fit a context does not depend on whom the draw gives to whom."""
    talkative = Profile("talker", {f"Q{n}": 1 for n in range(1, 30)}, BOOK, country="DEU")
    arm = OtherProfile().bind([*PEOPLE, talkative])
    asked = Case(PEOPLE[0], BOOK["Q69"])
    assert arm.most_inputs(asked) == Case(talkative, BOOK["Q69"]).inputs()
