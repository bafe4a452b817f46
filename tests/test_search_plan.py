"""A search file: read with its job, checked before anything is paid, turned into jobs of trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from searching import SPACE, plan, search_file

from optimize.search_plan import Plan, load_search, options_of, set_key
from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import ConfigError, MissingDataError

ROOT = Path(__file__).resolve().parent.parent


def refused(folder: Path, space: dict[str, Any], **job: Any) -> ConfigError:
    """Return why a space is refused."""
    with pytest.raises(ConfigError) as error:
        plan(folder, {"space": space}, **job)
    return error.value


def test_a_file_holds_the_search_and_its_job(tmp_path: Path) -> None:
    """All tables but `search` are the job's; the job bears the name of the study."""
    found = plan(tmp_path, {"trials": 7}, protocol={"val": 3})
    assert found.search.trials == 7
    assert found.job.protocol.val == 3 and found.job.name == "tiny"


def test_a_job_file_may_be_named_and_is_written_over(tmp_path: Path) -> None:
    """Tables of the search file are laid over those of the job it names, key by key."""
    (tmp_path / "base.toml").write_text("[protocol]\nval = 9\ndev = 8\n[compile]\narms = []\n")
    file = tmp_path / "own.toml"
    file.write_text(
        '[search]\njob = "base.toml"\n[search.space]\nvariant = ["full"]\n[protocol]\nval = 3\n'
    )
    job = load_search(file).job
    assert (job.protocol.val, job.protocol.dev, job.compile.arms) == (3, 8, ())


def test_overrides_reach_search_and_job(tmp_path: Path) -> None:
    """`search.` is the search's, everything else the job's; the later one wins."""
    found = plan(
        tmp_path,
        None,
        "search.trials=2",
        "search.trials=3",
        "protocol.dev=2",
        'search.space.variant=["full"]',
        "store=somewhere",
    )
    assert found.search.trials == 3 and found.job.protocol.dev == 2
    assert found.search.space["variant"].choices == ("full",)
    assert found.job.store == "somewhere"


@pytest.mark.parametrize("override", ["search.trials", "=3", "search..trials=3"])
def test_an_override_that_is_none_is_refused(tmp_path: Path, override: str) -> None:
    """It names the flag."""
    with pytest.raises(ConfigError, match="--set"):
        plan(tmp_path, None, override)


def test_a_missing_or_broken_file_is_told(tmp_path: Path) -> None:
    """Missing, no TOML, no table [search], or a job file that is not there."""
    with pytest.raises(MissingDataError, match=r"nosuch\.toml"):
        load_search(tmp_path / "nosuch.toml")
    file = tmp_path / "own.toml"
    for text, said in [("[search", "not valid TOML"), ("seed = 1\n", r"no table \[search\]")]:
        file.write_text(text)
        with pytest.raises(ConfigError, match=said):
            load_search(file)
    file.write_text('[search]\njob = "nosuch.toml"\n[search.space]\nvariant = ["full"]\n')
    with pytest.raises(MissingDataError, match=r"nosuch\.toml"):
        load_search(file)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"trails": 3}, ["search.trails", "unknown key", "trials"]),
        ({"trials": "many"}, ["search.trials"]),
        ({"space": {"variant": {"choices": ["full"], "wen": {}}}}, ["search.space", "when"]),
    ],
)
def test_a_key_of_the_search_that_is_unknown_is_named(
    tmp_path: Path, search: dict[str, Any], said: list[str]
) -> None:
    """With what is allowed."""
    with pytest.raises(ConfigError) as error:
        plan(tmp_path, search)
    assert not [text for text in said if text not in str(error.value)]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"compile.teleprompters": ["none"]}, ["compile.teleprompters", "teleprompter"]),
        ({"compile.demo_fact": [1]}, ["compile.demo_fact", "demo_facts"]),
        ({"task_lm.temprature": [0.0]}, ["task_lm.temprature", "temperature"]),
        ({"task_lm.temperature": {"low": 0.0, "high": 3.0}}, ["task_lm.temperature", "3.0"]),
        ({"embedder.k": {"low": 0, "high": 3}}, ["embedder.k"]),
        ({"task_lm.api_key": ["sk-1234567890"]}, ["task_lm.api_key", "api_key_env"]),
        ({"variant": ["full", "fulll"]}, ["variant", "fulll", "facts-only"]),
        ({"compile.teleprompter": ["bootstrp"]}, ["compile.teleprompter", "none", "bootstrap"]),
        ({"protocol.val": {"low": 1, "high": 5}}, ["search.space.protocol.val", "variant"]),
        ({"data.respondents": [100]}, ["search.space.data.respondents", "who is asked"]),
        ({"seed": {"low": 1, "high": 5}}, ["search.space.seed"]),
        ({"store": ["a"]}, ["search.space.store"]),
        ({"threads": [1, 2]}, ["search.space.threads"]),
        ({"compile.arms": ["rag"]}, ["search.space.compile.arms"]),
        ({"compile.options.rounds": {"low": 1, "high": 3}}, ["compile.options.rounds", "k"]),
    ],
)
def test_what_cannot_be_searched_is_refused(
    tmp_path: Path, space: dict[str, Any], said: list[str]
) -> None:
    """The key is named, and what would be allowed; a secret is not repeated."""
    text = str(refused(tmp_path, space))
    assert not [part for part in said if part not in text], text
    assert "sk-1234567890" not in text


