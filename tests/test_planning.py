"""Before a compile job pays: what is compiled, what it may cost, and when it asks for consent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compiling import SMALL
from jobs import BOOTSTRAP, run, small_job

from evals.study import Study, build_arm, open_study
from optimize.planning import (
    announce,
    arms_to_compile,
    check_sets,
    find_teleprompter,
    make_plan,
    references,
)
from optimize.teleprompters import TELEPROMPTERS
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError

pytestmark = pytest.mark.slow

# Nobody listens at this port, and nothing here asks.
REMOTE = {"model": "openai/test", "api_base": "http://127.0.0.1:9/v1"}
ALL = "all, equal requests once"
MOST = 20 + 28 + 90 + 126 + 1
"""Calls of the small job at most, behind an endpoint, which is tried once."""
_ROW = re.compile(r"^  (\S.*?)\s+([\d,]+)(?: to ([\d,]+))? calls", re.M)


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """The study of the small job."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


def announced(
    capsys: pytest.CaptureFixture[str], *, is_agreed: bool = True, **changes: Any
) -> dict[str, tuple[int, int]]:
    """Announce a job; return the calls, at least and at most, by phase."""
    config = small_job(**changes)
    with open_study(config, cache=ResponseCache()) as opened:
        students = {name: build_arm(opened, name) for name in arms_to_compile(config)}
        teleprompter = find_teleprompter(config)
        options = teleprompter.parse(config.compile.options)
        announce(opened, make_plan(opened, students, teleprompter, options), is_agreed=is_agreed)
        assert opened.meter.paid.calls == opened.meter.failed == 0
    return phases(capsys.readouterr().out)


def phases(printed: str) -> dict[str, tuple[int, int]]:
    """Read a printed estimate."""
    found = _ROW.findall(printed)
    return {
        name: (int(low.replace(",", "")), int((high or low).replace(",", "")))
        for name, low, high in found
    }


@pytest.mark.parametrize("name", list(TELEPROMPTERS))
def test_a_teleprompter_is_found_by_its_name(name: str) -> None:
    """The name in the config is the key of the registry."""
    config = small_job(compile={"teleprompter": name, "options": {}})
    assert find_teleprompter(config) is TELEPROMPTERS[name]


def test_an_unknown_teleprompter_is_told_the_known_ones() -> None:
    """The error lists them all."""
    with pytest.raises(ConfigError) as caught:
        find_teleprompter(small_job(compile={"teleprompter": "mipro"}))
    assert set(TELEPROMPTERS) <= set(caught.value.allowed or ())
    assert caught.value.key == "compile.teleprompter"


def test_without_demos_there_is_nothing_to_compile() -> None:
    """A wish that no answers are kept as demos is refused, never passed over."""
    with pytest.raises(ConfigError, match=r"compile\.demos"):
        find_teleprompter(small_job(compile={"demos": "none"}))


def test_the_variant_is_compiled_last_and_everything_once() -> None:
    """Arms in the order given; what is named twice is compiled once."""
    assert arms_to_compile(small_job()) == ["rag", "full"]
    twice = small_job(variant="single", compile={"arms": ["rag", "single", "blank", "rag"]})
    assert arms_to_compile(twice) == ["rag", "single", "blank"]
    assert arms_to_compile(small_job(compile={"arms": []})) == ["full"]


def test_only_variants_and_baselines_are_compiled(tmp_path: Path) -> None:
    """A folder would be written over: the key at fault is named, with what is allowed."""
    for changes, key in (
        ({"variant": str(tmp_path)}, "variant"),
        ({"compile": {"arms": [str(tmp_path)]}}, "compile.arms"),
    ):
        with pytest.raises(ConfigError) as caught:
            arms_to_compile(small_job(**changes))
        assert caught.value.key == key
        assert {"full", "rag"} <= set(caught.value.allowed or ())


