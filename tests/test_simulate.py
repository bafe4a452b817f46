"""Simulating in Python: the same rows as the loop gives, kept as they come, taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import case, example, person, prompt_of, reply, scripted_lm
from planned import MOVE, First, asked, people, plain, questions, survey_file
from simulating import Scripted, local, other, remote

from valuesim_dspy.asked import Listed
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, HistoryItem, Profile, make_cases
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError
from valuesim_dspy.hiding import digest_of
from valuesim_dspy.journal import Journal
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lm import make_lm
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.outcomes import Outcome, outcomes_frame
from valuesim_dspy.own import own_profile
from valuesim_dspy.peers import PeerIndex
from valuesim_dspy.program import ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.simulate import run_rows, simulate
from valuesim_dspy.state import own_arguments
from valuesim_dspy.store import cache_location
from valuesim_dspy.survey.codebook import Question, load_codebook
from valuesim_dspy.survey.respondents import read_respondents
from valuesim_dspy.survey.splits import make_fold
from valuesim_dspy.usage import Budget, Meter


class Memory:
    """Finished rows in memory, in the order in which they came."""

    def __init__(self, **done: Outcome) -> None:
        self.rows: dict[int, Outcome] = {int(k[1:]): v for k, v in done.items()}

    def add(self, number: int, outcome: Outcome) -> None:
        """Keep a row."""
        assert number not in self.rows
        self.rows[number] = outcome

    def is_done(self, number: int) -> bool:
        """Whether it is kept."""
        return number in self.rows


def second(_: Any) -> dict[str, Any]:
    """Answer everything with the second option."""
    return {**reply(2), "backstory": "You are somebody."}


def test_every_row_is_kept_as_it_comes() -> None:
    """By its number; whoever watches sees each once."""
    kept, seen = Memory(), list[Outcome]()
    run_rows(asked(), kept, lm=None, on_outcome=seen.append)
    assert list(kept.rows) == list(range(12)) and seen == list(kept.rows.values())
    assert {outcome.status for outcome in seen} == {"answered"}
    assert seen[0].respondent == people()[0].key(people().digest)
    assert seen[0].truth == people()[0].answer("Q27")


def test_only_what_is_not_done_is_asked() -> None:
    """Of the people who are named."""
    program = First()
    done = Outcome("x", "Q27", None, 1, "answered")
    kept = Memory(n0=done, n5=done)
    run_rows(asked(program), kept, lm=None, at=[0, 1])
    assert sorted(kept.rows) == list(range(8))
    assert len(program.seen) == 6
    run_rows(asked(program), kept, lm=None, at=[0, 1])
    assert len(program.seen) == 6


def test_one_case_that_fails_is_a_row_that_says_so() -> None:
    """The others are answered."""
    kept = Memory()
    run_rows(asked(First(fails=("Q57",))), kept, lm=None)
    failed = [n for n, outcome in kept.rows.items() if outcome.status == "failed"]
    assert failed == [1, 5, 9] and "out of order" in kept.rows[1].reason


def test_skipped_rows_are_kept_without_asking() -> None:
    """With their reason."""
    kept, program = Memory(), First()
    run_rows(asked(program, questions=questions("Q57", "Q262")), kept, lm=None)
    assert [o.status for o in kept.rows.values()] == ["answered", "skipped"] * 3
    assert {case.question.id for case in program.seen} == {"Q57"}


def test_rows_are_those_of_the_loop_that_evals_use(offline: Any) -> None:
    """Answers, decisions, views, calls: the same."""
    sheet = asked(ValueSim("full"), positions=[0], parts=2)
    examples = [row for _, row in sheet.rows() if isinstance(row, dspy.Example)]
    ours, kept = dict[int, Outcome](), Memory()
    run_rows(sheet, kept, lm=offline)
    theirs = answer_cases(ValueSim("full"), examples, lm=offline)
    ours = kept.rows
    assert plain(list(ours.items())) == plain(list(enumerate(theirs)))
    assert [dict(o.views) for o in ours.values()] == [dict(o.views) for o in theirs]
    assert [o.calls for o in ours.values()] == [o.calls for o in theirs]


def test_calls_at_once_give_the_same_rows(tmp_path: Path) -> None:
    """Against a server, early first questions included; a backstory is paid once a person."""
    sheet = asked(ValueSim("full"), positions=range(3), questions=questions("Q27", "Q57"))
    alone = Memory()
    with ResponseCache().installed():
        run_rows(sheet, alone, lm=make_lm(LMRole(), name="task_lm"))
    with remote() as (lm, server):
        kept = Memory()
        run_rows(sheet, kept, lm=lm)
        stories = lm.meter.by_predictor["writer.backstory"].calls
        assert lm.meter.paid.calls == len(server.requests)
    assert plain(sorted(kept.rows.items())) == plain(list(alone.rows.items()))
    assert stories == 3


def test_a_budgets_end_keeps_what_was_answered() -> None:
    """And a larger one goes on where it ended, paying nothing twice."""
    sheet = asked(ValueSim("single"))
    kept = Memory()
    with ResponseCache().installed():
        few = local(second, meter=Meter(budget=Budget(calls=5)))
        with pytest.raises(BudgetExceededError):
            run_rows(sheet, kept, lm=few)
        assert sorted(kept.rows) == list(range(5))
        more = local(second)
        run_rows(sheet, kept, lm=more)
    assert sorted(kept.rows) == list(range(12)) and more.meter.paid.calls == 7


def test_an_interrupt_closes_what_is_under_way() -> None:
    """What was answered is kept."""

    def act(case: Case) -> int:
        if case.question.id == "Q58":
            raise KeyboardInterrupt
        return 1

    kept = Memory()
    with pytest.raises(KeyboardInterrupt):
        run_rows(asked(Scripted(act)), kept, lm=None)
    assert sorted(kept.rows) == [0, 1]


def test_cases_come_back_in_their_order(offline: Any) -> None:
    """As a table; an example's answer is the truth."""
    frame = simulate(ValueSim("single"), [case("Q69"), example("Q70", 3)])
    assert frame["question"].tolist() == ["Q69", "Q70"]
    assert frame["truth"].isna().tolist() == [True, False] and frame["truth"][1] == 3
    again = answer_cases(ValueSim("single"), [example("Q69"), example("Q70", 3)], lm=offline)
    assert list(frame.columns) == list(outcomes_frame(again).columns)
    assert frame["answer"].tolist() == [outcome.answer for outcome in again]
    assert (frame["calls"] == 1).all()


