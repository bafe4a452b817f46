"""Questions of a list that share calls: who shares with whom, what it takes, what is read of it."""

from dataclasses import replace
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import person, prompt_of, scripted, scripted_lm
from simulating import remote

from benchmarks.together import SINGLE, examples, lines, measure, programs
from evals.baselines import SingleBattery
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, HistoryItem, Profile, make_example
from valuesim_dspy.errors import ConfigError, InvalidAnswerError
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.own import own_profile
from valuesim_dspy.survey.codebook import Question, load_codebook
from valuesim_dspy.together import AT_MOST, Together, checked
from valuesim_dspy.usage import Meter

CODEBOOK = load_codebook()
LIST = tuple(CODEBOOK[name] for name in ("Q66", "Q69", "Q70", "Q71", "Q72", "Q8", "Q9", "Q241"))
OWN = Question(text="Would you move to the sea?", options=["Yes", "No"])


def ids(program: Together, question: str | Question, **known: Any) -> list[str]:
    """Return the ids of the group of one question to the usual person."""
    asked = CODEBOOK[question] if isinstance(question, str) else question
    return [one.id for one in program.group(Case(person(), asked, **known))]


def cases(who: Profile | None = None) -> list[Case]:
    """Return one case a question of the list."""
    return [Case(who or person(), question) for question in LIST]


def numbered(code: int) -> Any:
    """Return what a model answers that gives one code to whatever it is asked."""

    def answer(request: Any) -> dict[str, str]:
        asked = prompt_of(request).count("\n[") + prompt_of(request).count("## ]]\n[")
        return {
            "analysis": "So.",
            "answers": "\n".join(f"{n}: {code}" for n in range(1, asked + 1)),
        }

    return answer


def test_a_list_is_dealt_n_at_a_time_in_its_order() -> None:
    """Three at a time: the list's order, the last group smaller."""
    dealt = Together(3, LIST)
    assert ids(dealt, "Q70") == ids(dealt, "Q66") == ["Q66", "Q69", "Q70"]
    assert ids(dealt, "Q8") == ["Q71", "Q72", "Q8"] and ids(dealt, "Q241") == ["Q9", "Q241"]
    assert ids(Together(1, LIST), "Q70") == ["Q70"]


def test_by_battery_nothing_is_asked_that_is_not_on_the_list() -> None:
    """Questions of one battery share a call; others of that battery stay out of it."""
    together = Together("battery", LIST)
    assert (
        ids(together, "Q71") == ["Q66", "Q69", "Q70", "Q71", "Q72"]
        or CODEBOOK["Q66"].battery != CODEBOOK["Q71"].battery
    )
    for question in LIST:
        group = ids(together, question)
        assert {CODEBOOK[name].battery for name in group} == {question.battery}
        assert set(group) <= {one.id for one in LIST}
    whole = Together("battery", CODEBOOK.questions.values())
    assert len(ids(whole, "Q69")) == 12


def test_what_is_known_is_in_no_group() -> None:
    """Neither what the profile answers nor what the history holds; the others move up."""
    known = [CODEBOOK["Q64"], CODEBOOK["Q65"], *LIST]
    assert ids(Together(3, known), "Q69") == ["Q66", "Q69", "Q70"]
    late = (HistoryItem(CODEBOOK["Q66"], 2),)
    assert ids(Together(3, known), "Q69", history=late) == ["Q69", "Q70", "Q71"]
    assert ids(Together(3, known), "Q64") == ["Q64"]


def test_questions_of_ones_own_are_dealt_too() -> None:
    """At a number they stand in the list; by battery they have none and are asked alone."""
    assert ids(Together(2, (LIST[0], OWN)), OWN) == [LIST[0].id, OWN.id]
    assert ids(Together("battery", (OWN, LIST[0])), OWN) == [OWN.id]


def test_a_question_that_is_not_on_the_list_is_asked_alone() -> None:
    """And one without options is in no group of others."""
    assert ids(Together(5, LIST), "Q1") == ["Q1"] and ids(Together(5, LIST), "Q57") == ["Q57"]
    open_one = Question(text="What is your village called?")
    assert ids(Together(5, (open_one, *LIST)), "Q66")[0] == "Q66"


