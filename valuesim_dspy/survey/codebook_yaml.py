"""Codebook files as strict, typed nodes: every wrong key is refused with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from valuesim_dspy.errors import MissingDataError, SurveyDataError

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
    if not files or not files[0].is_file():
        raise MissingDataError(
            f"no codebook at {source}", "give a packaged name, a .yaml file or a folder of them"
        )
    return files


def read_documents(path: Path) -> Iterator[Node]:
    """Yield the documents of one file (parted by ---) as nodes.

    Raises:
        SurveyDataError: The file is not UTF-8 or not YAML, or a document is no mapping.
    """
    try:
        documents = list(yaml.load_all(path.read_text("utf-8"), Loader=_Loader))
    except UnicodeDecodeError as error:
        raise SurveyDataError("the file is not UTF-8 text", path=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SurveyDataError(
            f"not readable as YAML: {getattr(error, 'problem', None) or error}",
            path=path,
            row=mark.line + 1 if mark else None,
        ) from error
    for document in documents:
        if not isinstance(document, dict):
            raise SurveyDataError("a codebook file is a mapping of keys to values", path=path)
        yield Node(path, (), document)
