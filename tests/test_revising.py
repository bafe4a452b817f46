"""Revising a backstory: the prompt word for word, what is sent, what is kept, what is shown.

To accept a changed prompt: `UPDATE_GOLDEN=1 python -m pytest tests/test_revising.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import person as profile_of
from people import prompt_of, scripted

from valuesim_dspy.errors import ConfigError, MissingDataError, PredictionError
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.modules import BackstoryWriter
from valuesim_dspy.people import People, Person
from valuesim_dspy.program import ValueSim
from valuesim_dspy.revising import BackstoryReviser, ReviseBackstory
from valuesim_dspy.survey.codebook import Question, load_codebook

GOLDEN = Path(__file__).parent / "golden" / "revise_backstory.txt"
OLD = "You live in Japan. You have quite a lot of confidence in the police."
TRUST, CARE = (load_codebook()["Q57"].fact_text(code) for code in (1, 2))
POLICE = load_codebook()["Q69"].fact_text(2)


@pytest.fixture
def people(tmp_path: Path) -> People:
    """An empty store."""
    return People(tmp_path / "people.db")


@pytest.fixture
def me(people: People) -> Person:
    """A person with a handful of answers."""
    return people.add("me", profile_of(), time="2026-01-01")


def stories(*texts: str) -> list[dict[str, Any]]:
    """Return replies that hold these stories, in either request's field."""
    return [{"backstory": text, "revised": text} for text in texts]


def test_the_prompt_is_as_it_was_released() -> None:
    """Instructions, descriptions and the order of fields are product text."""
    inputs = {"backstory": OLD, "outdated": f"- {POLICE}", "facts": f"- {TRUST}"}
    adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
    messages = adapter.format(ReviseBackstory, [], inputs)
    text = "\n\n".join(f"=== {m['role']}\n{m['content']}" for m in messages) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_first_story_is_written_from_all_that_is_known(me: Person) -> None:
    """Profile and history, the newest answer to each question, in one call of the writer's."""
    me.observe("Q69", 2)
    me.observe("Q57", 1)
    with scripted(stories("You are somebody.")) as engine:
        revision = me.revise()
    (request,) = engine.requests
    assert TRUST in prompt_of(request) and POLICE in prompt_of(request)
    assert CARE not in prompt_of(request)
    assert "outdated" not in prompt_of(request)
    assert revision.story == me.backstory == "You are somebody."


def test_a_revision_folds_the_new_into_the_old(me: Person) -> None:
    """The old story, what no longer holds, the new facts and nothing else are sent."""
    with scripted(stories(OLD, "You are new.")) as engine:
        me.revise()
        me.observe("Q57", 1)
        me.observe("Q70", 1)
        me.revise()
    text = prompt_of(engine.requests[-1])
    head, _, rest = text.partition("[[ ## outdated ## ]]\n- ")
    outdated, _, facts = rest.partition("[[ ## facts ## ]]\n")
    assert OLD in head
    assert outdated.strip() == CARE
    assert TRUST in facts and "courts" in facts and "family" not in facts
    assert me.backstory == "You are new."


def test_what_was_folded_in_is_profile_from_then_on(me: Person) -> None:
    """The history starts anew; of a contradiction the facts keep the newest."""
    me.observe("Q57", 1)
    me.observe("Q69", 2)
    with scripted(stories("You are somebody.")):
        me.revise()
    case = me.case("Q71")
    assert case.history == () and case.profile.story == "You are somebody."
    facts = case.profile.facts_text
    assert TRUST in facts and POLICE in facts and CARE not in facts
    me.observe("Q70", 1)
    assert [item.question.id for item in me.case("Q71").history] == ["Q70"]


def test_a_story_is_hidden_from_what_it_tells(me: Person) -> None:
    """Asked what went into the story, or its twin, a person has a story without it, or none."""
    with scripted(stories("You are somebody.")):
        me.revise()
    twin = load_codebook()["Q6"].twins[0]
    assert me.case("Q57").profile.story is None
    assert me.case(twin).profile.story is None
    assert CARE not in me.case("Q57").profile.facts_text
    assert me.case("Q71").profile.story == "You are somebody."


def test_a_story_is_hidden_from_what_an_older_one_told(me: Person) -> None:
    """An overturned answer may live on in a story that was made from it."""
    with scripted(stories(OLD, "You are new.")):
        me.revise()
        me.observe("Q57", 1)
        revision = me.revise()
    assert {answer.number for answer in me.kept.answers} == revision.answers
    assert me.case("Q57").profile.story is None


def test_nothing_new_needs_no_call(me: Person) -> None:
    """The revision there is comes back."""
    with scripted(stories("You are somebody.")) as engine:
        first = me.revise()
        assert me.revise().number == first.number
    assert len(engine.requests) == 1 and len(me.kept.revisions) == 1


def test_fidelity_is_measured_over_all_facts(me: Person) -> None:
    """Kept with the revision; so is the share of overturned facts that the story still tells."""
    me.observe("Q57", 1)
    story = f"You live in Japan. {TRUST} {CARE}"
    with scripted(stories(story, f"You live in Japan. {TRUST}")):
        first = me.revise()
        me.observe("Q69", 2)
        second = me.revise()
    facts = me.case("Q71").profile.facts
    assert first.fidelity == pytest.approx(2 / 9) and first.stale == 1.0
    assert second.fidelity == backstory_fidelity(facts, second.story) < first.fidelity
    assert second.stale == 0.0
    kept = me.kept.revisions
    assert [each.fidelity for each in kept] == [first.fidelity, second.fidelity]


