"""The commands `simulate` and `merge`: what their options mean, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planned import PEOPLE, survey_file

from valuesim_dspy.__main__ import build_parser, main
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.journal import Shard
from valuesim_dspy.plan import choose_questions
from valuesim_dspy.roles import LMRole
from valuesim_dspy.simulating import CONFIRM_CALLS, requested
from valuesim_dspy.simulation import Simulation
from valuesim_dspy.survey.codebook import UnknownQuestionError, load_codebook

MOVE = ("--text", "Would you move?", "--option", "Yes", "--option", "No")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of synthetic people."""
    return survey_file(tmp_path_factory.mktemp("survey"))


def parsed(*words: object) -> argparse.Namespace:
    """Return what the command line says."""
    given = ["simulate", "--survey", "people.csv", "--out", "a.parquet", *map(str, words)]
    return build_parser().parse_args(given)


def asked_for(*words: object) -> Simulation:
    """Return what the command line asks for."""
    return requested(parsed(*words))


def run(survey: Path, out: Path, *words: object) -> int:
    """Run the command in this process, on four people unless told otherwise."""
    few = [] if "--sample" in words else ["--sample", "4"]
    given = ["simulate", "--survey", survey, "--out", out, *few, *words]
    return main([str(word) for word in given])


def test_the_plan_is_what_the_options_say() -> None:
    """Questions in the codebook's order; people, model, what is hidden."""
    plan = asked_for(
        *("--questions", "Q57-Q58,Q27", *MOVE, "--sample", 9, "--seed", 3),
        *("--country", "JPN", "--country", "DEU", "--hide", "battery", "--parts", 2),
        *("--program", "single", "--model", "openai/x", "--api-base", "http://127.0.0.1:1/v1"),
    ).plan
    assert plan.questions == ("Q27", "Q57", "Q58")
    assert [(own.text, own.options) for own in plan.own] == [("Would you move?", ("Yes", "No"))]
    assert (plan.survey, plan.program, plan.sample, plan.seed) == ("people.csv", "single", 9, 3)
    assert (plan.countries, plan.hide, plan.parts) == (("DEU", "JPN"), "battery", 2)
    assert plan.lm == LMRole(model="openai/x", api_base="http://127.0.0.1:1/v1")


def test_what_is_not_said_is_usual() -> None:
    """Everyone, the whole program, the embedded model, one part."""
    simulation = asked_for("--questions", "Q57")
    plan, config = simulation.plan, simulation.config
    assert (plan.program, plan.sample, plan.parts, plan.hide) == ("full", None, 1, "question")
    assert plan.lm == LMRole() and plan.together is None
    assert config.limits.in_flight == 64 and config.confirm_calls == CONFIRM_CALLS
    assert not any(vars(config.budget).values())
    assert (simulation.shard, simulation.workers, simulation.agreed) == (None, None, False)
    assert simulation.journal == Path("a.parquet.journal")


def test_everything_is_asked_in_five_parts() -> None:
    """Unless a number is given."""
    book = load_codebook()
    plan = asked_for("--questions", "all").plan
    assert (plan.questions, plan.parts) == (tuple(choose_questions(book, "all")), 5)
    assert asked_for("--questions", "Q260, all").plan.parts == 5
    assert asked_for("--questions", "all", "--parts", 2).plan.parts == 2
    assert asked_for("--questions", "topic:wellbeing").plan.parts == 1


def test_several_questions_of_ones_own_keep_their_options() -> None:
    """Each text takes the options behind it."""
    other = ("--text", "And why?", *("--option", "Work"), *("--option", "Love", "--option", "No"))
    own = asked_for(*MOVE, *other).plan.own
    assert [each.options for each in own] == [("Yes", "No"), ("Work", "Love", "No")]
    assert asked_for(*MOVE).plan.questions == ()


def test_an_option_needs_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    """And a question two options."""
    with pytest.raises(SystemExit) as end:
        parsed("--option", "Yes", "--text", "Why?")
    assert end.value.code == 2 and "belongs behind the --text" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="'Why\\?' needs at least two"):
        asked_for("--text", "Why?", "--option", "So", *MOVE)