def test_references_are_the_baselines_that_are_not_compiled(study: Study) -> None:
    """RAG, which is compiled too, is measured with the students; nothing is measured twice."""
    assert references(study, {"rag": None, "full": None}) == ["country-mode"]
    assert references(study, {"full": None}) == ["rag", "country-mode"]
    config = small_job(baselines=["mode", "rag", "mode"])
    with open_study(config, cache=ResponseCache()) as opened:
        assert references(opened, {}) == ["mode", "rag"]


@pytest.mark.parametrize("role", ["train", "val", "dev"])
def test_an_empty_set_is_named(role: str) -> None:
    """Nobody in it, nobody to compile or to measure with."""
    config = small_job(protocol={role: 0})
    with (
        open_study(config, cache=ResponseCache()) as opened,
        pytest.raises(ConfigError, match=f"{role}set is empty") as caught,
    ):
        check_sets(opened)
    assert caught.value.key == f"protocol.{role}"


def test_full_sets_pass(study: Study) -> None:
    """The testset may be empty: a compile job does not read it."""
    check_sets(study)
    with open_study(small_job(protocol={"test": 0}), cache=ResponseCache()) as opened:
        check_sets(opened)


def test_the_estimate_counts_calls_phase_by_phase(capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty cases of ten people on valset and devset: one call each, or three and a story."""
    found = announced(capsys)
    assert found["measuring country-mode"] == (0, 0)
    low, high = found["measuring rag"]
    # Two people of whom the same facts are found make the same request.
    assert 9 <= low <= high == 20
    assert found["measuring full"] == (3 * 20 + 10, 4 * 20 + 10)
    assert found["compiling rag"] == found["compiling full"] == (0, 0)
    # The valset once more, to choose between compiled and uncompiled.
    assert found["measuring rag compiled"] == (low, 20 + 8)
    assert found["measuring full compiled"] == (70, 90 + 4 * 8 + 4)
    assert found[ALL] == (low + 70, 20 + 28 + 90 + 126)


def test_the_estimate_of_bootstrapping_spans_luck(capsys: pytest.CaptureFixture[str]) -> None:
    """At least as many runs as there are demos to find, at most every training case."""
    found = announced(capsys, compile=BOOTSTRAP)
    # Two cases may be of one person, and ask the same of RAG.
    assert found["compiling rag"] == (1, 12)
    assert found["compiling full"] == (2 * 3 + 1, 12 * 5)


def test_who_selects_on_the_valset_runs_it_and_measures_nothing_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At least the uncompiled program on the valset, which was measured already."""
    options = {"max_demos": 2, "candidates": 1}
    changes = {"teleprompter": "bootstrap-random-search", "options": options, "arms": []}
    found = announced(capsys, compile=changes)
    assert found["compiling full"][0] == 3 * 8 + 4
    assert found["measuring full compiled"] == found["measuring full"]
    assert found[ALL][0] == found["measuring rag"][0] + 70


def test_learning_whom_to_believe_runs_the_trainset_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before and after compiling, for variants that read records or weights."""
    alone = {**BOOTSTRAP, "arms": []}
    without = announced(capsys, variant="vote", compile=alone)["compiling vote"]
    found = announced(capsys, variant="weighted-vote", compile=alone)["compiling weighted-vote"]
    assert found[1] == without[1] + 2 * (3 * 12 + 6)


def test_demos_and_written_instructions_make_prompts_longer(study: Study) -> None:
    """The high end of tokens grows by them, the low end does not; calls stay."""
    students, sizes = {"single": build_arm(study, "single")}, []
    for name, options in (("labeled-few-shot", {"k": 1}), ("labeled-few-shot", {"k": 9})):
        teleprompter = TELEPROMPTERS[name]
        plan = make_plan(study, students, teleprompter, teleprompter.parse(options))
        sizes.append(plan.phases["measuring single compiled"])
    assert sizes[0].cost.calls == sizes[1].cost.calls
    assert sizes[0].tokens[0] == sizes[1].tokens[0]
    assert sizes[1].tokens[1] - sizes[0].tokens[1] > 8 * 28 * 100


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TELEPROMPTERS))
def test_what_is_needed_lies_in_what_was_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Calls and tokens, phase by phase and in all; without a cache all of it is paid."""
    options = {**SMALL, "bootstrap-random-search": {"candidates": 1}}.get(name, {})
    changes = {"teleprompter": name, "options": options}
    done = run(tmp_path, small_job(baselines=["rag"], compile={**changes, "arms": []}))
    printed = phases(capsys.readouterr().out)
    costs = json.loads(done.tracker.read_text(done.job.run_id, "costs.json"))
    seen = {**costs["phases"], ALL: costs["all"]}
    assert set(seen) == set(printed)
    for phase, entry in seen.items():
        predicted, needed = entry["predicted"], entry["needed"]
        assert tuple(predicted["calls"]) == printed[phase]
        tokens = needed["prompt_tokens"] + needed["completion_tokens"]
        for (low, high), took in (
            (predicted["calls"], needed["calls"]),
            (predicted["tokens"], tokens),
        ):
            assert low <= took <= high, phase
    usage = json.loads(done.tracker.read_text(done.job.run_id, "usage.json"))
    assert 0 < usage["needed"]["calls"] == usage["paid"]["calls"] == costs["all"]["paid"]["calls"]


def test_a_large_estimate_wants_a_word_of_consent(capsys: pytest.CaptureFixture[str]) -> None:
    """The estimate is shown, and the job stops and says how to go on; --yes goes on."""
    with pytest.raises(ConfigError, match="--yes") as caught:
        announced(capsys, is_agreed=False, task_lm=REMOTE, confirm_calls=MOST - 1)
    assert f"{MOST} calls of openai/test" in str(caught.value)
    assert phases(capsys.readouterr().out)[ALL][1] == MOST
    assert announced(capsys, is_agreed=True, task_lm=REMOTE, confirm_calls=0)[ALL][1] == MOST


@pytest.mark.parametrize(
    "changes", [{"task_lm": REMOTE, "confirm_calls": MOST}, {"confirm_calls": 0}]
)
def test_a_small_estimate_or_the_embedded_model_wants_none(
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    """At the limit is not above it; the embedded model costs nothing."""
    found = announced(capsys, is_agreed=False, **changes)
    assert found[ALL][1] == MOST - ("task_lm" not in changes)


def _priced(**changes: Any) -> list[str]:
    config = small_job(**changes)
    with open_study(config, cache=ResponseCache()) as opened:
        students = {"rag": build_arm(opened, "rag")}
        teleprompter = find_teleprompter(config)
        return make_plan(opened, students, teleprompter, teleprompter.parse({})).lines()


def test_money_is_estimated_where_the_price_is_known() -> None:
    """A price in the config counts; without one the line says so, and nothing is zero."""
    price = {"usd_per_million_input": 1.0, "usd_per_million_output": 2.0}
    total = _priced(task_lm={**REMOTE, **price})[-1]
    assert re.search(r"\$0\.0[1-9]", total) and "unknown" not in total
    lines = _priced(task_lm=REMOTE)
    assert all("price unknown" in line for line in (lines[-1], lines[0]))


def test_each_role_has_its_own_price() -> None:
    """The prompt LM's is that of its prompts; an unknown one makes the sum unknown."""
    price = {"usd_per_million_input": 1.0, "usd_per_million_output": 2.0}
    changes = {"task_lm": {**REMOTE, **price}, "compile": {"teleprompter": "copro", "options": {}}}
    lines = _priced(**changes, prompt_lm=REMOTE)
    (prompts,) = (line for line in lines if "prompts for rag" in line)
    assert "price unknown" in prompts and "price unknown" in lines[-1]
    assert "$" in next(line for line in lines if "measuring rag" in line)