def test_a_survey_is_asked_questions_by_id_battery_and_ones_own() -> None:
    """Respondents outside, questions inside; people who are chosen."""
    program = First()
    frame = simulate(
        program, respondents=people()[:3], questions=["Q27,battery:happiness", MOVE, "Q27"]
    )
    assert frame["question"].tolist() == ["Q27", "Q46", "own-1"] * 3
    keys = [who.key(people().digest) for who in people()[:3]]
    assert frame["respondent"].tolist() == [key for key in keys for _ in range(3)]
    known = [set(case.profile.answers) for case in program.seen]
    assert not known[0] & {"Q27", "Q46", "Q49"} and {"Q27", "Q46"} & known[2]
    assert simulate(First(), respondents=people()[:1], questions="Q57-Q59").shape[0] == 3


def test_profiles_are_asked_with_the_question_hidden() -> None:
    """And its twins; what a profile tells otherwise stays."""
    program = First()
    frame = simulate(program, respondents=[person(), other()], questions=["Q57", "Q182"])
    assert frame["question"].tolist() == ["Q57", "Q182"] * 2
    assert frame["truth"].tolist() == [2, 9, 1, 2]
    known = [set(case.profile.answers) for case in program.seen]
    assert known[0] == {"Q1", "Q6", "Q46", "Q58", "Q64", "Q65"} == known[1]
    assert known[2] == {"Q1", "Q64", "Q65"}
    split = First()
    simulate(split, respondents=[person()], questions=["Q57", "Q182"], parts=2)
    assert [set(case.profile.answers) & {"Q57", "Q182"} for case in split.seen] == [
        {"Q182"},
        {"Q57"},
    ]


