"""Bad files and bad servers: one clear line and a status, or a failure that is counted."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import living_in, small_job
from loopback import LoopbackServer, Messages, Reply
from models import remote

from evals.benchmark import Result, run_benchmark
from evals.study import Study, build_arm, open_study
from valuesim_dspy.__main__ import main
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.survey.synthetic import write_synthetic

READY = "ready"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sound survey file, as text."""
    return write_synthetic(tmp_path_factory.mktemp("sound") / "s.csv", 20, seed=2).read_text()


@pytest.fixture
def me(tmp_path: Path) -> Path:
    """One's own person."""
    path = tmp_path / "me.toml"
    path.write_text('country = "JPN"\n[answers]\nQ46 = 1\n')
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that is refused; return its one line."""
    assert main([str(word) for word in arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
    assert "unexpected" not in said.err and len(said.err) < 900
    return said.err


def columns(text: str, change: Callable[[list[str], list[list[str]]], None]) -> str:
    """Change the header and the rows of a file, in place."""
    header, *rows = csv.reader(io.StringIO(text))
    change(header, rows)
    written = io.StringIO()
    csv.writer(written).writerows([header, *rows])
    return written.getvalue()


def _mixed(lines: list[str]) -> list[str]:
    """Separate the cells of one line by another character than the rest."""
    return [*lines[:2], lines[2].replace(",", ";"), *lines[3:]]


def only(*names: str) -> Callable[[str], str]:
    """Keep some columns."""

    def change(header: list[str], rows: list[list[str]]) -> None:
        kept = [place for place, name in enumerate(header) if name in names]
        for cells in (header, *rows):
            cells[:] = [cells[place] for place in kept]

    return lambda text: columns(text, change)


def cell(name: str, value: str) -> Callable[[str], str]:
    """Write a value into the third row of a column."""

    def change(header: list[str], rows: list[list[str]]) -> None:
        rows[2][header.index(name)] = value

    return lambda text: columns(text, change)


@pytest.mark.parametrize("command", [["check"], ["check", "--json"], ["describe"]])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: "", "the file is empty"),
        (lambda text: " \n\n", "the file is empty"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
        (lambda text: text[: len(text) * 2 // 3], "the line is cut short"),
        (lambda text: text.replace(",", "\t"), "commas or semicolons"),
        (lambda text: text.replace(",", "|"), "commas or semicolons"),
        (lambda text: "\n".join(_mixed(text.splitlines())), "line 3"),
        (only("D_INTERVIEW", "B_COUNTRY"), "no question of the codebook"),
        (lambda text: "name,age\nAda,36\n", "no question of the codebook"),
        (lambda text: text.replace('"', "").replace("Q58,", "Q57,", 1), "there twice"),
        (cell("Q57", "yes"), "line 4, column Q57"),
        (cell("Q57", "1.5"), "line 4, column Q57"),
        (cell("W_WEIGHT", "-1"), "W_WEIGHT"),
        (lambda text: "\x00\x01" * 500, "s.csv"),
        (lambda text: '"Q1' + "x" * 100, "quote"),
    ],
)
def test_a_spoiled_file_is_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    spoil: Callable[[str], str],
    said: str,
    command: list[str],
) -> None:
    """The file, and the line and the column where there are any; nothing of a row."""
    path = tmp_path / "s.csv"
    path.write_text(spoil(text))
    line = refused(capsys, "data", *command, path)
    assert said in line and "s.csv" in line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuch.csv", "there is no such file"),
        ("", "there is no such file"),
        ("people.json", "export it to CSV"),
        ("utf16.csv", "UTF-16"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, name: str, said: str
) -> None:
    """Absent, a folder, of another kind or in another encoding: what to do is told."""
    (tmp_path / "people.json").write_text("{}")
    (tmp_path / "utf16.csv").write_text(text, encoding="utf-16")
    assert said in refused(capsys, "data", "check", tmp_path / name)
    who = ["--survey", tmp_path / name, "--respondent", "1"]
    assert said in refused(capsys, "ask", *who, "--question", "Q46")


def zipped(path: Path, **members: str) -> Path:
    """Write a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_that_leads_outside_itself_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Nothing is written anywhere."""
    path = zipped(tmp_path / "s.zip", **{"../../s.csv": text})
    before = sorted(tmp_path.parent.rglob("*.csv"))
    assert "outside itself" in refused(capsys, "data", "check", path)
    assert sorted(tmp_path.parent.rglob("*.csv")) == before
    assert main(["data", "check", str(zipped(tmp_path / "t.zip", **{"s.csv": text}))]) == 0


def test_zips_that_are_none_or_hold_no_survey_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Empty, truncated, of two files, of none."""
    empty = tmp_path / "empty.zip"
    empty.write_bytes(b"")
    whole = zipped(tmp_path / "s.zip", **{"s.csv": text})
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-100])
    for path, said in (
        (empty, "damaged"),
        (cut, "damaged"),
        (zipped(tmp_path / "two.zip", **{"a.csv": text, "b.csv": text}), "exactly one"),
        (zipped(tmp_path / "none.zip", **{"readme.txt": "hello"}), "exactly one"),
        (zipped(tmp_path / "blank.zip", **{"s.csv": ""}), "empty"),
    ):
        assert said in refused(capsys, "data", "check", path)