def test_an_option_is_tried_with_every_teleprompter_that_has_it(tmp_path: Path) -> None:
    """Both ends of its range: what one of them refuses is known before anything is paid."""
    space = {
        "compile.teleprompter": ["labeled-few-shot", "bootstrap"],
        "compile.options.max_demos": {"low": 0, "high": 4},
    }
    text = str(refused(tmp_path, space))
    assert "compile.options.max_demos" in text and "bootstrap" in text


def test_options_of_the_job_must_be_somebodys(tmp_path: Path) -> None:
    """A slip in the job would otherwise be left out of every trial without a word."""
    file = search_file(tmp_path / "tiny.toml")
    with pytest.raises(ConfigError, match=r"compile\.options\.kk") as error:
        load_search(file, ["compile.options.kk=3"])
    assert "k" in (error.value.allowed or ())
    assert load_search(file, ["compile.options.k=2"]).job.compile.options == {"k": 2}


def test_demos_and_teleprompters_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    """Without demos nothing is left to a teleprompter that writes no instructions."""
    space = {
        "compile.teleprompter": ["labeled-few-shot", "copro"],
        "compile.demos": ["data", "none"],
    }
    assert "compile.demos" in str(refused(tmp_path, space))
    assert plan(tmp_path, {"space": {**space, "compile.teleprompter": ["copro"]}})


def test_cold_and_warm_are_never_searched_together(tmp_path: Path) -> None:
    """One has seen other people's answers to the question; the other must not be ranked by it."""
    text = str(refused(tmp_path, {"variant": ["full", "peers"]}))
    assert "full (cold)" in text and "peers (warm)" in text
    assert plan(tmp_path, {"space": {"variant": ["full", "single", "rag"]}})


def test_when_refers_to_keys_that_are_always_sampled(tmp_path: Path) -> None:
    """Not to keys outside the space, and not to conditional ones."""
    when = {"low": 1, "high": 3, "when": {"variant": ["rag"]}}
    assert "search.space.embedder.k.when" in str(refused(tmp_path, {"embedder.k": when}))
    chain = {
        "variant": ["rag", "full"],
        "embedder.k": when,
        "compile.demo_facts": {"choices": [3], "when": {"embedder.k": [1]}},
    }
    assert "compile.demo_facts.when" in str(refused(tmp_path, chain))


def test_a_key_is_sampled_where_it_applies(tmp_path: Path) -> None:
    """Options for the teleprompters that have them; conditions where they hold."""
    space = {
        **SPACE,
        "variant": ["full", "rag"],
        "embedder.k": {"low": 1, "high": 3, "when": {"variant": ["rag"]}},
    }
    found = plan(tmp_path, {"space": space})
    assert next(iter(found.ordered)) == "compile.teleprompter"
    assert list(found.ordered)[-1] == "embedder.k"
    teleprompter = "compile.teleprompter"
    assert found.applies("compile.options.k", {teleprompter: "labeled-few-shot"})
    assert not found.applies("compile.options.k", {teleprompter: "none"})
    assert found.applies("embedder.k", {"variant": "rag"})
    assert not found.applies("embedder.k", {"variant": "full"})
    assert not found.applies("embedder.k", {})


def test_a_trial_is_a_job(tmp_path: Path) -> None:
    """Sampled keys are set; options that its teleprompter does not have are left out."""
    found = plan(tmp_path, None, "compile.options.k=2")
    job = found.job_of({"compile.teleprompter": "labeled-few-shot", "compile.options.k": 3})
    assert job.compile.options == {"k": 3} and job.compile.teleprompter == "labeled-few-shot"
    assert found.job_of({"compile.teleprompter": "none"}).compile.options == {}
    assert found.job_of({"variant": "facts-only"}).variant == "facts-only"
    assert found.job_of({"prompt_lm.temperature": 0.5}).prompt_lm is not None
    assert found.job.prompt_lm is None


def test_a_trial_that_changes_nothing_is_the_job_itself(tmp_path: Path) -> None:
    """Seeds included: reading the job anew must not draw other people."""
    found = plan(tmp_path, None, "seed=7", "compile.teleprompter=none")
    assert found.job_of({}) == found.job
    assert found.job_of({}).protocol.seed == 7


def test_values_that_do_not_go_together_are_a_config_error(tmp_path: Path) -> None:
    """Each fits by itself; the trial fails with the reason."""
    found = plan(tmp_path)
    with pytest.raises(ConfigError, match="context"):
        found.job_of({"task_lm.context": 2048, "task_lm.max_tokens": 4096})


def test_options_are_known_by_teleprompter() -> None:
    """`none` and unknown names have none."""
    assert {"k"} <= options_of("labeled-few-shot")
    assert options_of("none") == options_of("nosuch") == frozenset()


def test_a_dotted_key_is_set_in_nested_tables() -> None:
    """Tables are made where there are none; a value is no table."""
    tables: dict[str, Any] = {"seed": 1, "prompt_lm": None}
    set_key(tables, "prompt_lm.model", "offline/lexical-1")
    set_key(tables, "compile.options.k", 2)
    assert tables["compile"] == {"options": {"k": 2}}
    assert parse_job(tables).prompt_lm is not None
    with pytest.raises(ConfigError, match="seed is a value"):
        set_key(tables, "seed.of", 2)


def test_the_packaged_search_is_a_search() -> None:
    """It is offline, on synthetic people, and shows a conditional key."""
    found: Plan = load_search(ROOT / "optimize" / "jobs" / "search.toml")
    assert found.job.task_lm.offline and found.job.data.survey == "synthetic"
    assert any(parameter.when for parameter in found.search.space.values())
    assert "none" in found.teleprompters()