def test_no_prompt_holds_what_is_hidden() -> None:
    """Neither the answers of an asked question nor those of its twins, by any predictor."""
    engine = ScriptedEngine(second)
    who, book = people()[:2], load_codebook()
    with ResponseCache().installed():
        simulate(
            "full",
            respondents=who,
            questions=["Q46", "Q57"],
            hide="battery",
            lm=scripted_lm(engine),
        )
    sent = [prompt_of(request) for request in engine.requests]
    hidden = {"Q46", "Q57", *book["Q46"].twins}
    shown = 0
    for respondent in who:
        for question in book:
            code = respondent.answer(question.id)
            if code is None or not question.gives_facts or question.private:
                continue
            text = question.fact_text(code, respondent.country)
            if question.id in hidden:
                assert not [prompt for prompt in sent if text in prompt], question.id
            else:
                shown += any(text in prompt for prompt in sent)
    assert shown > 200
    assert not [prompt for prompt in sent if respondent.id in prompt]


def test_a_program_may_be_a_name(offline: Any) -> None:
    """A variant's, with peers where it reads them; or a saved one's."""
    frame = simulate("single-peers", respondents=people()[:2], questions="Q57")
    assert set(frame["status"]) == {"answered"}
    assert simulate("single", [case()])["answer"].notna().all()
    with pytest.raises(MissingDataError, match="no program at nosuch"):
        simulate("nosuch", [case()])
    with pytest.raises(MissingDataError, match="not bound to similar"):
        simulate(ValueSim("peers"), respondents=people()[:1], questions="Q57")


def test_the_lm_in_force_answers_where_none_is_given(offline: Any) -> None:
    """It is counted."""
    before = offline.meter.needed.calls
    simulate(ValueSim("single"), [case()])
    assert offline.meter.needed.calls == before + 1


def test_a_plain_lm_of_dspy_answers_uncounted() -> None:
    """One case after another; calls are unknown and 0."""
    from dspy.utils import DummyLM

    lm = DummyLM([{"analysis": "So.", "answer": "2"}] * 3)
    frame = simulate(ValueSim("single"), [case("Q69"), case("Q70")], lm=lm)
    assert frame["answer"].tolist() == [2, 2] and frame["calls"].tolist() == [0, 0]


def test_a_cache_that_is_installed_is_used() -> None:
    """Else the project's own, so that a backstory is paid once."""
    engine = ScriptedEngine(second)
    with ResponseCache().installed() as cache:
        simulate(ValueSim("vote"), [case("Q69"), case("Q70")], lm=scripted_lm(engine))
        assert cache.count == len(engine.requests) == 7
    assert not cache_location().exists()
    simulate(ValueSim("vote"), [case("Q69"), case("Q70")], lm=scripted_lm(ScriptedEngine(second)))
    assert cache_location().exists() and "cache" not in vars(dspy)


def test_a_journal_makes_a_call_resumable(tmp_path: Path) -> None:
    """The second time nothing is asked; another question is another run."""
    program, kept = First(), tmp_path / "answers.journal"
    first = simulate(program, respondents=people()[:3], questions="Q57-Q58", journal=kept)
    again = simulate(program, respondents=people()[:3], questions="Q57-Q58", journal=kept)
    assert len(program.seen) == 6 and first.equals(again)
    with pytest.raises(ConfigError, match="other arguments: questions"):
        simulate(program, respondents=people()[:3], questions="Q57-Q59", journal=kept)
    with pytest.raises(ConfigError, match="other arguments"):
        simulate(
            program, respondents=people()[:3], questions="Q57-Q58", journal=kept, lm=local(second)
        )
    with Journal(kept) as journal:
        assert journal.count == 6