def test_a_question_put_otherwise_is_asked_as_it_is_put() -> None:
    """The case's own wording stands in its call, the list's in all others."""
    own = replace(CODEBOOK["Q69"], text="Do you trust the police?")
    shown = Together(3, LIST).inputs(Case(person(), own))["questions"]
    assert "Do you trust the police?" in shown and shown.count("\n\n[") == 2


def test_only_questions_of_one_part_share_a_call() -> None:
    """Another part's questions may be known to this one's people, or are put to them later."""
    parts = {question.id: place % 2 for place, question in enumerate(LIST)}
    assert ids(Together(40, LIST, parts=parts), "Q66") == ["Q66", "Q70", "Q72", "Q9"]
    by_battery = Together("battery", LIST, parts=parts)
    assert "Q70" not in ids(by_battery, "Q69")


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.just("battery"), st.integers(1, 12)),
    st.sets(st.sampled_from(LIST), max_size=6),
    st.lists(st.sampled_from((*LIST, OWN)), min_size=1, max_size=12),
)
def test_groups_part_what_is_unknown(by: Any, known: set[Question], listed: list[Question]) -> None:
    """Each is in one group, that of all its members; none is too large or holds what is known."""
    who = own_profile({question.id: question.codes[0] for question in known}, country="JPN")
    together = Together(by, listed)
    asked = [question for question in dict.fromkeys(listed) if question not in known]
    seen: list[Question] = []
    for question in asked:
        group = together.group(Case(who, question))
        assert question in group and not known & set(group) and len(group) <= together.most
        assert all(together.group(Case(who, other)) == group for other in group)
        seen += group if together.leads(Case(who, question)) else ()
    assert sorted(one.id for one in seen) == sorted(one.id for one in asked)


@pytest.mark.parametrize("by", ["battery", 1, "1", 40, "12"])
def test_by_battery_or_by_a_number(by: str | int) -> None:
    """What the command line gives is a text; it means the same."""
    assert checked(by) == ("battery" if by == "battery" else int(by))


@pytest.mark.parametrize("by", ["batteries", 0, -1, 41, "41", "", "2.5", True, "²"])
def test_what_is_neither_is_refused(by: Any) -> None:
    """With what may be given."""
    with pytest.raises(ConfigError, match=f"battery, or how many.*1 to {AT_MOST}"):
        Together(by, LIST)


def test_one_call_serves_a_group_and_all_who_are_known_alike() -> None:
    """Two people with the same facts: as many requests as groups, each answer its own line."""
    other = replace(person(), key="somebody-else")
    together = Together(3, LIST)
    with scripted(lambda _: {"analysis": "So.", "answers": "1: 1\n2: 2\n3: 1"}) as engine:
        found = [int(together(case=case).answer) for case in (*cases(), *cases(other))]
    assert found == [1, 2, 1, 1, 2, 1, 1, 2] * 2
    assert len(engine.requests) == together.requests(cases()) == 3


def test_a_prediction_is_like_the_programs() -> None:
    """Answer, the analysis of the call, one direct decision; no trace that a demo could come of."""
    together = Together(2, LIST)
    with scripted([{"analysis": "Both.", "answers": "1: 1\n2: 3"}]), dspy.context(trace=[]):
        found = together.predict(cases()[1])
        assert dspy.settings.trace == []
    assert (found.answer, found.analysis, found.decision) == (3, "Both.", "direct")
    assert found.status == "answered" and found.views == {} and found.backstory == ""


def test_what_a_reply_lacks_is_asked_again_together() -> None:
    """Of five, the two that are missing share the second call; the other three pay nothing."""
    together = Together(5, LIST[:5])
    replies = [
        {"analysis": "a", "answers": "1: 1\n3: 2\n5: 1\n2: 99"},
        {"analysis": "b", "answers": "1: 3\n2: 4"},
    ]
    with scripted(replies) as engine:
        found = [int(together(case=case).answer) for case in cases()[:5]]
    assert found == [1, 3, 2, 4, 1] and len(engine.requests) == 2
    again = prompt_of(engine.requests[1])
    assert "[2]" in again and "[3]" not in again


