"""Who answers and who embeds: language model roles, embedders, and where their data goes."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from valuesim_dspy.errors import ConfigError

_SECRET_WORDS = frozenset(
    {"key", "apikey", "token", "secret", "password", "passwd", "credential", "credentials"}
    | {"authorization", "auth", "bearer", "passphrase", "sslpassword"}
)
_NOT_SECRET = frozenset({"api_key_env", "prompt_cache_key"})
_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_KEY_SHAPES = (
    re.compile(r"\b(?:sk|pk|rk|gsk|hf|ghp|xoxb|AIza|AKIA)[-_][\w-]{6,}"),
    re.compile(r"\b(?:AIza|AKIA)[\w-]{10,}"),
    re.compile(r"(?i)\bbearer\s+[^\s\"',;]+"),
    re.compile(r"(?i)\b(?:api[_-]?key|token|secret|password)[\"']?\s*[:=]\s*[\"']?[^\s\"',;]{6,}"),
    # To the last @, since a password may hold / and @; the path of a local file may hold @ too.
    re.compile(r"(?<=://)(?<!sqlite://)(?<!file://)[^\s\"<>]{1,1000}(?=@)"),
)
_FILES = ("sqlite:///", "file:///")
_ELSEWHERE = re.compile(
    r"url|api_base|endpoint|prox|fallback|callback|custom_llm_provider|^(model|model_list|engine)$",
    re.IGNORECASE,
)
"""Settings of clients that lead a request to another host than the one that was agreed to."""


class Settings(BaseModel):
    """Base of what comes from outside: frozen, closed, and silent about the values it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@lru_cache(1024)
def is_secret_name(name: str) -> bool:
    """Whether a setting of this name would hold a secret (``max_tokens`` does not)."""
    words = re.split(r"[_\-.\s]+", name.lower())
    return name.lower().rpartition(".")[2] not in _NOT_SECRET and not _SECRET_WORDS.isdisjoint(
        words
    )


def blank_secrets(text: str, *known: str | None) -> str:
    """Replace everything that looks like a key with ``[blanked]``.

    Args:
        text: Any text that may leave the process: an error, a log line.
        known: Keys known literally; empty ones and None are ignored.

    Returns:
        The text without those keys, without the values of environment variables whose names
        tell of a secret, and without anything of the shape of a key.
    """
    held = [value for name, value in os.environ.items() if is_secret_name(name)]
    for value in sorted((*held, *known), key=lambda item: -len(item or "")):
        if value and len(value) >= 6:
            text = text.replace(value, "[blanked]")
    for shape in _KEY_SHAPES:
        text = shape.sub("[blanked]", text)
    return text


def refuse_secrets(table: Mapping[str, Any], where: str = "") -> None:
    """Raise where a table of settings holds a secret itself, naming the key and not the value.

    Args:
        table: Settings as read, with nested tables and lists of tables.
        where: The table's dotted name.

    Raises:
        ConfigError: A key's literal value, or credentials inside an address.
    """
    for name, value in table.items():
        key = f"{where}.{name}" if where else str(name)
        if is_secret_name(str(name)):
            raise ConfigError(_NAME_IT.format("a secret is never written in a file"), key=key)
        for inner in value if isinstance(value, list | tuple) else (value,):
            if isinstance(inner, Mapping):
                refuse_secrets(inner, key)
            if not isinstance(inner, str):
                continue
            if str(name).rpartition(".")[2] == "api_key_env" and not _is_env_name(inner):
                raise ConfigError(_NAME_IT.format("this looks like a key itself"), key=key)
            if has_credentials(inner):
                raise ConfigError(_NAME_IT.format("the address holds credentials"), key=key)


_NAME_IT = "{}; put it in an environment variable and give the variable's NAME as api_key_env"


def _is_env_name(value: str) -> bool:
    # A key in upper case has the form of a name too: one long run with digits in it.
    like_key = any(len(word) >= 16 and re.search(r"\d", word) for word in value.split("_"))
    return bool(_ENV_NAME.fullmatch(value)) and not like_key


def has_credentials(address: str) -> bool:
    """Whether an address holds a user, a password, or a query that names a secret."""
    plain, query = without_user(address), address.partition("?")[2]
    named = any(is_secret_name(name) for name, _ in parse_qsl(query))
    return "://" in address and (plain != address or named)


def without_user(address: str) -> str:
    """Return an address without what stands before the last @; that of a local file as it is."""
    scheme, mark, rest = address.partition("://")
    if not mark or address.startswith(_FILES):
        return address
    return f"{scheme}://{rest.rpartition('@')[2]}"


def passwords_in(address: str) -> list[str]:
    """Return the secrets that an address holds, as they are written and decoded."""
    plain = without_user(address)
    user = "" if plain == address else address[address.index("://") + 3 : address.rindex("@")]
    written = [user.partition(":")[2] or user]
    written += [v for name, v in parse_qsl(address.partition("?")[2]) if is_secret_name(name)]
    return [text for secret in written if secret for text in (secret, unquote(secret))]