def test_an_interrupted_call_goes_on_from_its_journal(tmp_path: Path) -> None:
    """Rows are those of a run that nothing disturbed."""
    cases = [case(name) for name in ("Q69", "Q70", "Q71", "Q72")]
    left = [3]

    def act(_: Case) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return 1

    program = Scripted(act)
    with pytest.raises(KeyboardInterrupt):
        simulate(program, cases, journal=tmp_path / "j")
    left[0] = 1
    frame = simulate(program, cases, journal=tmp_path / "j")
    undisturbed = simulate(Scripted(lambda _: 1), cases)
    assert left[0] == 0
    assert frame.drop(columns="seconds").equals(undisturbed.drop(columns="seconds"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"respondents": "survey"},
        {"questions": "Q57"},
        {"cases": True, "respondents": "survey", "questions": "Q57"},
        {"cases": True, "questions": "Q57"},
    ],
)
def test_who_is_asked_what_must_be_clear(given: dict[str, Any]) -> None:
    """Cases, or respondents with questions."""
    given = dict(given)
    cases = [case()] if given.pop("cases", None) else None
    if "respondents" in given:
        given["respondents"] = people()
    with pytest.raises(ConfigError, match="give cases, or respondents and questions"):
        simulate(First(), cases, **given)


def test_answers_of_people_go_only_where_it_was_agreed(
    tmp_path: Path, unmarked: Callable[[Path], Path]
) -> None:
    """A survey that is not synthetic, a host that is not this machine."""
    survey = read_respondents(unmarked(tmp_path))
    lm = make_lm(LMRole(model="openai/x", api_base="http://10.0.0.1/v1"), name="task_lm")
    with pytest.raises(ConfigError, match=r"--send-to 10\.0\.0\.1"):
        simulate("single", respondents=survey[:2], questions="Q57", lm=lm)
    program = First()
    simulate(
        program, respondents=survey[:2], questions="Q57", lm=lm, send_to=["10.0.0.1"], threads=1
    )
    assert len(program.seen) == 2


@pytest.fixture
def unmarked() -> Callable[[Path], Path]:
    """Write people who are not marked as synthetic."""

    def write(folder: Path) -> Path:
        path = survey_file(folder)
        text = path.read_text().replace("SYNTHETIC", "6-0").replace("synthetic", "10.14281/1")
        path.write_text(text)
        return path

    return write


def test_listed_cases_can_be_run_in_part() -> None:
    """By their places."""
    kept = Memory()
    run_rows(Listed(First(), [case("Q69"), case("Q70")]), kept, lm=None, at=[1])
    assert list(kept.rows) == [1]


def far() -> dspy.LM:
    """Return a plain LM on another machine."""
    return dspy.LM("openai/x", api_base="http://me:pw@10.0.0.1/v1", api_key="none")


def test_a_plain_lm_needs_consent_too(tmp_path: Path, unmarked: Callable[[Path], Path]) -> None:
    """Whether it is given, in force or a predictor's own; another host agrees to nothing."""
    survey = read_respondents(unmarked(tmp_path))[:2]
    known: dict[str, Any] = {"respondents": survey, "questions": "Q57"}
    with pytest.raises(ConfigError, match=r"answers of 2 .* --send-to 10\.0\.0\.1 ") as refused:
        simulate(First(), **known, lm=far())
    assert "pw" not in str(refused.value)
    with pytest.raises(ConfigError, match="--send-to openai"):
        simulate(First(), **known, lm=dspy.LM("openai/x"), send_to=["10.0.0.1"])
    with dspy.context(lm=far()), pytest.raises(ConfigError, match=r"--send-to 10\.0\.0\.1"):
        simulate(First(), **known)
    program = ValueSim("single")
    program.direct.answer.lm = far()
    with pytest.raises(ConfigError, match=r"--send-to 10\.0\.0\.1"):
        simulate(program, **known)
    with pytest.raises(ConfigError, match="expected an address"):
        simulate(First(), **known, lm=dspy.LM("openai/x", api_base="nowhere"))
    asked_ = First()
    simulate(asked_, **known, lm=far(), send_to=["10.0.0.1"])
    simulate(asked_, **known, lm=dspy.LM("openai/x", api_base="http://127.0.0.1:1/v1"))
    simulate(asked_, respondents=people()[:2], questions="Q57", lm=far())
    assert len(asked_.seen) == 6


