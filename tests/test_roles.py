from __future__ import annotations

import pytest
from pydantic import ValidationError

from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.roles import (
    EmbedderConfig,
    LMRole,
    blank_secrets,
    endpoint_identity,
    has_credentials,
    is_secret_name,
    refuse_secrets,
)


@pytest.mark.parametrize(
    "name",
    ["api_key", "API-Key", "x-api-key", "apikey", "hf_token", "client_secret", "password"]
    + ["Authorization", "aws_access_key_id", "OPENAI_API_KEY", "azure_ad_token"],
)
def test_names_of_secrets_are_known(name: str) -> None:
    """Whatever is called key, token, secret or the like would hold one."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "logprobs", "top_k", "api_key_env", "prompt_cache_key", "monkey"]
)
def test_ordinary_settings_are_not_taken_for_secrets(name: str) -> None:
    """Settings that merely sound like it are settings."""
    assert not is_secret_name(name)


@pytest.mark.parametrize("value", ["sk-canary", "hunter2!", "abcdef", "AKIA1234567890ABCDEF", ""])
def test_a_literal_key_is_refused_and_not_shown(value: str) -> None:
    """api_key_env takes the name of a variable; anything else is refused without showing it."""
    with pytest.raises(ConfigError, match="environment variable") as caught:
        LMRole(model="openai/m", api_key_env=value)
    assert value == "" or value not in str(caught.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "MY_KEY_2", "KEY"])
def test_a_variables_name_is_taken(name: str) -> None:
    """Names of environment variables pass."""
    assert LMRole(model="openai/m", api_key_env=name).api_key_env == name


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"extra": {"api_key": "canary"}}, "extra.api_key"),
        ({"extra": {"headers": {"Authorization": "canary"}}}, "extra.headers.Authorization"),
        ({"extra": {"list": [{"token": "canary"}]}}, "extra.list.token"),
        ({"api_base": "http://me:canary@host/v1"}, "api_base"),
        ({"api_base": "http://host/v1?api-key=canary"}, "api_base"),
        ({"api_base": "http://me:can/canary@host/v1"}, "api_base"),
        ({"extra": {"urls": ["http://host", "http://me:canary@host"]}}, "extra.urls"),
    ],
)
def test_secrets_are_refused_wherever_they_are(settings: dict[str, object], key: str) -> None:
    """Keys in extra settings, in headers and in addresses are refused, naming the place only."""
    with pytest.raises(ConfigError) as caught:
        LMRole(model="openai/m", **settings)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{key}: ")
    assert "canary" not in str(caught.value)


def test_tables_are_searched_with_their_dotted_names() -> None:
    """The message names the key from the top of the file."""
    with pytest.raises(ConfigError, match=r"^task_lm\.api_key: "):
        refuse_secrets({"task_lm": {"api_key": "canary"}})


def test_other_refusals_do_not_show_values_either() -> None:
    """What pydantic refuses is told without the value."""
    with pytest.raises(ValidationError) as caught:
        LMRole(model="openai/m", temperature="canary")  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "openai/"},
        {"model": ""},
        {"api_base": "localhost:8000"},
        {"api_base": "ftp://host/v1"},
        {"api_base": "http://host:99999"},
        {"model": "offline/lexical-1", "api_base": "http://localhost:1/v1"},
        {"max_tokens": 100, "context": 100},
        {"usd_per_million_input": 1.0},
        {"temperature": 2.5},
        {"timeout": 0},
        {"engine": "other"},
        {"unknown": 1},
    ],
)
def test_roles_that_cannot_work_are_refused(settings: dict[str, object]) -> None:
    """Each of these is wrong by itself."""
    with pytest.raises(ValidationError):
        LMRole(**{"model": "openai/m", **settings})  # type: ignore[arg-type]


def test_roles_are_frozen() -> None:
    """A role does not change once made."""
    with pytest.raises(ValidationError):
        LMRole().model = "openai/m"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("model", "address", "host", "local"),
    [
        ("offline/lexical-1", None, "offline", True),
        ("openai/m", None, "openai", False),
        ("gpt-4o", None, "openai", False),
        ("ollama/llama3", None, "ollama", False),
        ("openai/m", "http://localhost:8000/v1", "localhost:8000", True),
        ("openai/m", "http://127.0.0.9:80/v1", "127.0.0.9:80", True),
        ("openai/m", "http://[::1]:8000/v1", "[::1]:8000", True),
        ("openai/m", "https://API.Example.org/v1", "api.example.org", False),
        ("openai/m", "http://localhost.example.org/v1", "localhost.example.org", False),
        ("openai/m", "http://10.0.0.1:8000/v1", "10.0.0.1:8000", False),
    ],
)
def test_hosts_and_whether_they_are_here(
    model: str, address: str | None, host: str, local: bool
) -> None:
    """Only the process itself and loopback addresses are local; a provider never is."""
    role = LMRole(model=model, api_base=address)
    assert (role.host, role.local) == (host, local)


def test_an_address_in_the_environment_is_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider redirected by the environment is told by where it is redirected to."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:canary@gateway.example.org/v1")
    assert LMRole(model="openai/m").host == "gateway.example.org"
    assert LMRole(model="anthropic/m").host == "anthropic"
    assert LMRole(model="openai/m", api_base="http://localhost:1/v1").host == "localhost:1"


@pytest.mark.parametrize(
    ("model", "local"),
    [
        ("auto", True),
        ("lexical", True),
        ("sentence-transformers/all-MiniLM-L6-v2", True),
        ("openai/text-embedding-3-small", False),
    ],
)
def test_embedders_in_the_process_are_local(model: str, local: bool) -> None:
    """Facts only leave for embedders that are services."""
    assert EmbedderConfig(model=model).local is local


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        (None, ""),
        ("http://Host/v1/", "http://host:80/v1"),
        ("https://host/v1", "https://host:443/v1"),
        ("https://u:p@host:8443/v1?key=x#y", "https://host:8443/v1"),
    ],
)
def test_endpoints_are_identified_without_credentials(address: str | None, identity: str) -> None:
    """Scheme, host, port and path make the identity, and nothing else does."""
    assert endpoint_identity(address) == identity


def test_keys_are_blanked_by_value_and_by_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of key variables, known keys and whatever looks like a key disappear."""
    monkeypatch.setenv("SOME_API_KEY", "canary-in-env")
    text = (
        "canary-in-env, canary-given, sk-canary1234, Bearer canary.x.y, api_key='canary123', "
        "http://me:canary@host/v1, hf_canary123, and max_tokens=100"
    )
    blanked = blank_secrets(text, "canary-given", None, "")
    assert "canary" not in blanked
    assert blanked.count("[blanked]") == 7
    assert blanked.endswith("and max_tokens=100")


