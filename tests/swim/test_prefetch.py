"""A thread makes items ahead: in order, not too many, with its errors handed on, and it ends with its context."""

import threading
import traceback

import pytest

from swim.data.prefetch import Prefetch


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_come_in_order_and_at_most_one_ahead():
    made, closed = [], []

    def items():
        try:
            for i in range(20):
                made.append(i)
                yield i
        finally:
            closed.append(True)

    taken = []
    with Prefetch(items()) as feed:
        for item in feed:
            taken.append(item)
            assert len(made) <= len(taken) + 2  # one waits, and one may be in the making
        with pytest.raises(StopIteration):
            next(feed)
    assert taken == made == list(range(20))
    assert closed
    assert feed.waited_s >= 0
    assert not alive()


def broken(items):
    yield from range(items)
    raise OSError("the disk is gone")


@pytest.mark.parametrize("before", [0, 3])
def test_an_error_comes_where_its_item_would_have_with_its_traceback(before):
    taken = []
    with pytest.raises(OSError, match="the disk is gone") as caught, Prefetch(broken(before)) as feed:
        taken.extend(feed)
    assert taken == list(range(before))
    assert "in broken" in "".join(traceback.format_exception(caught.value))
    assert not alive()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_leaving_early_ends_the_thread_and_closes_the_generator(error):
    closed = []

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    def leave():
        with Prefetch(endless()) as feed:
            next(feed)
            raise error

    with pytest.raises(error):
        leave()
    assert closed == ["prefetch"]
    assert not alive()