def test_cases_and_profiles_of_people_need_consent(
    tmp_path: Path, unmarked: Callable[[Path], Path]
) -> None:
    """Those of one's own and of made-up people need none."""
    survey, fold = read_respondents(unmarked(tmp_path)), make_fold(load_codebook())
    real, made_up = (make_cases(who, [0, 1], fold, "test") for who in (survey, people()))
    lm = make_lm(LMRole(model="openai/x", api_base="http://10.0.0.1/v1"), name="task_lm")
    profile = real[0].case.profile
    for each in (far(), lm):
        with pytest.raises(ConfigError, match="answers of 2 respondents"):
            simulate(First(), [case("Q69"), *real], lm=each)
        with pytest.raises(ConfigError, match="answers of 1 respondents"):
            simulate(First(), respondents=[profile, person()], questions="Q57", lm=each)
        answers = simulate(First(), [*made_up[:2], case("Q69")], lm=each, threads=1)
        assert len(answers) == 3
        simulate(First(), respondents=[person()], questions="Q57", lm=each, threads=1)
    simulate(First(), real[:1], lm=far(), send_to=["10.0.0.1"])


def test_a_program_that_asks_needs_a_model() -> None:
    """Else every row would fail; one that does not ask needs none."""
    with pytest.raises(ConfigError, match="no language model answers"), dspy.context(lm=None):
        simulate("single", [case()])
    with dspy.context(lm=None):
        assert simulate(First(), [case()])["status"].tolist() == ["answered"]


def test_a_plain_lms_address_is_not_compared(tmp_path: Path) -> None:
    """A server may come back elsewhere; other settings are another run."""
    kept, cases = tmp_path / "j", [case()]
    for port in (1, 2):
        lm = dspy.LM("openai/x", api_base=f"http://127.0.0.1:{port}/v1", temperature=0.5)
        simulate(First(), cases, lm=lm, journal=kept)
    with pytest.raises(ConfigError, match="other arguments: settings"):
        simulate(First(), cases, lm=dspy.LM("openai/x", temperature=0.6), journal=kept)


def test_peers_of_a_few_are_everyone_of_the_file(offline: Any, tmp_path: Path) -> None:
    """As for the command."""
    kept = tmp_path / "j"
    simulate("single-peers", respondents=people()[:1], questions="Q57", journal=kept)
    with Journal(kept) as journal:
        told = PeerIndex.of(people(), range(len(people())), salt=people().digest, seed=42)
        assert journal.arguments["peers"] == told.describe()["digest"]


def test_a_profiles_answer_is_no_truth_of_other_words() -> None:
    """An id of the codebook does not make it the codebook's question."""
    worded = Question("Can they be trusted?", ["Yes", "No"], id="Q57")
    frame = simulate(First(), respondents=[person()], questions=[worded])
    assert frame["truth"].isna().all()


@pytest.mark.parametrize("nobody", ["people.csv", [], [3], 3])
def test_who_is_no_respondent_is_told(nobody: Any) -> None:
    """In one line, before anything is asked."""
    with pytest.raises(ConfigError, match="respondents: give people of a survey"):
        simulate("single", respondents=nobody, questions=["Q57"], lm=make_lm("offline/lexical-1"))


