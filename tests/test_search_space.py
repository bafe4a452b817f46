"""The table `[search]`: what fits, what is refused, how values are kept."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from optimize.search_space import Parameter, SearchConfig, label
from valuesim_dspy.errors import ConfigError

SPACE = {"variant": ["full", "single"]}


def search(**known: Any) -> SearchConfig:
    """Validate a table as it is read from a file."""
    return SearchConfig.model_validate({"space": SPACE, **known}, strict=True)


def parameter(**known: Any) -> Parameter:
    """Validate one key of a space."""
    return Parameter.model_validate(known, strict=True)


def test_defaults_are_one_objective_and_pruning() -> None:
    """What is not given: accuracy, thirty trials, the median pruner, the store beside the runs."""
    found = search()
    assert found.objectives == ("accuracy",) and found.trials == 30
    assert found.pruning == "median" and found.subsets[-1] == 1.0
    assert found.storage is None and found.cost == "tokens"


def test_a_list_is_choices_and_a_table_a_range() -> None:
    """Both ways of writing a key."""
    found = search(space={"variant": ["full"], "embedder.k": {"low": 1, "high": 6}})
    assert found.space["variant"].choices == ("full",)
    assert found.space["embedder.k"].extremes == (1, 6)


def test_nested_tables_mean_dotted_keys() -> None:
    """TOML makes tables of dotted keys without quotes; a later one of the same name wins."""
    nested = {"compile": {"teleprompter": ["none"], "options": {"k": {"low": 1, "high": 2}}}}
    found = search(space={"compile.teleprompter": ["bootstrap"], **nested})
    assert set(found.space) == {"compile.teleprompter", "compile.options.k"}
    assert found.space["compile.teleprompter"].choices == ("none",)


@pytest.mark.parametrize(
    ("known", "is_whole"),
    [
        ({"low": 1, "high": 6}, True),
        ({"low": 0, "high": 8, "step": 2}, True),
        ({"low": 0.0, "high": 1.0}, False),
        ({"low": 0, "high": 1, "step": 0.25}, False),
        ({"low": 1, "high": 64, "log": True}, True),
    ],
)
def test_a_range_is_of_whole_numbers_where_all_it_names_are(
    known: dict[str, Any], is_whole: bool
) -> None:
    """A point makes real numbers."""
    assert parameter(**known).is_whole is is_whole


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, "choices"),
        ({"low": 1}, "high"),
        ({"low": 3, "high": 3}, "larger"),
        ({"low": 0, "high": 8, "log": True}, "above 0"),
        ({"low": 1, "high": 8, "log": True, "step": 1}, "no step"),
        ({"low": 1, "high": 8, "step": 0}, "greater than 0"),
        ({"choices": ["a"], "low": 1, "high": 2}, "choices, or low"),
        ({"choices": []}, "at least 1"),
        ({"choices": ["a", "a"]}, "twice"),
        ({"choices": ["a"], "step": 1}, "choices, or low"),
        ({"values": ["a"]}, "Extra"),
    ],
)
def test_a_key_that_is_neither_is_refused(known: dict[str, Any], said: str) -> None:
    """Half a range, an empty list, both at once."""
    with pytest.raises(ValidationError, match=said):
        parameter(**known)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"objectives": ["cost"]}, "comes first"),
        ({"objectives": ["accuracy", "accuracy"]}, "each once"),
        ({"objectives": ["cost", "accuracy"]}, "comes first"),
        ({"objectives": []}, "at least 1"),
        ({"objectives": ["speed"]}, "accuracy"),
        ({"subsets": [0.5, 0.25, 1.0]}, "growing"),
        ({"subsets": [0.25, 0.5]}, "end in 1.0"),
        ({"subsets": [0.0, 1.0]}, "growing"),
        ({"pruning": "hyperband"}, "successive-halving"),
        ({"cost": "euros"}, "tokens"),
        ({"trials": 0}, "greater than"),
        ({"finalists": 0}, "greater than"),
        ({"space": {}}, "at least 1"),
        ({"space": {"variant": "full"}}, "Parameter|dict|instance"),
        ({"sampler": "tpe"}, "Extra"),
        ({"study": "a/b"}, "pattern"),
    ],
)
def test_a_search_that_cannot_be_is_refused(known: dict[str, Any], said: str) -> None:
    """Each is told apart before anything is run."""
    with pytest.raises(ValidationError, match=said):
        search(**known)


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    """It belongs in the environment; the message says how, and does not say it."""
    with pytest.raises(ValidationError, match="env:NAME") as refused:
        search(storage="postgresql://me:s3cretword@db.example.org/optuna")
    assert "s3cretword" not in str(refused.value)
    assert search(storage="postgresql://db.example.org/optuna").storage
    assert search(storage="env:SEARCH_STORAGE").storage == "env:SEARCH_STORAGE"


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://me:s3cretword/more@h/db",
        "postgresql://h/db?user=u&password=s3cretword",
        "mysql://h/db?passwd=s3cretword",
        "postgresql://s3cretword@h/db",
    ],
)
def test_a_password_is_refused_wherever_an_address_holds_it(storage: str) -> None:
    """With a slash in it, in the query, or as a name alone."""
    with pytest.raises(ValidationError, match="env:NAME") as refused:
        search(storage=storage)
    assert "s3cretword" not in str(refused.value)
    assert search(storage="sqlite:////home/me@work/a.db").storage


@pytest.mark.parametrize(
    ("space", "key"),
    [
        ({"task_lm.api_base": ["http://h/v1", "http://u:s3cretword@h/v1"]}, "task_lm.api_base"),
        ({"task_lm.api_key": ["s3cretword"]}, "task_lm.api_key"),
        ({"task_lm": {"api_key_env": ["sk-s3cretword"]}}, "task_lm.api_key_env"),
        (
            {"variant": {"choices": ["full"], "when": {"x": ["http://s3cretword@h"]}}},
            "variant.when.x",
        ),
    ],
)
def test_a_space_holds_no_secret(space: dict[str, Any], key: str) -> None:
    """What is sampled is kept with the trials: the same rules as in a job."""
    with pytest.raises(ConfigError) as refused:
        search(space=space)
    assert str(refused.value).startswith(f"search.space.{key}: ")
    assert "s3cretword" not in str(refused.value)


def test_the_names_of_variables_may_be_searched() -> None:
    """They are names."""
    found = search(space={"task_lm.api_key_env": ["FIRST_KEY", "SECOND_KEY"]})
    assert found.space["task_lm.api_key_env"].choices == ("FIRST_KEY", "SECOND_KEY")


def test_a_search_is_frozen() -> None:
    """Nothing changes it once it was read."""
    with pytest.raises(ValidationError):
        search().trials = 3  # type: ignore[misc]


@pytest.mark.parametrize("choice", ["full", 3, 0.5, True, ["coordinator", "panel.cognitive"]])
def test_a_value_is_kept_and_found_again(choice: Any) -> None:
    """Lists are kept as JSON, everything else as it is."""
    found = parameter(choices=["other", choice])
    kept = label(choice)
    assert isinstance(kept, str | int | float | bool)
    assert found.value_of(kept) == choice and type(found.value_of(kept)) is type(choice)


def test_numbers_of_a_range_are_kept_as_they_are() -> None:
    """There is nothing to look up."""
    assert parameter(low=1, high=9).value_of(4) == 4
