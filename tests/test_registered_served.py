"""A registered program where it is served: what the machine decides, and what a caller may."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from champions import program
from compiling import Recording
from loopback import LoopbackServer
from misbehaving import GOOD
from people import scripted_lm
from registering import fact, loaded_model, recorded_prompts, table  # noqa: F401

from valuesim_dspy import registered
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.registered import RegisteredProgram
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.own_wording import open_codebook

KEY = "sk-0123456789"


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    """A model server that answers every question with 2."""
    with LoopbackServer(GOOD) as running:
        yield running


def serve(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Set what the serving process decides."""
    for name, value in settings.items():
        monkeypatch.setenv(registered.SERVED[name], value)


@pytest.mark.slow
def test_an_endpoint_that_is_away_ends_the_table(
    model: RegisteredProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens there: every row would fail; what is said holds nothing of a person."""
    serve(monkeypatch, model="openai/test", api_base="http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="cannot be reached") as told:
        model.predict(table({}), params={"threads": 1})
    assert fact("Q57", 2) not in str(told.value)


def test_the_environment_says_where_the_task_lm_is(
    model: RegisteredProgram, monkeypatch: pytest.MonkeyPatch, server: LoopbackServer
) -> None:
    """Model, address and the variable's name; the key itself is refused and must be set."""
    serve(monkeypatch, model="openai/test", api_base=server.url, api_key_env="MY_KEY")
    with pytest.raises(MissingDataError, match="MY_KEY is not set"):
        model.predict(table({}))
    monkeypatch.setenv("MY_KEY", KEY)
    told = model.predict(table({}))
    asked = model.predict(table({"Q1": 2}), params={"model": "openai/other"})
    offline = model.predict(table({}), params={"model": "offline/lexical-1"})
    assert (told["status"][0], told["answer"][0]) == ("answered", 2)
    assert (asked["status"][0], asked["answer"][0]) == ("answered", 2)
    assert offline["status"][0] == "answered"
    assert {request["model"] for request in server.requests} == {"test", "other"}
    serve(monkeypatch, api_key_env=KEY)
    with pytest.raises(ConfigError, match="looks like a key") as caught:
        model.predict(table({}))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("api_base", "VALUESIM_API_BASE"),
        ("api_key_env", "VALUESIM_API_KEY_ENV"),
        ("send_to", "VALUESIM_SEND_TO"),
        ("codebook", "VALUESIM_CODEBOOK"),
        ("wording", "VALUESIM_WORDING"),
    ],
)
def test_a_caller_does_not_choose_where_things_go_or_what_is_read(
    model: RegisteredProgram,
    monkeypatch: pytest.MonkeyPatch,
    server: LoopbackServer,
    name: str,
    variable: str,
) -> None:
    """A param that belongs to the serving machine is refused before anything is sent."""
    monkeypatch.setenv("MY_KEY", KEY)
    given = {"api_base": server.url, "api_key_env": "MY_KEY"}.get(name, "x")
    with pytest.raises(ConfigError, match=rf"^params\.{name}: no such param; {variable} "):
        model.predict(table({}), params={"model": "openai/test", name: given})
    assert not server.requests


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("huggingface/https://evil.example.org/v1", "and no address"),
        ("openai/http:evil.example.org", "and no address"),
        ("openai//evil.example.org", "and no address"),
        ("openai/test?base=evil", "and no address"),
        ("openai/", "and no address"),
        ("anthropic/test", "VALUESIM_MODEL"),
        ("claude-test", "VALUESIM_MODEL"),
    ],
)
def test_a_caller_chooses_a_model_of_the_provider_and_no_address(
    model: RegisteredProgram,
    monkeypatch: pytest.MonkeyPatch,
    server: LoopbackServer,
    asked: str,
    said: str,
) -> None:
    """Some providers take an address as a part of the name; another one would get the key."""
    monkeypatch.setenv("MY_KEY", KEY)
    serve(monkeypatch, model="openai/test", api_base=server.url, api_key_env="MY_KEY")
    with pytest.raises(ConfigError, match=rf"^params\.model: .*{said}"):
        model.predict(table({}), params={"model": asked})
    assert not server.requests


def test_a_manifest_names_no_address_either(tmp_path: Path) -> None:
    """Its task LM is a name, as a caller's is."""
    lms = {"task_lm": "huggingface/https://evil.example.org/v1"}
    model = RegisteredProgram(program(tmp_path / "program", lms=lms))
    with pytest.raises(ConfigError, match="no address"):
        model.predict(table({}))