def test_ordinary_text_is_not_blanked() -> None:
    """Text without keys stays as it is, short values of variables included."""
    text = "the task-based skill of a risky token at https://host/v1"
    assert blank_secrets(text) == text


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:canary@h/db",
        "postgresql://u:can/canary@h/db",
        "postgresql://canary@h/db",
        "postgresql://h/db?user=u&password=canary",
        "postgresql://h/db?sslpassword=canary",
        "mysql://h/db?passwd=canary",
        "http://[canary@h",
    ],
)
def test_an_address_with_credentials_is_refused_as_a_store(address: str) -> None:
    """Anything before an @, whatever signs it holds, and secrets in the query."""
    with pytest.raises(ConfigError, match=r"^store: the address holds credentials") as caught:
        refuse_secrets({"store": address})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:////home/me@work/mlflow.db",
        "file:///home/me@work",
        "postgresql://h/db?sslmode=require",
        "me@example.org",
    ],
)
def test_an_address_without_credentials_is_taken(address: str) -> None:
    """The path of a local file may hold an @, and so may a text that is no address."""
    refuse_secrets({"store": address})
    assert not has_credentials(address)


def test_quoted_dotted_keys_are_judged_by_their_last_part() -> None:
    """A search names whole keys: names of variables pass, keys themselves do not."""
    refuse_secrets({"task_lm.api_key_env": ["OPENAI_API_KEY", "OTHER_KEY"]})
    for held in ({"task_lm.api_key": ["x"]}, {"task_lm.api_key_env": ["OTHER_KEY", "sk-canary"]}):
        with pytest.raises(ConfigError, match=r"^task_lm\.api_key") as caught:
            refuse_secrets(held)
        assert "canary" not in str(caught.value)


def test_a_password_with_any_sign_is_blanked_in_an_address() -> None:
    """To the last @ of what has no blank in it; a local file's path stays as it is."""
    said = blank_secrets("at postgresql://u:can/canary@can@host/db, sqlite:////home/me@work/a.db")
    assert said == "at postgresql://[blanked]@host/db, sqlite:////home/me@work/a.db"


def test_two_addresses_of_an_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients do not agree on which wins: what was agreed to might not be where calls go."""
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://collector.example/v1")
    with pytest.raises(ConfigError, match="lead to different addresses"):
        assert LMRole(model="openai/test").local
    assert LMRole(model="openai/test", api_base="http://127.0.0.1:2/v1").local
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert LMRole(model="text-completion-openai/m").address == "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    "name", ["api_base", "base_url", "custom_llm_provider", "fallbacks", "proxies", "model"]
)
def test_extra_settings_lead_nowhere_else(name: str) -> None:
    """Consent and keys are of the host that the role names."""
    with pytest.raises(ConfigError, match="may lead elsewhere"):
        parse_job({"task_lm": {"model": "openai/test", "extra": {name: "http://127.0.0.1:1"}}})
