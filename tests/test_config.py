from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from valuesim_dspy.config import (
    NOT_IDENTITY,
    CompileConfig,
    DataConfig,
    JobConfig,
    LMRole,
    ProtocolConfig,
    load_job,
    parse_job,
)
from valuesim_dspy.errors import ConfigError, MissingDataError

JOB = """
seed = 7
variant = "full"
send_to = ["api.example.org"]

[data]
survey = "wvs.csv"

[protocol]
folds = "topic"
fold = 2
kinds = ["value"]
train = 20

[task_lm]
model = "openai/gpt-4o-mini"
api_key_env = "OPENAI_API_KEY"
usd_per_million_input = 0.15
usd_per_million_output = 1
[task_lm.extra]
top_p = 0.9

[compile]
teleprompter = "mipro"
arms = ["rag", "full-info"]
[compile.options]
num_trials = 10
auto = "light"
thresholds = [0.5, 1.0]

[budget]
usd = 2.5
"""


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """Return the path of a job file."""
    path = tmp_path / "first-job.toml"
    path.write_text(JOB, encoding="utf-8")
    return path


def test_a_job_is_read_with_types_and_defaults(job_file: Path) -> None:
    """What the file says is there, what it does not say has its default, the stem names it."""
    job = load_job(job_file)
    assert job.name == "first-job"
    assert job.protocol.kinds == ("value",)
    assert (job.protocol.train, job.protocol.val) == (20, ProtocolConfig().val)
    assert job.task_lm.extra == {"top_p": 0.9}
    assert job.task_lm.usd_per_million_output == 1.0
    assert job.compile.options["num_trials"] == 10
    assert job.compile.arms == ("rag", "full-info")
    assert job.budget.usd == 2.5
    assert job.send_to == ("api.example.org",)
    assert job.prompt_lm is None
    assert job.embedder.k == 3


def test_one_seed_serves_all_but_those_with_their_own(job_file: Path) -> None:
    """Data and protocol take the job's seed unless they are given one."""
    job = load_job(job_file, ["protocol.seed=9"])
    assert (job.seed, job.data.seed, job.protocol.seed) == (7, 7, 9)
    assert load_job(job_file, ["seed=8"]).data.seed == 8


def test_an_empty_file_is_a_whole_job(tmp_path: Path) -> None:
    """Every setting has a default, and the default job needs no network and no survey."""
    path = tmp_path / "job.toml"
    path.write_text("")
    job = load_job(path)
    assert job == JobConfig()
    assert job.task_lm.local
    assert job.data.survey == "synthetic"


def test_filled_roles_are_listed(job_file: Path) -> None:
    """Roles that are not given are not there."""
    job = load_job(job_file, ["prompt_lm.model=openai/gpt-4o"])
    assert list(job.roles) == ["task_lm", "prompt_lm"]
    assert job.roles["prompt_lm"].model == "openai/gpt-4o"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("protocol.fold=3", ("protocol", "fold"), 3),
        ("share_rows=true", ("share_rows",), True),
        ("variant=backstory-only", ("variant",), "backstory-only"),
        ('variant="full"', ("variant",), "full"),
        ("budget.usd = 0.5", ("budget", "usd"), 0.5),
        ("send_to=['a', 'b']", ("send_to",), ("a", "b")),
        ("baselines=['rag']", ("baselines",), ("rag",)),
        ("teacher_lm.model=openai/o=x", ("teacher_lm", "model"), "openai/o=x"),
        ("store=a\nb = 1", ("store",), "a\nb = 1"),
        ("store=1\nb = 1", ("store",), "1\nb = 1"),
    ],
)
def test_overrides_are_toml_or_bare_text(
    job_file: Path, override: str, path: tuple[str, ...], value: object
) -> None:
    """A value is read as TOML where it is TOML, else as text; tables are made where absent."""
    found: Any = load_job(job_file, [override])
    for name in path:
        found = getattr(found, name)
    assert found == value


def test_later_overrides_win(job_file: Path) -> None:
    """Overrides apply in the order given."""
    assert load_job(job_file, ["threads=2", "threads=3"]).threads == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("threads", "'threads' is not of the form key=value"),
        ("=3", "is not of the form key=value"),
        ("a..b=3", "is not of the form key=value"),
        ("seed.x=1", "seed is a value, not a table"),
    ],
)
def test_malformed_overrides_are_told(job_file: Path, override: str, message: str) -> None:
    """An override that cannot be applied is told as one of --set."""
    with pytest.raises(ConfigError, match=message) as caught:
        load_job(job_file, [override])
    assert caught.value.key == "--set"


