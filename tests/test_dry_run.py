"""What a job would do and cost, without doing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobs import Stopping, answered_by, job_file, living_in, small_job, survey_file, tracker_of

from evals.tracked_runs import LEVEL
from optimize.__main__ import main
from optimize.compile import dry_run
from optimize.teleprompters import TELEPROMPTERS
from valuesim_dspy.errors import ConfigError

pytestmark = pytest.mark.slow

# Nobody listens at this address, and nothing here asks.
REMOTE = {"model": "openai/test", "api_base": "http://api.example.org/v1", "api_key_env": "NO_KEY"}


def section(text: str, head: str) -> str:
    """Return a part of a dry run."""
    return text.split(f"## {head}\n")[1].split("\n\n## ")[0]


def test_nothing_is_asked_and_no_run_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints it and ends well."""
    job = job_file(tmp_path / "job.toml")
    with living_in(tmp_path) as store, answered_by(Stopping()) as engine:
        assert main(["compile", str(job), "--dry-run"]) == 0
    assert engine.asked == 0
    assert tracker_of(store).find({LEVEL: "job"}) == []
    assert not (store / "logs").exists() and not (store / "programs").exists()
    assert "Nothing was asked, and no run was begun." in capsys.readouterr().out


def test_the_config_is_shown_resolved() -> None:
    """As JSON, defaults filled in."""
    config = small_job()
    assert json.loads(section(dry_run(config), "Config, resolved")) == config.resolved()


def test_sets_are_counted() -> None:
    """Cases, people and questions; the testset is said to be unread."""
    sets = section(dry_run(small_job()), "Sets")
    assert "trainset: 12 cases, 6 people" in sets and "valset: 8 cases, 4 people" in sets
    assert "testset: 8 cases, 4 people" in sets and "not read by this job" in sets
    assert "made-up" not in sets
    made_up = section(dry_run(small_job(compile={"demos": "synthetic"})), "Sets")
    assert "demos: from 12 cases of made-up people" in made_up


@pytest.mark.parametrize("name", list(TELEPROMPTERS))
def test_every_option_is_shown_with_value_and_meaning(name: str) -> None:
    """Defaults too, in the words of the option's own description."""
    shown = dry_run(small_job(variant="single", compile={"teleprompter": name, "options": {}}))
    part = section(shown, f"Teleprompter {name}")
    options = TELEPROMPTERS[name].parse({})
    for key, field in type(options).model_fields.items():
        value = getattr(options, key)
        wanted = "not given" if value is None else json.dumps(value)
        assert f"  {key} = {wanted}  ({field.description})" in part


def test_phases_are_predicted_and_unknown_prices_said() -> None:
    """The same lines as before the job itself; never zero dollars for an unknown price."""
    offline = section(dry_run(small_job()), "Predicted cost, nothing of it cached")
    assert "measuring rag" in offline and "all, equal requests once" in offline
    assert "price unknown" not in offline and "budget: none" in offline
    remote = section(dry_run(small_job(task_lm=REMOTE)), "Predicted cost, nothing of it cached")
    assert "price unknown" in remote and "usd_per_million_input" in remote
    assert "$0.00" not in remote.splitlines()[-3]


def test_limits_are_told() -> None:
    """The budget, and the consent that a large job will need."""
    changes: dict[str, Any] = {"budget": {"calls": 50, "usd": 2.5}, "confirm_calls": 10}
    shown = dry_run(small_job(task_lm=REMOTE, **changes))
    assert "budget: at most 50 calls" in shown and "budget: at most 2.5 US dollars" in shown
    assert "more than confirm_calls = 10; pass --yes" in shown
    assert "--yes" not in dry_run(small_job(**changes))


def test_looking_needs_no_consent_and_no_key_and_says_what_will(tmp_path: Path) -> None:
    """Where answers of how many people would go, on whose word, with the key of which variable."""
    survey = survey_file(tmp_path / "s.csv")
    config = small_job(
        data={"survey": str(survey)},
        task_lm=REMOTE,
        embedder={"model": "openai/embed", "api_base": "http://vectors.example.org/v1"},
    )
    shown = section(dry_run(config), "Where answers would be sent")
    task, embedder = shown.splitlines()
    assert "answers of 200 respondents to api.example.org" in task
    assert "--send-to api.example.org" in task and "key from NO_KEY, which is not set" in task
    assert "--send-to vectors.example.org" in embedder
    agreed = config.model_copy(update={"send_to": ("api.example.org",)})
    assert "--send-to api.example.org" not in section(
        dry_run(agreed), "Where answers would be sent"
    )
    made_up = dry_run(small_job(task_lm=REMOTE))
    assert "synthetic people to api.example.org" in made_up and "--send-to api" not in made_up


def test_what_cannot_work_is_refused_here_too() -> None:
    """As the job itself would."""
    for changes in ({"variant": "nosuch"}, {"compile": {"options": {"kk": 1}}}):
        with pytest.raises(ConfigError):
            dry_run(small_job(**changes))