def test_a_manifest_does_not_choose_which_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its codebook is a packaged one's name; another is given where the program is served."""
    own = tmp_path / "own.yaml"
    own.write_text("what: no codebook\n", encoding="utf-8")
    model = RegisteredProgram(program(tmp_path / "program", codebook={"id": str(own)}))
    opened: list[object] = []

    def opening(source: str, wording: str | None) -> Any:
        opened.append(source)
        return open_codebook(source, wording)

    monkeypatch.setattr(registered, "open_codebook", opening)
    with pytest.raises(MissingDataError, match=r"not packaged; .*VALUESIM_CODEBOOK"):
        model.predict(table({}))
    assert opened == []
    serve(monkeypatch, codebook="wvs7")
    assert list(model.predict(table({}))["status"]) == ["answered"]
    assert opened == ["wvs7"]


def test_answers_of_people_go_nowhere_without_consent(
    model: RegisteredProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model elsewhere needs consent where it is served; the message names host and variable."""
    serve(monkeypatch, model="openai/gpt-4o-mini", send_to="localhost, openai.example.org")
    said = r"2 respondents will be sent to openai.*VALUESIM_SEND_TO=openai "
    with pytest.raises(ConfigError, match=said):
        model.predict(table({}, {}))


def test_a_table_that_calls_itself_synthetic_waives_nothing(
    model: RegisteredProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller writes the table: a column of it is no consent, the variable is."""
    made: list[str] = []

    def making(role: LMRole, name: str) -> Any:
        made.append(role.host)
        return scripted_lm(Recording())

    monkeypatch.setattr(registered, "make_lm", making)
    serve(monkeypatch, model="openai/test", api_base="https://far.example.org/v1")
    for stamp in ("version", "doi"):
        with pytest.raises(ConfigError, match=r"will be sent to far\.example\.org"):
            model.predict(table({}, **{stamp: "synthetic"}))
    assert made == []
    serve(monkeypatch, send_to="other.example.org, far.example.org")
    assert list(model.predict(table({}))["status"]) == ["answered"]
    assert made == ["far.example.org"]


def test_the_response_cache_is_closed_after_each_table(
    model: RegisteredProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers for days must not run out of open files."""
    opened: list[Any] = []
    closed: list[Any] = []

    class Watched(ResponseCache):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(self)

        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr(registered, "ResponseCache", Watched)
    for _ in range(3):
        model.predict(table({}))
    assert len(opened) == 3 and closed == opened
    monkeypatch.setattr(registered, "answer_cases", _stopped)
    with pytest.raises(MissingDataError, match="stopped"):
        model.predict(table({}))
    assert len(opened) == 4 and closed == opened


def _stopped(*_: Any, **__: Any) -> Any:
    raise MissingDataError("stopped", "go on")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"modle": "x/y"}, r"params\.modle: no such param; allowed: model,"),
        ({"threads": 0}, r"params\.threads: at least 1"),
        ({"model": "offline/nothing"}, "does not run by itself"),
    ],
)
def test_a_wrong_param_is_one_line(
    model: RegisteredProgram, params: dict[str, Any], said: str
) -> None:
    """What concerns the whole table is raised before a row is asked."""
    with pytest.raises((ConfigError, MissingDataError), match=said):
        model.predict(table({}), params=params)


def test_params_without_a_value_are_defaults(model: RegisteredProgram) -> None:
    """MLflow fills in None for what is not given."""
    told = model.predict(table({}), params=dict.fromkeys(registered.PARAMS))
    assert told["status"][0] == "answered"


def test_a_program_that_names_no_task_lm_must_be_given_one(tmp_path: Path) -> None:
    """Nothing is guessed."""
    model = RegisteredProgram(program(tmp_path / "program", lms={}))
    with pytest.raises(ConfigError, match="the program names no task LM"):
        model.predict(table({}))
    told = model.predict(table({}), params={"model": "offline/lexical-1"})
    assert told["status"][0] == "answered"


def test_a_wording_of_ones_own_is_asked(
    tmp_path: Path,
    prompts: list[str],
    model: RegisteredProgram,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file of a wording is named where the program is served."""
    path = tmp_path / "mine.yaml"
    path.write_text("Q69: Wie sehr vertrauen Sie der Polizei?\n", encoding="utf-8")
    serve(monkeypatch, wording=str(path))
    model.predict(table({}))
    assert all("Wie sehr vertrauen Sie der Polizei?" in prompt for prompt in prompts)