def test_two_people_of_one_key_are_answered_from_their_own_facts() -> None:
    """As where a profile is edited in a notebook and asked beside its old form."""
    book, engine = load_codebook(), ScriptedEngine(second)
    pair = [Profile("x", {"Q57": 1}, book, "JPN"), Profile("x", {"Q57": 2}, book, "DEU")]
    frame = simulate(ValueSim("single"), respondents=pair, questions="Q69", lm=scripted_lm(engine))
    sent = [prompt_of(request) for request in engine.requests]
    assert frame["country"].tolist() == ["JPN", "DEU"] and len(sent) == 2
    assert ["Japan" in text for text in sent] == [True, False] == ["Germany" not in t for t in sent]


def test_one_who_is_too_long_for_the_context_is_a_row_that_failed() -> None:
    """The others are answered, and no call is made for the one."""
    pages = own_profile({"Q57": 2}, statements=["You keep bees. " * 1200])
    who = [person(), pages, other()]
    with remote() as (lm, server):
        role = LMRole(model="openai/test", api_base=server.url, context=4000)
        frame = simulate(
            ValueSim("single"), respondents=who, questions="Q69", lm=make_lm(role, name="task_lm")
        )
        assert len(server.requests) == 2 and lm.meter.paid.calls == 0
    assert frame["status"].tolist() == ["answered", "failed", "answered"]
    assert "do not fit a context of 4000" in frame["reason"][1]


def test_a_journal_of_another_history_under_one_id_is_refused(tmp_path: Path) -> None:
    """Its questions decide the answers; of those of the codebook, the id says them all."""
    book, path = load_codebook(), tmp_path / "j"
    cats = Question("Do you like cats?", ["Yes", "No"], id="own-1")
    smoke = Question("Do you smoke?", ["Never", "Daily"], id="own-1")

    def ask(question: Question) -> int:
        engine = ScriptedEngine(second)
        one = Case(person(), book["Q69"], (HistoryItem(question, 1),))
        simulate(ValueSim("single"), [one], lm=scripted_lm(engine), journal=path)
        return len(engine.requests)

    assert (ask(cats), ask(cats)) == (1, 0)
    with pytest.raises(ConfigError, match=r"begun with other arguments: cases \(kept 1 "):
        ask(smoke)


def test_identities_of_earlier_journals_are_as_they_were() -> None:
    """So that what was paid is taken up: histories of the codebook's questions, programs, models.

    Expected values are those of journals that were written before own histories were told apart.
    """
    book = load_codebook()
    past = (HistoryItem(book["Q1"], 2, "2026-01-01"),)
    told = Listed(ValueSim("single"), [Case(person(), book["Q69"], past)]).arguments()
    answers = {**person().answers}
    old = [[person().key, "own", book.digest, answers, "JPN", (), None]]
    old[0] += [book["Q69"].content(), [["Q1", 2, "2026-01-01"]]]
    assert told["cases"] == f"1 {digest_of([[old[0], None]])}"
    assert set(told) == {"program_digest", "cases"} and own_arguments(ValueSim("single")) == {}


def test_a_journal_knows_the_models_that_predictors_have_of_their_own(tmp_path: Path) -> None:
    """Other models would give other answers; so would another adapter."""
    path, main = tmp_path / "j", scripted_lm(ScriptedEngine(second))

    def ask(temperature: float) -> list[int]:
        engine, program = ScriptedEngine(second), ValueSim("single")
        program.set_lm(scripted_lm(engine, temperature=temperature))
        frame = simulate(program, [case()], lm=main, journal=path)
        return [len(frame), len(engine.requests)]

    assert (ask(0.0), ask(0.0)) == ([1, 1], [1, 0])
    with pytest.raises(ConfigError, match=r"own_models \(kept direct\.answer offline/scripted "):
        ask(0.5)
    with pytest.raises(ConfigError, match="own_models"):
        simulate(ValueSim("single"), [case()], lm=main, journal=path)
    with dspy.context(adapter=dspy.JSONAdapter()), pytest.raises(ConfigError, match="adapter"):
        ask(0.0)
