"""One thread for numeric libraries, and as many as before afterwards."""

from threadpoolctl import threadpool_info

from evals.baselines.threads import one_thread


def counts() -> list[int]:
    """Threads by library."""
    return [library["num_threads"] for library in threadpool_info()]


def test_libraries_use_one_thread_inside_and_what_they_had_outside() -> None:
    """The bound ends with the context, also where an error ends it."""
    with one_thread():
        assert counts() and set(counts()) == {1}
        inside = len(counts())
    before = counts()
    assert inside == len(before)
    try:
        with one_thread():
            raise RuntimeError
    except RuntimeError:
        assert counts() == before