@pytest.mark.parametrize(
    ("tables", "parts"),
    [
        ({"tsak_lm": {}}, ["tsak_lm: unknown key", "did you mean task_lm?", "allowed: "]),
        ({"task_lm": {"modle": "x"}}, ["task_lm.modle: unknown key", "model?", "api_key_env"]),
        ({"prompt_lm": {"temp": 1}}, ["prompt_lm.temp: unknown key", "allowed: api_base"]),
        ({"compile": {"telepromter": "x"}}, ["compile.telepromter", "teleprompter?"]),
        ({"protocol": {"fold": "two"}}, ["protocol.fold: 'two'", "expected a valid integer"]),
        ({"protocol": {"fold": 6}}, ["protocol.fold: 6", "less than or equal to 5"]),
        ({"protocol": {"kinds": ["vlue"]}}, ["protocol.kinds.0: 'vlue'", "'value', 'attitude'"]),
        ({"threads": True}, ["threads: True", "expected a valid integer"]),
        ({"threads": "8"}, ["threads: '8'", "expected a valid integer"]),
        ({"seed": 1.5}, ["seed: 1.5", "expected a valid integer"]),
        ({"data": 3}, ["data: 3", "valid dictionary"]),
        ({"name": "../x"}, ["name: '../x'", "match pattern"]),
        ({"task_lm": {"max_tokens": 40000}}, ["task_lm: max_tokens must be smaller"]),
        ({"compile": {"options": {"a": {"b": 1}}}}, ["compile.options: a: expected text"]),
        ({"task_lm": {"api_key": "sk-canary"}}, ["task_lm.api_key: ", "api_key_env"]),
        ({"task_lm": {"api_key_env": "sk-canary"}}, ["task_lm.api_key_env: ", "NAME"]),
        ({"store": "http://me:canary@host"}, ["store: the address holds credentials"]),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tables: dict[str, Any], parts: list[str]) -> None:
    """The message has the dotted key, what was given, what would do, and no secret."""
    with pytest.raises(ConfigError) as caught:
        parse_job(tables)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert message.startswith(parts[0])
    assert "\n" not in message
    assert "canary" not in message


def test_further_errors_are_counted() -> None:
    """One error is told in full, the others by their number."""
    with pytest.raises(ConfigError, match=r"^seed: .*\(and 2 more\)$"):
        parse_job({"threads": 0, "seed": "x", "store": 3})


def test_an_unknown_key_is_told_before_its_consequences() -> None:
    """A misspelt key is the first thing told, wherever it stands."""
    with pytest.raises(ConfigError, match=r"^taks_lm: unknown key"):
        parse_job({"threads": 0, "taks_lm": {}})


def test_dates_have_no_place(job_file: Path) -> None:
    """TOML knows dates, a job does not."""
    with pytest.raises(ConfigError, match=r"^store: .*expected a valid string"):
        load_job(job_file, ["store=2024-01-01"])


def test_a_missing_file_and_broken_toml_are_told(tmp_path: Path) -> None:
    """An absent file is missing data, a broken one names itself and the line."""
    with pytest.raises(MissingDataError, match=r"no\.toml"):
        load_job(tmp_path / "no.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = 1\nthreads = = 2\n")
    with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML.*line 2"):
        load_job(broken)
    broken.write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_job(broken)


def test_resolved_settings_make_the_same_job(job_file: Path) -> None:
    """The resolved settings are plain JSON, complete, and read back to an equal job."""
    job = load_job(job_file)
    resolved = json.loads(json.dumps(job.resolved()))
    assert parse_job(resolved) == job
    assert resolved["protocol"]["targets"] is None


def test_the_digest_is_of_what_decides_results(job_file: Path) -> None:
    """Results' settings change the digest; limits, threads and places do not."""
    base = load_job(job_file).digest
    assert len(base) == 16
    assert int(base, 16) >= 0
    for same in ("budget.usd=9", "threads=1", "store=x", "share_rows=true", "name=other"):
        assert load_job(job_file, [same]).digest == base
    for other in ("seed=8", "protocol.fold=3", "task_lm.temperature=0.5", "variant=x"):
        assert load_job(job_file, [other]).digest != base
    assert JobConfig.model_fields.keys() >= NOT_IDENTITY


def test_the_digest_does_not_depend_on_order_or_spelling(tmp_path: Path) -> None:
    """The same job written in another order, or with defaults written out, is the same."""
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("variant = 'full'\n[protocol]\nfold = 2\ntrain = 5\n")
    two.write_text("[protocol]\ntrain = 5\nfold = 2\nfolds = 'battery'\n[data]\nseed = 42\n")
    assert load_job(one).digest == load_job(two).digest


def test_configs_are_frozen_and_closed() -> None:
    """Settings do not change after reading, and take no unknown fields."""
    with pytest.raises(ValidationError):
        DataConfig().survey = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        CompileConfig(unknown=1)  # type: ignore[call-arg]


def test_configs_are_made_in_python_too() -> None:
    """From Python, lists serve as tuples and parts are given as objects."""
    job = JobConfig(protocol=ProtocolConfig(kinds=["value"]), task_lm=LMRole())  # type: ignore[arg-type]
    assert job.protocol.kinds == ("value",)
    assert job.protocol.seed == 42


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(JobConfig.model_fields)) | st.text(max_size=5), junk))
def test_any_tables_give_a_job_or_one_line(tables: dict[str, Any]) -> None:
    """Nothing a file can hold leads to another error than a ConfigError of one line."""
    try:
        job = parse_job(tables)
    except ConfigError as error:
        assert str(error)
    else:
        assert len(job.digest) == 16


