"""Items made by a thread ahead of whoever takes them, so that a GPU does not wait while they are read and encoded."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class _End:
    """The last item has been taken; `error` is what ended the thread early."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Prefetch(Generic[T]):
    """The items of a generator in their order; `ahead` of them wait, and one more is made or held. A context:

        with Prefetch(batches()) as feed:
            for batch in feed: …

    An error of the generator is raised where its item would have been taken, with its traceback. Leaving the context,
    for whatever reason, ends the thread and closes the generator; this waits for the item being made. `waited_s` is the
    time that was spent waiting for items.
    """

    def __init__(self, items: Generator[T], ahead: int = 1) -> None:
        self.waited_s = 0.0
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def _run(self) -> None:
        end = _End()
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stop.is_set():
                    break
        except BaseException as error:  # raised again in the thread that takes the items
            end = _End(error)
        finally:
            self._items.close()
            if not self._stop.is_set():
                self._queue.put(end)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        # The thread may wait for room: it is given room until it has seen the stop.
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        began_s = time.perf_counter()
        item = self._queue.get()
        self.waited_s += time.perf_counter() - began_s
        if not isinstance(item, _End):
            return item
        self._queue.put(item)  # whoever asks again is told again
        if item.error is not None:
            raise item.error
        raise StopIteration
