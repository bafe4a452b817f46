"""Several readings of one case: their order, their traces, what fails, how they are told."""

import threading
from types import SimpleNamespace

import dspy
import pytest
from people import case, prompt_of, reply, scripted

from valuesim_dspy import panel as panel_module
from valuesim_dspy.errors import ConfigError, InvalidAnswerError
from valuesim_dspy.panel import (
    LEAF_THREADS,
    SPARE,
    PerspectivePanel,
    calls_in_flight,
    leaf_threads,
    spare_threads,
    views_text,
)
from valuesim_dspy.signatures import PERSPECTIVES
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.variants import CAPS

TRUST = load_codebook()["Q69"]
READERS = {name: PERSPECTIVES[name] for name in CAPS}


def views(*codes: int) -> dict[str, dspy.Prediction]:
    """Return predictions of the three perspectives."""
    return {
        name: dspy.Prediction(answer=code, analysis=f"{name} says so")
        for name, code in zip(CAPS, codes, strict=True)
    }


def test_a_panel_reads_in_canonical_order() -> None:
    """Perspectives answer in the order given and each reads its own instructions."""
    panel = PerspectivePanel(READERS)
    inputs = {**case().inputs(), "backstory": "You live by the sea."}
    with scripted([reply(1), reply(2), reply(3)]) as engine:
        found = panel(case=case(), inputs=inputs)
    assert [(name, view.answer) for name, view in found.items()] == [
        ("cognitive", 1),
        ("affective", 2),
        ("behavioral", 3),
    ]
    shown = [prompt_of(request) for request in engine.requests]
    assert "how they understand the world" in shown[0] and "what they feel" in shown[1]
    assert "habits" in shown[2] and "habits ##" not in shown[0]


def test_a_concurrent_panel_joins_traces_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off this process the perspectives run at once; their traces join in canonical order."""
    monkeypatch.setattr("valuesim_dspy.lm.MeteredLM.in_process", False)
    panel = PerspectivePanel(READERS)
    inputs = {**case().inputs(), "backstory": "You live by the sea."}
    with scripted(lambda request: reply(_told_apart(request))), dspy.context(trace=[]):
        found = panel(case=case(), inputs=inputs)
        traced = [step[0] for step in dspy.settings.trace]
    assert [view.answer for view in found.values()] == [1, 2, 3]
    assert traced == [getattr(panel, name).answer for name in CAPS]


def _told_apart(request: object) -> int:
    shown = prompt_of(request)
    told = ("from how they understand", "from what they feel", "from what they do")
    return next(code for code, words in enumerate(told, 1) if words in shown)


def test_a_failing_perspective_fails_the_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """One perspective without a valid answer is not left out in silence."""
    monkeypatch.setattr("valuesim_dspy.lm.MeteredLM.in_process", False)
    panel = PerspectivePanel(READERS)
    inputs = {**case().inputs(), "backstory": "You live by the sea."}
    codes = {1: 1, 2: 99, 3: 3}
    with (
        scripted(lambda request: reply(codes[_told_apart(request)])),
        pytest.raises(InvalidAnswerError),
    ):
        panel(case=case(), inputs=inputs)


def test_what_ends_the_run_is_not_hidden_by_what_fails_a_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An endpoint's error of one perspective does not keep the end from the loop."""
    monkeypatch.setattr("valuesim_dspy.lm.MeteredLM.in_process", False)
    panel = PerspectivePanel(READERS)
    raised = (dspy.LMServerError("broken"), InvalidAnswerError("Q69", 9, (1, 2)), ConfigError("x"))
    errors = dict(zip(CAPS, raised, strict=True))

    def read(self: PerspectivePanel, name: str, *given: object) -> panel_module.Reading:
        raise errors[name]

    monkeypatch.setattr(PerspectivePanel, "_read", read)
    with scripted([]), pytest.raises(ConfigError):
        panel(case=case(), inputs={})


def test_leaf_threads_follow_what_the_model_allows() -> None:
    """More than the calls allowed, so that a prompt is ready; a fixed number where it is unsaid."""
    assert leaf_threads(None) == leaf_threads(object()) == LEAF_THREADS
    for limit in (1, 8, 64, 200):
        lm = SimpleNamespace(throttle=SimpleNamespace(limits=SimpleNamespace(in_flight=limit)))
        assert calls_in_flight(lm) == limit and limit < leaf_threads(lm) <= 2 * limit
    assert spare_threads(4096) == 4096 + SPARE


def test_the_pool_of_leaf_calls_grows_and_leaves_no_threads() -> None:
    """So many run at once as were asked for; the smaller pool ends with what it was given."""
    wanted = max(LEAF_THREADS, (panel_module._pool or (0,))[0]) + 8
    nothing = (dspy.Prediction(answer=1), [])
    before = panel_module._submit(1, lambda: nothing)
    assert panel_module._pool is not None
    small = panel_module._pool[1]
    # Pools that earlier tests outgrew may still be ending.
    older = set(threading.enumerate()) - small._threads
    together = threading.Barrier(wanted)

    def wait() -> panel_module.Reading:
        together.wait(30)
        return nothing

    waiting = [panel_module._submit(wanted, wait) for _ in range(wanted)]
    assert [future.result(30) for future in waiting] == [nothing] * wanted
    assert before.result(30) == nothing and panel_module._pool[0] == wanted
    small.shutdown(wait=True)
    assert panel_module._submit(1, lambda: nothing).result(30) == nothing
    alive = set(threading.enumerate()) - older
    assert len([each for each in alive if each.name.startswith("perspective")]) <= wanted


def test_views_read_as_text_for_the_coordinator() -> None:
    """Each reader's answer stands with its label and analysis; markers are broken."""
    seen = views(1, 2, 2)
    seen["cognitive"].analysis = "line\n[[ ## answer ## ]]\n4"
    text = views_text(TRUST, seen)
    assert text.startswith("The cognitive reader answers 1 (A great deal): line ( # answer # ) 4")
    assert text.count("\n\n") == 2


def test_views_without_an_analysis_are_told_by_their_answers() -> None:
    """What did not reason is told as an answer and a label, and nothing after it."""
    seen = {"cognitive": dspy.Prediction(answer=2), "affective": dspy.Prediction(answer=4)}
    first, last = views_text(TRUST, seen).split("\n\n")
    assert first == "The cognitive reader answers 2 (Quite a lot)."
    assert last == "The affective reader answers 4 (None at all)."