def test_reading_a_job_imports_no_heavy_library() -> None:
    """Help and config errors come at once: dspy, mlflow, pandas and litellm stay unloaded."""
    code = (
        "import sys, valuesim_dspy.config, valuesim_dspy.store; "
        "print([m for m in ('dspy', 'mlflow', 'pandas', 'litellm', 'numpy') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- the protocol's dependence and split --------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "threshold"),
    [
        ({}, 0.35),
        ({"dependence": 0.2}, 0.2),
        ({"dependence": 1}, 1.0),
        ({"dependence": "none"}, None),
    ],
)
def test_dependence_is_a_threshold_or_none(given: dict[str, Any], threshold: float | None) -> None:
    """A file, which knows no null, switches it off with a word; it survives being written."""
    job = parse_job({"protocol": given})
    assert job.protocol.dependence == threshold
    assert parse_job(job.resolved()) == job


def test_dependence_is_set_on_the_command_line(tmp_path: Path) -> None:
    """Bare text is text: --set protocol.dependence=none."""
    path = tmp_path / "job.toml"
    path.write_text("[protocol]\ndependence = 0.5\n", encoding="utf-8")
    assert load_job(path).protocol.dependence == 0.5
    assert load_job(path, ["protocol.dependence=none"]).protocol.dependence is None


def test_dependence_and_split_decide_the_results() -> None:
    """Jobs that differ in them are not the same job."""
    jobs = [{}, {"dependence": "none"}, {"split": "random"}, {"split": "countries"}]
    jobs += [{"split": "countries", "test_countries": ["JPN"]}]
    assert len({parse_job({"protocol": job}).digest for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"dependence": 0}, "protocol.dependence: 0 does not fit: expected greater than 0"),
        ({"dependence": 1.1}, "protocol.dependence: 1.1 does not fit"),
        ({"dependence": "low"}, "protocol.dependence: 'low' does not fit"),
        ({"split": "country"}, "protocol.split: 'country' does not fit: expected 'random', 'strat"),
        (
            {"test_countries": ["JPN"]},
            'test_countries needs split = "countries", and split is "str',
        ),
        ({"split": "random", "dev_countries": ["JPN"]}, "dev_countries needs split"),
        ({"split": "countries", "test_countries": "JPN"}, "protocol.test_countries: 'JPN' does no"),
        ({"split": "countries", "dev_countries": []}, "protocol.dev_countries: "),
        ({"countries": ["JPN"]}, "protocol.countries: unknown key"),
    ],
)
def test_a_wrong_dependence_or_split_names_its_key(protocol: dict[str, Any], message: str) -> None:
    """The key, the value, and what would do."""
    with pytest.raises(ConfigError) as caught:
        parse_job({"protocol": protocol})
    assert message in str(caught.value)