@lru_cache(256)
def endpoint_identity(address: str | None) -> str:
    """Return ``scheme://host:port/path`` of an address, without user, query and final slash.

    Args:
        address: A base address, or None for the provider's own.

    Returns:
        The identity; "" for None.
    """
    if not address:
        return ""
    parts = urlsplit(address)
    host = (parts.hostname or "").lower()
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower(), 0)
    return f"{parts.scheme.lower()}://{host}:{port}{parts.path.rstrip('/')}"


def is_here(address: str | None) -> bool:
    """Whether an address is a loopback one, which leads nowhere but to this machine."""
    hostname = urlsplit(address or "").hostname or ""
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


class Endpoint(Settings):
    """Where a model is: its name, its address, and the NAME of the variable that holds its key."""

    model: str
    api_base: str | None = None
    api_key_env: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            refuse_secrets(data)
        return data

    @field_validator("api_base")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://x")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("expected an address such as http://localhost:8000/v1")
        return value

    @property
    def address(self) -> str | None:
        """The base address in force: ``api_base``, else the one the environment gives.

        Raises:
            ConfigError: The environment gives two, and clients differ in which they take.
        """
        if self.api_base or self.in_process:
            return self.api_base
        prefix = self.provider.removeprefix("text-completion-").split("_chat")[0]
        prefix = re.sub(r"\W", "_", prefix).upper()
        names = (f"{prefix}_API_BASE", f"{prefix}_BASE_URL")
        given = dict.fromkeys(filter(None, map(os.environ.get, names)))
        if len(given) > 1:
            told = f"{' and '.join(names)} lead to different addresses; unset one, or give api_base"
            raise ConfigError(told, key="api_base")
        return next(iter(given), None)

    @property
    def provider(self) -> str:
        """The provider part of the model's name; ``openai`` where there is none."""
        return self.model.split("/", 1)[0] if "/" in self.model else "openai"

    @property
    def in_process(self) -> bool:
        """Whether the model runs in this process."""
        return False

    @property
    def host(self) -> str:
        """Host and port of the address, or the provider's name; never credentials."""
        if not self.address:
            return self.provider
        return urlsplit(self.address).netloc.rpartition("@")[2].lower()

    @property
    def local(self) -> bool:
        """Whether nothing leaves this machine: in the process, or a loopback address."""
        return self.in_process or is_here(self.address)


class LMRole(Endpoint):
    """One language model role: task_lm, prompt_lm or teacher_lm.

    ``context`` and ``max_tokens`` are in tokens; ``timeout`` is the seconds of one attempt as a
    whole (through LiteLLM, of each read); ``num_retries`` attempts follow a failed one. Prices
    are in US dollars per million tokens (unknown ones are overridden; both or neither). With
    ``enforce_choices`` the server enforces schemas and may be given the options as a type; with
    ``prompt_cache`` a provider that keeps marked beginnings of prompts is asked to.
    """

    model: str = "offline/lexical-1"
    engine: Literal["auto", "lm15", "litellm"] = "auto"
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=1)
    context: int = Field(default=32768, ge=1)
    num_retries: int = Field(default=3, ge=0, le=20)
    timeout: float = Field(default=120.0, gt=0)
    extra: dict[str, Any] = Field(default_factory=dict)
    usd_per_million_input: float | None = Field(default=None, ge=0)
    usd_per_million_output: float | None = Field(default=None, ge=0)
    enforce_choices: bool = False
    prompt_cache: bool = True

    @field_validator("model")
    @classmethod
    def _named(cls, value: str) -> str:
        if not all(value.split("/")):
            raise ValueError("expected provider/model, for example openai/gpt-4o-mini")
        return value

    @field_validator("extra")
    @classmethod
    def _stays_here(cls, value: dict[str, Any]) -> dict[str, Any]:
        if found := [name for name in value if _ELSEWHERE.search(name)]:
            raise ValueError(f"{found[0]} may lead elsewhere; model, engine and api_base say where")
        return value

    @model_validator(mode="after")
    def _fits(self) -> LMRole:
        if self.max_tokens >= self.context:
            raise ValueError("max_tokens must be smaller than context")
        if (self.usd_per_million_input is None) != (self.usd_per_million_output is None):
            raise ValueError("give usd_per_million_input and usd_per_million_output, or neither")
        if self.offline and (self.api_base or self.api_key_env):
            raise ValueError("an offline model takes neither api_base nor api_key_env")
        return self

    @property
    def offline(self) -> bool:
        """Whether this is one of the models that run in the process."""
        return self.provider == "offline"

    @property
    def in_process(self) -> bool:
        """See `offline`."""
        return self.offline


class EmbedderConfig(Endpoint):
    """The embedder of retrieval.

    ``model`` is "auto" (lexical with an offline model; must be named with a real one),
    "lexical", "sentence-transformers/NAME", or any LiteLLM embedding model. ``k`` is the number
    of facts retrieved.
    """

    model: str = "auto"
    k: int = Field(default=3, ge=1)

    @property
    def in_process(self) -> bool:
        """Whether facts are embedded in this process."""
        return self.model in ("auto", "lexical") or self.provider == "sentence-transformers"