def test_limits_and_budgets_are_options_and_settings() -> None:
    """`--set` names any other setting of the model."""
    config = asked_for(
        *("--questions", "Q57", "--in-flight", 8, "--calls-per-minute", 60),
        *("--tokens-per-minute", 9000, "--budget-calls", 10, "--budget-tokens", 5000),
        *("--budget-usd", 1.5, "--confirm-calls", 3, "--set", "task_lm.max_tokens=99"),
        *("--set", "limits.in_flight=16", "--send-to", "a.example", "--send-to", "b.example"),
    ).config
    assert (config.limits.in_flight, config.limits.calls_per_minute) == (16, 60)
    assert config.limits.tokens_per_minute == 9000
    assert (config.budget.calls, config.budget.tokens, config.budget.usd) == (10, 5000, 1.5)
    assert (config.confirm_calls, config.task_lm.max_tokens) == (3, 99)
    assert config.send_to == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "variant=single"], "sets nothing here; allowed: task_lm, limits, budget"),
        (
            ["--set", "task_lm.temperatur=1"],
            "task_lm.temperatur: unknown key, did you mean temperature",
        ),
        (["--in-flight", "0"], "limits.in_flight"),
        (["--sample", "0"], "--sample: Input should be greater"),
        (["--parts", "0"], "--parts"),
        (["--shard", "3/2"], "no part of a run"),
        (["--workers", "2"], "--workers: at least 1, with --engine ray"),
        (["--engine", "ray", "--workers", "0"], "--workers"),
        (["--together", "2", "--program", "single"], "--together: is a program of its own"),
        (["--program", "together"], 'needs `together`: "battery" or a number'),
        (["--api-base", "http://me:pass@10.0.0.1/v1", "--model", "openai/x"], "credentials"),
    ],
)
def test_options_that_do_not_fit_are_refused(words: list[str], told: str) -> None:
    """In one line that says which."""
    with pytest.raises(ConfigError) as refused:
        asked_for("--questions", "Q57", *words)
    assert told in str(refused.value)


def test_unknown_questions_are_refused() -> None:
    """With the ones that are near."""
    with pytest.raises(UnknownQuestionError, match="no question Q570"):
        asked_for("--questions", "Q570")
    with pytest.raises(ConfigError, match="did you mean trust-in-groups"):
        asked_for("--questions", "battery:trust-in-group")


def test_the_parts_and_the_ray_engine_are_handed_on() -> None:
    """As many workers as there are, where none are named."""
    assert asked_for("--questions", "Q57", "--shard", "3/16").shard == Shard(3, 16)
    sharded = asked_for("--questions", "Q57", "--shard", "3/16")
    assert sharded.journal == Path("a.parquet.3-of-16.journal")
    assert asked_for("--questions", "Q57", "--engine", "ray").workers == 0
    assert asked_for("--questions", "Q57", "--engine", "ray", "--workers", 4).workers == 4