def test_codes_out_of_range_are_reported_and_not_fatal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """They are set aside and counted; so are columns that are missing or unknown."""
    path = tmp_path / "s.csv"
    path.write_text(cell("Q58", "-77")(cell("Q57", "99")(text)))
    assert main(["data", "check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "set aside   Q57: code 99 is unknown to the codebook (1 times)" in said
    assert "set aside   Q58: code -77 is unknown to the codebook (1 times)" in said
    path.write_text(only("D_INTERVIEW", "Q46", "Q57")(text))
    assert main(["data", "check", str(path)]) == 0
    assert "and 276 more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--respondent", "999", "--question", "Q46"], "nobody among 20 respondents"),
        (["--respondent", "", "--question", "Q46"], "nobody among 20 respondents"),
        (["--respondent", "999"], "--question or --text"),
    ],
)
def test_an_unknown_respondent_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    arguments: list[str],
    said: str,
) -> None:
    """Without repeating the id that was asked for."""
    path = tmp_path / "s.csv"
    path.write_text(text)
    line = refused(capsys, "ask", "--survey", path, *arguments)
    assert said in line and "999" not in line


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (["--question", "Q999"], "no question Q999"),
        (["--question", "Q262"], "no list of options"),
        (["--text", "Tea?"], "at least two"),
        (["--text", "Tea?", "--option", "Yes"], "at least two"),
        ([], "--question or --text"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told(
    me: Path, capsys: pytest.CaptureFixture[str], question: list[str], said: str
) -> None:
    """Unknown, without options, with one."""
    assert said in refused(capsys, "ask", "--person", me, *question)


def test_a_model_that_nobody_knows_is_told(me: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A provider without a key; a provider that does not exist; a port where nobody listens."""
    asked = ["ask", "--person", me, "--question", "Q46", "--model"]
    line = refused(capsys, *asked, "openai/gpt-4o-mini", "--send-to", "openai")
    assert "no key for openai" in line and "api_key_env" in line
    line = refused(capsys, *asked, "openai/x", "--api-base", "http://127.0.0.1:9/v1")
    assert "127.0.0.1:9 cannot be reached" in line and "api_base" in line
    line = refused(capsys, *asked, "openai/x", "--api-key-env", "NOSUCH", "--send-to", "openai")
    assert "NOSUCH is not set" in line


@pytest.mark.slow
def test_a_provider_that_does_not_exist_is_told(
    me: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LiteLLM, which takes seconds to import, knows no such provider."""
    words = ["ask", "--person", me, "--question", "Q46", "--model", "nosuch/model"]
    line = refused(capsys, *words, "--send-to", "nosuch")
    assert "nosuch/model" in line and "check api_base and the model's name" in line


GARBAGE = b"\x00\xff<html>not json"


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"key": "another"}, "refused the key (LMAuthError (401)"),
        ({"model": "another"}, "does not know openai/test"),
        ({"answer": lambda messages: GARBAGE}, "does not answer as a model should"),
        ({"answer": lambda messages: b""}, "does not answer as a model should"),
        ({"answer": lambda messages: b"{}"}, "does not answer as a model should"),
        ({"answer": lambda messages: 500}, "fails by itself"),
        ({"answer": ""}, "an empty answer"),
        ({"answer": "I would rather not say."}, "holds one"),
        # What goes wrong after the trial call:
        ({"script": [READY], "answer": lambda messages: GARBAGE}, "LMProviderError"),
        ({"script": [READY], "answer": lambda messages: b""}, "LMProviderError"),
        ({"script": [READY], "answer": lambda messages: 500}, "LMServerError (500)"),
        ({"script": [READY], "answer": lambda messages: 401}, "LMAuthError (401)"),
        ({"script": [READY], "answer": lambda messages: 429}, "LMRateLimitError (429)"),
        ({"script": [READY], "answer": ""}, "holds one"),
    ],
)
def test_ask_tells_what_is_wrong_with_a_server(
    me: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: dict[str, Any],
    said: str,
) -> None:
    """Whatever it answers, and whenever: status 2 and one line."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with LoopbackServer(**server) as running:
        words = ["--model", "openai/test", "--api-base", running.url]
        line = refused(capsys, "ask", "--person", me, "--question", "Q69", *words)
        assert said in line
        # "Too many requests" is waited for; here no wait takes any time.
        assert 1 <= len(running.requests) <= (24 if "429" in said else 6)


def test_a_server_that_is_busy_all_the_time_is_told(
    me: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trial call takes it for there, with a warning; the answer that never comes ends it."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    with LoopbackServer(lambda messages: 429) as running:
        words = ["--model", "openai/test", "--api-base", running.url]
        line = refused(capsys, "ask", "--person", me, "--question", "Q69", *words)
    assert "LMRateLimitError (429)" in line
    # Another one tells that it waits.
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_prose_in_place_of_an_option_is_told_with_the_options(
    me: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked three times, and told which codes there were."""
    with LoopbackServer("I would rather not say.", script=[READY]) as running:
        words = ["--model", "openai/test", "--api-base", running.url, "--program", "single"]
        line = refused(capsys, "ask", "--person", me, "--question", "Q69", *words)
        assert len(running.requests) == 1 + 3
    assert "Q69" in line and "(1, 2, 3, 4)" in line


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study whose model is replaced test by test."""
    with (
        living_in(tmp_path_factory.mktemp("study")),
        open_study(small_job(threads=3), cache=ResponseCache()) as opened,
    ):
        yield opened


def measured(study: Study, server: LoopbackServer, arm: str = "single") -> Result:
    """Put the devset to an arm that a server answers; a cache of its own."""
    with server, ResponseCache().installed():
        lms = {"task_lm": remote(server, meter=study.meter.child("server"))}
        answered = Study(**{**_fields(study), "lms": lms})
        return run_benchmark(answered, arm, build_arm(answered, arm), "dev")


def _fields(study: Study) -> dict[str, Any]:
    names = ("config", "respondents", "fold", "split", "cache", "meter", "retriever")
    return {name: getattr(study, name) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (lambda messages: GARBAGE, "failed", "LMProviderError"),
        (lambda messages: b"", "failed", "LMProviderError"),
        (lambda messages: b'{"choices": []}', "invalid", "no attempt"),
        (lambda messages: 500, "failed", "LMServerError (500)"),
        (lambda messages: Reply(body=""), "invalid", "no attempt"),
        (lambda messages: "I would rather not say.", "invalid", "no attempt"),
        (lambda messages: "[[ ## answer ## ]]\n77", "invalid", "no attempt"),
    ],
)
def test_a_benchmark_counts_what_a_server_fails_to_answer(
    study: Study, answer: Callable[[Messages], Any], status: str, reason: str
) -> None:
    """All cases are there, each failed with its reason, none of them right."""
    result = measured(study, LoopbackServer(answer))
    frame = result.frame
    assert len(frame) == len(study.examples("dev"))
    assert set(frame["status"]) == {status} and frame["answer"].isna().all()
    assert all(reason in text and "\n" not in text for text in frame["reason"])
    assert result.metrics["accuracy"] == result.metrics["coverage"] == 0
    assert result.metrics[f"{status}_rate"] == 1 and not result.is_valid
    assert result.failed_calls == (len(frame) if status == "failed" else 0)


def test_a_key_that_is_taken_back_ends_a_benchmark(study: Study) -> None:
    """At once: every other case would fail as well."""
    server = LoopbackServer(lambda messages: 401)
    with pytest.raises(MissingDataError, match="refused the key"):
        measured(study, server)
    # Each call under way, and the trial that shows that it is not what was asked; whoever is told
    # late may make a trial of its own.
    assert len(server.requests) <= 2 * study.config.threads


def test_a_benchmark_goes_on_past_what_fails(study: Study) -> None:
    """Errors now and then fail their cases and no others."""
    good = "[[ ## analysis ## ]]\nSo it is.\n\n[[ ## answer ## ]]\n1\n\n[[ ## completed ## ]]"
    script: list[Any] = [500, good, GARBAGE, good, 429, good, b""]
    result = measured(study, LoopbackServer(good, script=script))
    statuses = result.frame["status"].tolist()
    assert (statuses.count("failed"), statuses.count("answered")) == (3, len(statuses) - 3)
    assert result.metrics["coverage"] == pytest.approx(1 - 3 / len(statuses))
    right = (result.frame["truth"] == 1) & (result.frame["status"] == "answered")
    assert result.metrics["accuracy"] == pytest.approx(right.mean())
    # Two replies came whole and are paid, though no answer could be made of them.
    assert result.needed.calls == result.paid.calls == len(statuses) - 3 + 2


def test_reasons_do_not_repeat_what_a_server_echoes(study: Study) -> None:
    """A server that answers with the prompt puts nobody's facts into the predictions."""

    def echo(messages: Messages) -> Reply:
        return Reply(500, " ".join(str(message["content"]) for message in messages)[-4000:])

    result = measured(study, LoopbackServer(echo))
    reasons = set(result.frame["reason"])
    facts = study.examples("dev")[0].case.profile.facts_text.splitlines()
    assert reasons and not [line for line in facts for text in reasons if line[2:] in text]
