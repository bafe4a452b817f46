from __future__ import annotations

import contextvars
import threading

import dspy
import pytest

from valuesim_dspy.callscope import CallScope, Reported, call_scope, current_call, predictor_name


def test_the_scope_is_there_within_its_call_only() -> None:
    """Code below a call sees it, nested calls see their own, and afterwards there is none."""
    assert current_call() is None
    with call_scope(CallScope()) as outer:
        with call_scope(CallScope()) as inner:
            assert current_call() is inner
        assert current_call() is outer
    assert current_call() is None


def test_other_threads_do_not_see_it() -> None:
    """A thread started during a call is not part of it unless it is given the context."""
    seen: list[CallScope | None] = []
    with call_scope(CallScope()) as scope:
        bare = threading.Thread(target=lambda: seen.append(current_call()))
        context = contextvars.copy_context()
        given = threading.Thread(target=lambda: context.run(lambda: seen.append(current_call())))
        for thread in (bare, given):
            thread.start()
            thread.join()
    assert seen == [None, scope]


def test_what_a_call_holds_is_let_go_also_after_an_error() -> None:
    """Everything to be closed is closed when the call ends, however it ends."""
    closed: list[str] = []
    with pytest.raises(ValueError), call_scope(CallScope()) as scope:
        scope.on_close += [lambda: closed.append("a"), lambda: closed.append("b")]
        raise ValueError
    assert closed == ["a", "b"]


def test_what_was_seen_is_taken_down() -> None:
    """The last report stands."""
    scope = CallScope()
    scope.saw(Reported(2, 5, 1, 0.1), hit=True)
    assert (scope.hit, scope.reported) == (True, Reported(2, 5, 1, 0.1))


class Pair(dspy.Module):
    """Two predictors of one signature."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dspy.Predict("a -> b"), dspy.Predict("a -> b")


def test_predictors_are_named_as_in_their_program() -> None:
    """The name is the one the program gives, which saved programs hold too."""
    pair = Pair()
    with dspy.context(caller_modules=[pair, pair.second]):
        assert predictor_name() == "second"
        assert predictor_name() == "second"
    assert predictor_name() is None
    with dspy.context(caller_modules=[pair]):
        assert predictor_name() is None


def test_a_predictor_outside_of_a_program_is_named_by_its_signature() -> None:
    """A predictor that its program does not list is called by what it does."""
    alone = dspy.Predict("a -> b")
    with dspy.context(caller_modules=[Pair(), alone]):
        assert predictor_name() == alone.signature.__name__


def test_one_that_cannot_be_let_go_keeps_no_other() -> None:
    """All are tried, in order, and the error is told."""
    closed: list[str] = []

    def fail() -> None:
        closed.append("a")
        raise RuntimeError("cannot")

    with pytest.raises(RuntimeError, match="cannot"), call_scope(CallScope()) as scope:
        scope.on_close += [fail, lambda: closed.append("b")]
    assert closed == ["a", "b"]
    assert current_call() is None