def test_a_run_writes_its_answers_and_says_what_it_took(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, calls, tokens, money; that the embedded model shows no more than machinery."""
    out = tmp_path / "a.parquet"
    assert run(survey, out, "--questions", "Q57-Q58", *MOVE, "--program", "single") == 0
    said = capsys.readouterr().out
    assert "12 rows of 4 people to ask; about 12 calls" in said
    assert "rows: answered 12 (100.0%)" in said
    assert "needed: 12 calls" in said and "paid: 12 calls" in said and "$0.00" in said
    assert f"{out}: 12 rows, readable by you only" in said
    assert said.splitlines()[-1].startswith("The embedded model answered")
    frame = pd.read_parquet(out)
    assert frame["question"].tolist() == ["Q57", "Q58", "own-1"] * 4
    assert frame["answer_label"].notna().all()
    assert "interview" not in frame.columns


def test_parts_put_together_are_the_whole_run(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row for row; until all are done, merging says what is missing."""
    words = ("--questions", "Q27,Q57", "--program", "single")
    assert run(survey, tmp_path / "whole.csv", *words) == 0
    out = tmp_path / "parts.csv"
    assert run(survey, out, *words, "--shard", "1/3") == 0
    assert "part 1/3 is done" in capsys.readouterr().out and not out.exists()
    assert main(["merge", "--out", str(out)]) == 2
    assert "2 of 3 parts" in capsys.readouterr().err and not out.exists()
    for index in (2, 3):
        assert run(survey, out, *words, "--shard", f"{index}/3") == 0
    assert main(["merge", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "8 rows of 3 parts" in said and said.splitlines()[-1] == "rows: answered 8 (100.0%)"
    took = ["seconds", "paid", "paid_tokens"]
    frames = [pd.read_csv(path).drop(columns=took) for path in (tmp_path / "whole.csv", out)]
    assert frames[0].equals(frames[1])


def test_labels_of_a_wording_of_ones_own_are_merged(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The packaged codebook is meant where only a wording is given; what is missing is said."""
    wording, out = tmp_path / "w.csv", tmp_path / "a.csv"
    wording.write_text("question,code,text\nQ57,,Trust people?\nQ57,1,Yes indeed\nQ57,2,Beware\n")
    words = ("--questions", "Q57", *MOVE, "--program", "single", "--wording", wording)
    assert run(survey, out, *words, "--shard", "1/1") == 0
    capsys.readouterr()
    assert main(["merge", "--out", str(out)]) == 0
    assert "no labels are written for 1 of the questions" in capsys.readouterr().out
    assert main(["merge", "--out", str(out), "--wording", str(wording)]) == 0
    assert "no labels" not in capsys.readouterr().out
    labels = pd.read_csv(out).query("question == 'Q57'")["answer_label"]
    assert set(labels) <= {"Yes indeed", "Beware"} and len(labels) == 4


def test_a_part_without_people_is_done(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are more parts than people: the others can be merged all the same."""
    assert run(survey, tmp_path / "a.csv", "--questions", "Q57", "--shard", "5/5") == 0
    assert "nobody is in part 5/5" in capsys.readouterr().out
    assert list(tmp_path.glob("*.journal")) == []


def test_another_division_beside_a_run_is_refused(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is paid: it could not be merged."""
    out = tmp_path / "a.csv"
    assert run(survey, out, "--questions", "Q57", "--shard", "1/2") == 0
    for other in (["--shard", "1/3"], []):
        assert run(survey, out, "--questions", "Q57", *other) == 2
        assert "beside" in capsys.readouterr().err
    assert run(survey, out, "--questions", "Q57", "--shard", "2/2") == 0
    out.write_text("my own file\n")
    assert main(["merge", "--out", str(out)]) == 2 and out.read_text() == "my own file\n"
    assert "no simulation wrote it" in capsys.readouterr().err
    out.unlink()
    assert main(["merge", "--out", str(out)]) == 0 == main(["merge", "--out", str(out)])


def test_numbers_of_interviews_are_not_promised_to_parts(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Merging does without the survey; an empty question is told, too."""
    words = ["--questions", "Q57", "--shard", "1/2", "--ids"]
    assert run(survey, tmp_path / "a.csv", *words) == 2
    assert "--ids: parts are merged without the survey" in capsys.readouterr().err
    words = ["--text", "", "--option", "Yes", "--option", "No"]
    assert run(survey, tmp_path / "a.csv", *words) == 2
    assert "--text: is empty" in capsys.readouterr().err


def test_merging_what_was_never_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And into what is no output."""
    assert main(["merge", "--out", str(tmp_path / "a.csv")]) == 2
    assert "there is no journal" in capsys.readouterr().err
    assert main(["merge", "--out", str(tmp_path / "a.txt")]) == 2
    assert "allowed: .parquet, .csv" in capsys.readouterr().err


def test_interview_numbers_are_written_where_they_are_asked_for(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into the output alone: not into the journal, not to the screen."""
    out, words = tmp_path / "a.csv", ("--questions", "Q57", "--program", "single", "--sample", 3)
    assert run(survey, out, *words, "--ids") == 0
    frame = pd.read_csv(out, dtype=str)
    known = set(pd.read_csv(survey, dtype=str)["D_INTERVIEW"])
    assert len(set(frame["interview"])) == 3 and set(frame["interview"]) <= known
    assert len(known) == PEOPLE
    kept = (tmp_path / "a.csv.journal").read_bytes()
    said = capsys.readouterr()
    for number in frame["interview"]:
        assert number.encode() not in kept and number not in said.out + said.err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """Of both commands."""
    for command, options in (
        ("simulate", ("--retry-failed", "--budget-usd", "--together", "--shard", "--engine")),
        ("merge", ("--out", "--codebook")),
    ):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        said: Any = capsys.readouterr().out
        assert [option for option in options if option not in said] == []
