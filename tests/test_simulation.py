"""One simulation from plan to output: agreed to, stopped, taken up again, told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from loopback import LoopbackServer
from people import reply
from planned import QUESTIONS, plan, survey_file
from saving import learned, manifest

from valuesim_dspy import simulation
from valuesim_dspy.config import parse_job
from valuesim_dspy.ending import INTERRUPTED
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    ProgramStateError,
)
from valuesim_dspy.estimating import prompt_tokens
from valuesim_dspy.journal import Journal, Shard
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lm import make_lm
from valuesim_dspy.loading import save_program
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import open_plan
from valuesim_dspy.program import ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.sharding import status_lines
from valuesim_dspy.simulation import Simulation, run_simulation
from valuesim_dspy.usage import Meter, Usage

ELSEWHERE = LMRole(model="openai/x", api_base="http://10.0.0.1/v1")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of synthetic people."""
    return survey_file(tmp_path_factory.mktemp("survey"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """A model that always gives the second option."""
    return scripted(monkeypatch, lambda _: {**reply(2), "backstory": "You are somebody."})


def scripted(monkeypatch: pytest.MonkeyPatch, answers: Callable[[Any], Any]) -> ScriptedEngine:
    """Let a scripted model answer."""
    engine = ScriptedEngine(answers)

    def make(role: Any, **known: Any) -> Any:
        return make_lm(role, engine=engine if role.offline else None, **known)

    monkeypatch.setattr(simulation, "make_lm", make)
    return engine


def small(survey: Path, out: Path, *, config: dict[str, Any] | None = None, **known: Any) -> Any:
    """Return a simulation of four people and four questions."""
    how = {name: known.pop(name) for name in list(known) if name in Simulation.__annotations__}
    whole = plan(survey, **{"program": "single", **known})
    return Simulation(plan=whole, out=out, config=parse_job(config or {}), **how)


def run(given: Simulation) -> tuple[int, list[str]]:
    """Run it; return its status and what it says."""
    said: list[str] = []
    return run_simulation(given, say=said.append), said


def test_a_run_that_is_done_asks_nothing(
    survey: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    """It says so; the output is there, or is written again."""
    given = small(survey, tmp_path / "a.csv")
    assert run(given)[0] == 0 and len(engine.requests) == 16
    first = given.out.read_text()
    status, said = run(given)
    assert status == 0 and "all 16 rows are done: nothing is asked" in said
    given.out.unlink()
    assert run(given)[0] == 0 and given.out.read_text() == first
    assert len(engine.requests) == 16


def test_an_output_that_is_done_is_written_again_with_numbers(
    survey: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    """Where they are asked for afterwards; without them where they no longer are."""
    run(small(survey, tmp_path / "a.csv"))
    assert run(small(survey, tmp_path / "a.csv", ids=True))[0] == 0
    assert "interview" in pd.read_csv(tmp_path / "a.csv").columns and len(engine.requests) == 16
    assert run(small(survey, tmp_path / "a.csv"))[0] == 0
    assert "interview" not in pd.read_csv(tmp_path / "a.csv").columns


def test_other_arguments_are_refused_with_what_differs(
    survey: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    """Nothing is asked."""
    run(small(survey, tmp_path / "a.csv"))
    with pytest.raises(ConfigError, match="seed"):
        run(small(survey, tmp_path / "a.csv", seed=1))
    assert len(engine.requests) == 16


def test_ctrl_c_keeps_what_was_answered(
    survey: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same command goes on; the rows are those of a run that nothing disturbed."""
    left = [6]

    def answer(_: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return reply(2)

    scripted(monkeypatch, answer)
    given = small(survey, tmp_path / "a.csv")
    status, said = run(given)
    assert status == INTERRUPTED == 130
    told = capsys.readouterr().err
    assert "stopped: 11 of 16 rows are left" in told and "the same command goes on" in told
    assert said[-3:][0] == "rows: 5 of 16: answered 5 (100.0%)" and not given.out.exists()
    assert run(given)[0] == 0
    run(small(survey, tmp_path / "b.csv"))
    frames = [pd.read_csv(tmp_path / name) for name in ("a.csv", "b.csv")]
    same = [frame.drop(columns=["seconds", "paid", "paid_tokens"]) for frame in frames]
    assert same[0].equals(same[1])


def test_a_budgets_end_is_told_and_taken_up(
    survey: Path, tmp_path: Path, engine: ScriptedEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one message; what was paid is not paid again, and the budget is that of one start."""
    given = small(survey, tmp_path / "a.csv", config={"budget": {"calls": 6}})
    said: list[str] = []
    with pytest.raises(BudgetExceededError) as caught:
        run_simulation(given, say=said.append)
    told = str(caught.value)
    assert told.startswith("the budget of 6 calls is spent (6); 10 of 16 rows are left")
    assert told.endswith("the same command goes on") and "larger" not in told
    assert capsys.readouterr().err == ""
    assert "rows: 6 of 16: answered 6 (100.0%)" in said and said[-1].startswith("paid: 6 calls")
    with pytest.raises(BudgetExceededError, match="4 of 16 rows are left"):
        run(given)
    assert run(given)[0] == 0 and len(engine.requests) == 16


def test_failed_rows_are_asked_again_where_that_is_wanted(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they stay as they are; they are told with their reasons."""
    broken = [True]

    def answer(request: Any) -> Any:
        text = str(request.messages)
        if broken[0] and "trust your family" in text.rpartition("question")[0] + text[-3000:]:
            raise ValueError("out of order")
        return reply(2)

    scripted(monkeypatch, answer)
    out = tmp_path / "a.csv"
    _, said = run(small(survey, out, questions=("Q58", "Q27")))
    assert "rows: answered 4 (50.0%), failed 4 (50.0%)" in said
    assert [line for line in said if line.startswith("  4 failed: ") and "out of order" in line]
    broken[0] = False
    assert (
        "all 8 rows are done: nothing is asked"
        in run(small(survey, out, questions=("Q58", "Q27")))[1]
    )
    _, said = run(small(survey, out, questions=("Q58", "Q27"), retry_failed=True))
    assert "rows: answered 8 (100.0%)" in said
    assert pd.read_csv(out)["status"].eq("answered").all()


@pytest.mark.parametrize(("program", "calls"), [("single", 4), ("vote", 2 + 4 * 3)])
def test_bad_replies_in_the_cache_are_not_taken_again(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, calls: int
) -> None:
    """A model that became good answers rows asked again, those without a backstory too."""
    bad = [True]

    def answer(_: Any) -> Any:
        if bad[0]:
            return "I would rather not say."
        return {**reply(2), "backstory": "You are somebody."}

    engine = scripted(monkeypatch, answer)
    given = small(survey, tmp_path / "a.csv", program=program, questions=("Q58", "Q27"), sample=2)
    status = {"single": "invalid", "vote": "failed"}[program]
    assert f"rows: {status} 4 (100.0%)" in run(given)[1]
    again, paid = replace(given, retry_failed=True), len(engine.requests)
    # One bad time more, whose replies are in the cache, too.
    assert f"rows: {status} 4 (100.0%)" in run(again)[1] and len(engine.requests) > paid
    bad[0], paid = False, len(engine.requests)
    assert "rows: answered 4 (100.0%)" in run(again)[1]
    assert pd.read_csv(given.out)["status"].eq("answered").all()
    assert len(engine.requests) - paid == calls


def test_an_output_that_could_not_be_written_is_written_later(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing is asked: what lies there may be of before."""
    bad = [True]
    scripted(monkeypatch, lambda _: reply(9 if bad[0] else 2))
    given = small(survey, tmp_path / "a.csv", questions=("Q58",), sample=2)
    run(given)
    bad[0], write = False, simulation.write_answers

    def full(*_: Any, **__: Any) -> None:
        raise ConfigError("a.csv cannot be written: No space left on device")

    monkeypatch.setattr(simulation, "write_answers", full)
    with pytest.raises(ConfigError, match="No space"):
        run(replace(given, retry_failed=True))
    monkeypatch.setattr(simulation, "write_answers", write)
    assert pd.read_csv(given.out)["status"].eq("invalid").all()
    _, said = run(given)
    assert "all 2 rows are done: nothing is asked" in said
    assert pd.read_csv(given.out)["status"].eq("answered").all()


def test_rows_are_kept_until_their_retry_is_agreed_to(survey: Path, tmp_path: Path) -> None:
    """A refused estimate, a dead address, a part of them: what is kept stays."""
    with LoopbackServer("I would rather not say.") as server:
        role = LMRole(model="openai/test", api_base=server.url, num_retries=0)
        given = small(survey, tmp_path / "a.csv", lm=role, questions=("Q58",), sample=3)
        run(given)
        again = replace(given, retry_failed=True, config=parse_job({"confirm_calls": 1}))
        with pytest.raises(ConfigError, match="--yes"):
            run(again)
    with pytest.raises(ConfigError, match="cannot be reached"):
        run(replace(given, retry_failed=True))
    with Journal(given.journal) as kept:
        assert kept.counts() == {"invalid": 3} and kept.retries == 0


def test_people_too_long_for_the_context_are_told_before_the_first_call(
    survey: Path, tmp_path: Path
) -> None:
    """With what can be done; nothing is left behind."""
    with LoopbackServer() as server:
        role = LMRole(model="openai/test", api_base=server.url, context=3000, max_tokens=100)
        with pytest.raises(
            ConfigError, match=r"about \d+ tokens of context .*raise task_lm"
        ) as got:
            run(small(survey, tmp_path / "a.csv", lm=role))
        assert "--program" in str(got.value) and not server.requests
    assert list(tmp_path.iterdir()) == []


def test_one_who_is_too_long_all_the_same_is_a_row_that_failed(
    survey: Path, tmp_path: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are answered."""
    monkeypatch.setattr(simulation, "check_context", lambda *_, **__: None)
    lengths = sorted(
        {prompt_length(row.case): row.case.profile.key for row in cases_of(survey)}.items()
    )
    (_, _), (second, _), (longest, key) = lengths[0], lengths[-2], lengths[-1]
    role = LMRole(context=(second + longest) // 2 + 100, max_tokens=100)
    out = tmp_path / "a.csv"
    assert run(small(survey, out, lm=role, questions=("Q57",)))[0] == 0
    frame = pd.read_csv(out)
    failed = frame[frame["status"] == "failed"]
    assert list(failed["respondent"]) == [key] and "context" in failed["reason"].iloc[0]
    assert len(frame) == 4


def cases_of(survey: Path) -> list[Any]:
    """Return the examples of one question."""
    return [row for _, row in open_plan(plan(survey, questions=("Q57",), program="single")).rows()]


def prompt_length(case: Any) -> int:
    """Return the tokens of the variant `single`'s prompt."""
    program = ValueSim("single")
    return prompt_tokens(program, program.direct.answer, case)


def test_no_trial_call_is_made_where_nothing_is_asked(survey: Path, tmp_path: Path) -> None:
    """Age has no options: all rows are skipped."""
    with LoopbackServer() as server:
        role = LMRole(model="openai/test", api_base=server.url)
        status, said = run(small(survey, tmp_path / "a.csv", lm=role, questions=("Q262",)))
        assert status == 0 and not server.requests
    assert "rows: skipped 4 (100.0%)" in said


def test_the_output_of_another_division_is_called_that(
    survey: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    """A simulation did write it."""
    out = tmp_path / "a.csv"
    run(small(survey, out))
    with pytest.raises(ConfigError, match=r"is that of a\.csv\.journal; give another name"):
        run(small(survey, out, shard=Shard(1, 2)))
    run(small(survey, tmp_path / "b.csv", shard=Shard(2, 2)))
    (tmp_path / "b.csv").write_text("merged")
    with pytest.raises(ConfigError, match=r"is that of b\.csv\.2-of-2\.journal"):
        run(small(survey, tmp_path / "b.csv"))


def test_a_file_that_is_no_output_is_not_overwritten(
    survey: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    """Such as the survey itself."""
    before = survey.read_bytes()
    with pytest.raises(ConfigError, match="no simulation wrote it"):
        run(small(survey, survey))
    with pytest.raises(ConfigError, match="no simulation wrote it"):
        run(small(survey, survey, shard=Shard(1, 2)))
    assert survey.read_bytes() == before and not engine.requests
    with pytest.raises(ConfigError, match=r"allowed: \.parquet, \.csv"):
        run(small(survey, tmp_path / "a.xlsx"))


def test_a_run_that_kept_nothing_leaves_nothing(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next one may be another."""
    scripted(monkeypatch, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(small(survey, tmp_path / "a.csv"))[0] == INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_answers_of_people_go_only_where_it_was_agreed(
    survey: Path, tmp_path: Path, engine: ScriptedEngine
) -> None:
    """The message counts them; nothing is sent, no journal begun."""
    real = tmp_path / "real.csv"
    text = survey.read_text().replace("SYNTHETIC", "6-0").replace("synthetic", "10.14281/1")
    real.write_text(text)
    with pytest.raises(ConfigError, match=r"answers of 4 respondents .* --send-to 10\.0\.0\.1"):
        run(small(real, tmp_path / "a.csv", lm=ELSEWHERE))
    with pytest.raises(ConfigError, match="answers of 2 respondents"):
        run(small(real, tmp_path / "a.csv", lm=ELSEWHERE, shard=Shard(1, 2)))
    assert [path.name for path in tmp_path.iterdir()] == ["real.csv"]


def test_many_calls_need_a_word(survey: Path, tmp_path: Path) -> None:
    """After the estimate, before the first call; the embedded model may always be asked."""
    text = "[[ ## analysis ## ]]\nSo.\n\n[[ ## answer ## ]]\n2\n\n[[ ## completed ## ]]"
    with LoopbackServer(text) as server:
        role = LMRole(model="openai/test", api_base=server.url)
        few = {"confirm_calls": 15}
        said: list[str] = []
        with pytest.raises(
            ConfigError, match=r"up to 16 calls may be needed, more than 15; .*--yes"
        ):
            run_simulation(small(survey, tmp_path / "a.csv", lm=role, config=few), say=said.append)
        assert "16 rows of 4 people to ask; about 16 calls" in said[0]
        assert "price unknown" in said[0]
        assert not server.requests and not list(tmp_path.iterdir())
        agreed = small(survey, tmp_path / "a.csv", lm=role, config=few, agreed=True)
        status, said = run(agreed)
        assert status == 0 and len(server.requests) == 17  # the trial call before the work
    assert [line for line in said if "begins like an earlier one" in line]
    assert not [line for line in said if "embedded" in line]
    assert run(small(survey, tmp_path / "b.csv", config={"confirm_calls": 0}))[0] == 0


def test_calls_that_were_tried_again_are_told() -> None:
    """With those that the server refused for the rate; and what it had cached."""
    told = simulation._Told(Meter())
    assert not [line for line in told.lines(1.0) if "tried again" in line]
    told.lm = make_lm(LMRole(model="openai/x", api_base="http://127.0.0.1:1/v1"))
    told.lm.throttle.retries, told.lm.throttle.refusals = 7, 4
    told.lm.prefixes.sent("a person and a question")
    told.lm.prefixes.sent("a person and a question")
    told.lm.prefixes.read(1234)
    lines = told.lines(1.0)
    assert "tried again: 7 times; 4 times the server said that there were too many" in lines
    assert lines[-1] == (
        "50% of what was sent begins like an earlier one; "
        "the server says it had 1,234 tokens cached"
    )


def test_a_dead_endpoint_is_told_before_the_work(survey: Path, tmp_path: Path) -> None:
    """One line; nothing is left behind."""
    with LoopbackServer() as server:
        gone = server.url
    role = LMRole(model="openai/test", api_base=gone, num_retries=0)
    with pytest.raises(ConfigError, match="cannot be reached"):
        run(small(survey, tmp_path / "a.csv", lm=role))
    role = LMRole(model="openai/test", api_base=gone, api_key_env="NO_SUCH_KEY")
    with pytest.raises(MissingDataError, match="NO_SUCH_KEY is not set"):
        run(small(survey, tmp_path / "a.csv", lm=role))
    assert list(tmp_path.iterdir()) == []


def test_a_program_compiled_on_these_people_says_so(
    survey: Path, tmp_path: Path, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line; it answers all the same."""
    digest = open_plan(plan(survey)).respondents.digest
    told = manifest(variant="single", teleprompter="bootstrap", data={"digest": digest})
    folder = save_program(ValueSim("single"), tmp_path / "mine", told)
    with caplog.at_level(logging.WARNING):
        assert run(small(survey, tmp_path / "a.csv", program=str(folder)))[0] == 0
    assert caplog.text.count("may be among those the program was compiled on") == 1


def test_a_program_for_another_model_is_refused(survey: Path, tmp_path: Path) -> None:
    """Its records were learned for one; nothing is tried."""
    program = ValueSim("full-records")
    program.learned = learned()
    folder = save_program(program, tmp_path / "mine", manifest(variant="full-records"))
    role = LMRole(model="openai/test", api_base="http://127.0.0.1:1/v1")
    with pytest.raises(ProgramStateError, match="offline/lexical-1"):
        run(small(survey, tmp_path / "a.csv", program=str(folder), lm=role))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_ray_engine_gets_the_same_plan_and_journal(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are told and written like those asked here."""
    seen: dict[str, Any] = {}

    def run_on_ray(given: Any, opened: Any, journal: Journal, **known: Any) -> None:
        seen.update(known, plan=given)
        for number in range(opened.total):
            outcome = Outcome("abc", "Q57", None, 1, "answered")
            journal.add(number, outcome)
            known["meter"].record(Usage(2, 50, usd=None), paid=True)
            known["traffic"].prefixes.sent("the same")
            known["on_outcome"](outcome)

    monkeypatch.setattr("valuesim_dspy.ray_engine.run_on_ray", run_on_ray)
    given = small(survey, tmp_path / "a.csv", workers=2, config={"budget": {"calls": 99}})
    status, said = run(given)
    assert status == 0 and seen["plan"] == given.plan and seen["workers"] == 2
    assert seen["limits"] == given.config.limits
    assert seen["meter"].budget.calls == 99
    paid = next(line for line in said if line.startswith("paid: "))
    assert paid.startswith("paid: 32 calls, 800 tokens, price unknown")
    assert [line for line in said if line.startswith("94% of what was sent begins like")]
    assert len(pd.read_csv(given.out)) == len(QUESTIONS) * 4


def test_reasons_are_told_over_all_parts(tmp_path: Path) -> None:
    """The most frequent first, no more than a few."""
    parts = []
    for index in (1, 2):
        part = Journal.open(tmp_path / f"{index}", {}, 20, shard=Shard(index, 2))
        for number in range(index - 1, 20, 2):
            # In the first part this is the sixth reason, and in the second the only one.
            reason = "too slow" if index == 2 or number == 18 else f"reason {number // 3}"
            part.add(number, Outcome("a", "Q1", None, None, "failed", reason))
        parts.append(part)
    lines = status_lines(parts)
    assert lines[0] == "rows: failed 20 (100.0%)"
    assert lines[1] == "  11 failed: too slow" and len(lines) == 6
    for part in parts:
        part.close()
    with Journal.open(tmp_path / "empty", {}, 3) as empty:
        assert status_lines([empty]) == ["rows: 0 of 3: none"]


def test_what_is_no_option_is_one_reason_whatever_the_question(tmp_path: Path) -> None:
    """The row itself has the question's id."""
    with Journal.open(tmp_path / "j", {}, 9) as kept:
        for number in range(9):
            reason = f"Q{number}: no attempt gave one of the codes offered"
            kept.add(number, Outcome("a", f"Q{number}", None, None, "invalid", reason))
        assert status_lines([kept])[1:] == ["  9 invalid: no attempt gave one of the codes offered"]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_put_in_the_place_of_an_output_is_not_overwritten(
    survey: Path, tmp_path: Path, engine: ScriptedEngine, name: str
) -> None:
    """Its journal is beside it, yet it is somebody's own; moved aside, the output is made anew."""
    given = small(survey, tmp_path / name, questions=("Q57",))
    run(given)
    before, paid = given.out.read_bytes(), len(engine.requests)
    assert run(given)[0] == 0
    given.out.write_text("respondent,my notes\n")
    with pytest.raises(ConfigError, match="no simulation wrote it; move it aside"):
        run(given)
    assert given.out.read_text() == "respondent,my notes\n"
    given.out.rename(tmp_path / "mine")
    run(given)
    assert given.out.read_bytes() == before and len(engine.requests) == paid


def test_rows_are_kept_until_ray_can_be_reached(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry on a cluster that is not there drops nothing."""
    scripted(monkeypatch, lambda _: reply(9))
    given = small(survey, tmp_path / "a.csv", questions=("Q58",), sample=2)
    run(given)

    def absent(workers: int | None) -> Any:
        raise ConfigError("the Ray cluster cannot be used", key="RAY_ADDRESS")

    monkeypatch.setattr("valuesim_dspy.ray_engine.driver.ray_session", absent)
    with pytest.raises(ConfigError, match="RAY_ADDRESS: the Ray cluster"):
        run(replace(given, retry_failed=True, workers=0))
    with Journal(given.journal) as kept:
        assert kept.counts() == {"invalid": 2} and kept.retries == 0