def test_at_last_a_question_is_asked_alone_and_that_is_all() -> None:
    """A model that always cuts its replies short: two calls a group, one a question, no more."""
    together = Together(4, LIST[:4])

    def short(request: Any) -> Any:
        alone = "[2]" not in prompt_of(request)
        return {"analysis": "x", "answers": "1: 2"} if alone else "[[ ## analysis ## ]]\nFirst"

    with scripted(short) as engine:
        assert [int(together(case=case).answer) for case in cases()[:4]] == [2] * 4
    assert len(engine.requests) == 2 + 4
    with scripted(lambda _: "nothing") as engine, pytest.raises(InvalidAnswerError):
        together(case=cases()[0])
    assert len(engine.requests) == 3


def test_a_long_reply_gets_room() -> None:
    """A hundred tokens a question where the role gives less and the context leaves that."""
    listed = [question for question in CODEBOOK if question.scorable and question.kind == "value"]
    many = Together(40, listed)
    asked = next(
        case for case in (Case(person(), one) for one in listed) if len(many.group(case)) == 40
    )

    def given(**role: Any) -> Any:
        engine = ScriptedEngine(numbered(1))
        with ResponseCache().installed(), dspy.context(lm=scripted_lm(engine, **role)):
            many(case=asked)
        return engine.requests[0].config.max_tokens

    assert given() == 4000 and given(max_tokens=5000) == 5000
    assert 1024 < given(context=7000) < 4000
    assert given(context=4100, max_tokens=512) == 512


def test_rows_count_the_whole_call_and_the_run_counts_it_once() -> None:
    """What rows needed says what each would alone; what they paid adds up to what was paid."""
    meter = Meter("run")
    together = Together(4, LIST)
    with remote(meter=meter) as (lm, server):
        rows = answer_cases(together, [make_example(case, 1) for case in cases()], lm=lm)
    assert [row.status for row in rows] == ["answered"] * len(LIST)
    assert [row.calls for row in rows] == [1] * len(LIST)
    assert meter.needed.calls == len(server.requests) == sum(row.paid for row in rows) == 2
    assert sum(row.tokens for row in rows) == 4 * meter.needed.tokens


def test_at_once_in_many_threads_a_group_is_still_one_request() -> None:
    """Who comes while the group is under way waits for its reply."""
    together = Together(8, LIST)
    with remote() as (lm, server):
        rows = answer_cases(together, [make_example(c, 1) for c in cases()], lm=lm, threads=8)
    assert {row.status for row in rows} == {"answered"} and len(server.requests) == 1


def test_instructions_of_the_baseline_fit() -> None:
    """A compiled `single-battery` is loaded as it is: its one predictor has the same name."""
    compiled = SingleBattery()
    told = compiled.direct.answer.signature.with_instructions("Foresee it.")
    compiled.direct.answer.signature = told
    together = Together("battery", LIST)
    together.load_state(compiled.dump_state())
    assert [name for name, _ in together.named_predictors()] == ["direct.answer"]
    assert together.direct.answer.signature.instructions == "Foresee it."
    assert together.deepcopy().group(cases()[0]) == together.group(cases()[0])


def test_the_benchmark_counts_a_shared_call_once() -> None:
    """Ten at a time is about a tenth of the calls; its table has a line for each way."""
    asked = examples(2, questions=10)
    ways = programs(asked)
    found = {name: measure(ways[name], asked) for name in (SINGLE, "10 at a time")}
    one, ten = found.values()
    assert one.needed.calls == one.row_calls == one.answers == len(asked) == 20
    assert ten.needed.calls <= 4 < ten.row_calls == 20
    assert ten.needed.prompt_tokens < one.needed.prompt_tokens / 3
    assert 0 < ten.fresh_tokens < one.fresh_tokens < one.needed.prompt_tokens
    table = lines(found)
    assert [line[:12].strip() for line in table[1:]] == [SINGLE, "10 at a time"]
    assert "100.0%" in table[1] and "minus" in table[0]
