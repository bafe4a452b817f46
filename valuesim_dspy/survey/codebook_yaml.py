"""Codebook files as strict, typed nodes: every wrong key is refused with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from valuesim_dspy.errors import MissingDataError, SurveyDataError, shown

_MAX_BYTES = 8 * 2**20
_MAX_DEPTH = 50
_MAX_ALIASES = 10_000
_MAX_WRITTEN = 64 * 2**20
_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FastLoader):
    """YAML without surprises: Yes and No are words, a key given twice is an error."""

    # of YAML 1.1's guesses keep integers, true/false and null: "No" is a label, not False
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(made) < len(node.value):
            seen: set[object] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return made


for _tag, _pattern, _first in (
    ("int", r"-?(0|[1-9][0-9]*)", "-0123456789"),
    ("bool", r"true|false", "tf"),
    ("null", r"null|~", "n~"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def near(word: str, known: Iterable[str]) -> str:
    """' (did you mean x?)' for the known word nearest to `word`, '' where none is near."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {found[0]}?)" if found else ""


@dataclass(frozen=True)
class Node:
    """A mapping of a codebook file that knows where it stands.

    Args:
        path: The file.
        trail: The way to it: ("life-importance", "Q1").
        content: The mapping itself.
    """

    path: Path
    trail: tuple[str, ...]
    content: Mapping[Any, Any]

    def refuse(self, message: str, key: object = None, value: object = None) -> NoReturn:
        """Raise a SurveyDataError that names file, trail and key."""
        place = [*self.trail, *([] if key is None else [str(key)])]
        raise SurveyDataError(message, path=self.path, column=".".join(place) or None, value=value)

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse keys that are not among `allowed`."""
        known = sorted(allowed)
        for key in self.content:
            if key not in known:
                self.refuse(f"unknown key{near(str(key), known)}; known: {', '.join(known)}", key)

    def has(self, key: str) -> bool:
        """Whether the key is given."""
        return key in self.content

    def text(self, key: Any, default: str | None = None) -> str:
        """A text that is not empty; numbers are taken as text. Without default: required."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, str | int):
            self.refuse("a text is needed", key, value)
        if not str(value).strip():
            self.refuse("a text is needed, this one is empty", key)
        return str(value)

    def number(self, key: Any, default: int | None = None) -> int:
        """A whole number. Without default: required."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse("a whole number is needed", key, value)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A true or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            self.refuse("true or false is needed", key, value)
        return value

    def items(self, key: str) -> list[Any]:
        """A list; empty where the key is absent."""
        value = self.content.get(key, [])
        if not isinstance(value, list):
            self.refuse("a list is needed", key, value)
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty where the key is absent."""
        items = self.items(key)
        for item in items:
            if not isinstance(item, str) or not item.strip():
                self.refuse("a list of texts is needed", key, item)
        return items

    def numbers(self, key: str) -> list[int]:
        """A list of whole numbers; empty where the key is absent."""
        items = self.items(key)
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int):
                self.refuse("a list of whole numbers is needed", key, item)
        return items

    def under(self, key: str) -> Node:
        """The mapping under a key; an empty one where the key is absent."""
        return self._node(key, self.content.get(key, {}), (str(key),))

    def nodes(self, key: str, name: str) -> list[Node]:
        """The mappings listed under a key, each with its `name` entry on the trail."""
        listed = [self._node(key, item, (str(key),)) for item in self.items(key)]
        return [Node(node.path, (*self.trail, node.text(name)), node.content) for node in listed]

    def by_code(self, key: str) -> dict[int, str]:
        """Texts by code, as written; empty where the key is absent."""
        node = self.under(key)
        for code in node.content:
            if isinstance(code, bool) or not isinstance(code, int):
                node.refuse("a code (a whole number) is needed as the key", code)
        return {code: node.text(code) for code in node.content}

    def _value(self, key: Any, default: object) -> Any:
        if key not in self.content and default is None:
            self.refuse("this key is missing", key)
        return self.content.get(key, default)

    def _node(self, key: str, value: object, trail: tuple[str, ...]) -> Node:
        if not isinstance(value, dict):
            self.refuse("a mapping (key: value) is needed", key, value)
        return Node(self.path, (*self.trail, *trail), value)


def codebook_files(source: Path) -> list[Path]:
    """The YAML files of a codebook: the file itself, or a folder's, sorted by name.

    Raises:
        MissingDataError: There is no such file or folder, or the folder has no YAML file.
    """
    files = sorted(source.glob("*.yaml")) if source.is_dir() else [source]
    if not files or not all(file.is_file() for file in files):
        raise MissingDataError(
            f"no codebook at {source}", "give a packaged name, a .yaml file or a folder of them"
        )
    return files


def _check_nesting(text: str) -> None:
    """Refuse what the parser, written in C, would end the process of: it nests as the file does."""
    depth = aliases = 0
    for event in yaml.parse(text, Loader=_FastLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > _MAX_DEPTH or aliases > _MAX_ALIASES:
            raise ValueError(f"more than {_MAX_DEPTH} levels or {_MAX_ALIASES} repetitions")


def _check_size(value: object, sizes: dict[int, int]) -> int:
    """Count the characters of a document written out; refuse one that repeats itself too often."""
    if not isinstance(value, dict | list):
        return len(str(value)) + 1
    if id(value) not in sizes:
        sizes[id(value)] = _MAX_WRITTEN  # of what holds itself there is no end
        items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_check_size(item, sizes) for item in items)
    if sizes[id(value)] >= _MAX_WRITTEN:
        raise ValueError("it repeats parts of itself too often")
    return sizes[id(value)]


def read_documents(path: Path) -> Iterator[Node]:
    """Yield the documents of one file (parted by ---) as nodes.

    Raises:
        SurveyDataError: The file is not UTF-8 or not YAML, or a document is no mapping.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise SurveyDataError(f"has more than {_MAX_BYTES} bytes", path=path)
    try:
        text = path.read_text("utf-8")
        _check_nesting(text)
        documents = list(yaml.load_all(text, Loader=_Loader))
        _check_size(documents, {})
    except UnicodeDecodeError as error:
        raise SurveyDataError("the file is not UTF-8 text", path=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SurveyDataError(
            f"not readable as YAML: {shown(getattr(error, 'problem', None) or error)}",
            path=path,
            row=mark.line + 1 if mark else None,
        ) from error
    except (ValueError, RecursionError) as error:
        raise SurveyDataError(f"not readable as YAML: {shown(error)}", path=path) from None
    for document in documents:
        if not isinstance(document, dict):
            raise SurveyDataError("a codebook file is a mapping of keys to values", path=path)
        yield Node(path, (), document)