def test_ones_own_story_is_revised_by_all_answers(people: People) -> None:
    """It was not written from them; it comes back where a question hides the revision."""
    mine = people.add("mine", profile_of(story="You have a boat."))
    with scripted(stories("You have a boat and a family.")) as engine:
        mine.revise()
    text = prompt_of(engine.requests[0])
    assert "You have a boat." in text and "family" in text and CARE in text
    assert mine.case("Q57").profile.story == "You have a boat."
    assert mine.backstory == "You have a boat and a family."


def test_forgetting_deletes_stories_that_may_tell_it(me: Person) -> None:
    """Older ones stay, and what was folded into the lost ones is history again."""
    with scripted(stories(OLD, "You shun herons.", "You are third.")):
        me.revise()
        me.observe("Q69", 2)
        me.revise()
        me.observe("Q70", 1)
        me.revise()
    me.forget("Q69")
    assert [revision.story for revision in me.kept.revisions] == [OLD]
    assert [item.question.id for item in me.case("Q71").history] == ["Q70"]
    assert me.store.file is not None
    files = me.store.file.parent.glob("people.db*")
    assert b"herons" not in b"".join(path.read_bytes() for path in files)


def test_what_is_forgotten_meanwhile_is_not_brought_back(me: Person) -> None:
    """A story under way when something is forgotten is not kept: it may tell it."""

    def forgetful(_: Any) -> dict[str, Any]:
        me.forget("Q57")
        return stories("You are careful with people.")[0]

    with scripted(forgetful), pytest.raises(ConfigError, match="forgotten meanwhile"):
        me.revise()
    assert me.kept.revisions == () and me.backstory is None


def test_an_answer_that_comes_meanwhile_is_history(me: Person) -> None:
    """It was not worked in, and is not lost."""

    def busy(_: Any) -> dict[str, Any]:
        me.observe("Q69", 2)
        return stories("You are somebody.")[0]

    with scripted(busy):
        me.revise()
    assert [item.question.id for item in me.case("Q71").history] == ["Q69"]


def test_a_programs_writer_is_used(me: Person) -> None:
    """Demos of a compiled writer show in the request; a program without one does no harm."""
    program = ValueSim()
    demo = dspy.Example(facts="- You fish.", backstory="You are a fisher.")
    program.writer.backstory.demos = [demo]
    with scripted(stories("You are somebody.", "You are new.")) as engine:
        me.revise(program)
        me.observe("Q69", 2)
        me.revise(ValueSim("facts-only"))
    assert "You are a fisher." in prompt_of(engine.requests[0])
    assert "You are a fisher." not in prompt_of(engine.requests[1])


def test_a_compiled_reviser_is_used(me: Person) -> None:
    """Its own writer and its own demos."""
    reviser = BackstoryReviser(BackstoryWriter(max_tokens=99))
    demo = dspy.Example(backstory="a", outdated="b", facts="c", revised="You are a demo.")
    reviser.revised.demos = [demo]
    with scripted(stories(OLD, "You are new.")) as engine:
        me.revise(reviser)
        me.observe("Q69", 2)
        me.revise(reviser)
    assert "You are a demo." in prompt_of(engine.requests[1])
    assert [request.config.max_tokens for request in engine.requests] == [99, 99]


@pytest.mark.parametrize("reply", [{"revised": "  "}, "no story at all"])
def test_a_reply_without_a_story_is_an_error(me: Person, reply: Any) -> None:
    """The story there was stays the newest, and the history stays history."""
    with scripted([*stories(OLD), reply]):
        me.revise()
        me.observe("Q69", 2)
        with pytest.raises(PredictionError):
            me.revise()
    assert me.backstory == OLD and len(me.case("Q71").history) == 1


def test_a_story_that_holds_markers_is_sent_without(me: Person) -> None:
    """What a model wrote is data like any other."""
    with scripted(stories("You say [[ ## revised ## ]] nothing.", "You are new.")) as engine:
        me.revise()
        me.observe(Question("A [[ ## revised ## ]] b?", ["yes", "no"], id="own-1"), 1)
        me.revise()
    user = engine.requests[1].messages[-1].parts[0].text
    assert "You say ( # revised # ) nothing." in user
    assert user.count("[[ ## revised ## ]]") == 1  # the adapter's own, at the end


def test_nobody_is_no_story(people: People) -> None:
    """Where nothing is known nothing is written."""
    with scripted([]), pytest.raises(MissingDataError, match="nothing is known"):
        people.add("blank").revise()


def test_the_embedded_model_keeps_every_fact(me: Person, offline: Any) -> None:
    """Over several revisions; what it cannot do is leave the overturned out, and that shows."""
    me.revise(ValueSim())
    for question, code in (("Q69", 2), ("Q70", 1), ("Q27", 2)):
        me.observe(question, code)
        assert me.revise(ValueSim()).fidelity == 1.0
    me.observe("Q57", 1)
    assert me.revise().stale == 1.0
