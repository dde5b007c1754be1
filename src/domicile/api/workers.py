"""Bounded pools of threads: the way from the event loop to work that needs the CPU."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from domicile.errors import Overloaded
from domicile.observability import Metrics

T = TypeVar("T")
_END = object()


class Places:
    """A bounded number of something at once.

    Args:
        name: in metrics and errors.
    """

    def __init__(self, name: str, capacity: int, metrics: Metrics) -> None:
        self._name = name
        self._capacity = capacity
        self._busy = 0
        self._metrics = metrics
        metrics.capacity.labels(name).set(capacity)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Overloaded: there is none.
        """
        if self._busy >= self._capacity:
            raise Overloaded(f"the {self._name} pool", retry_after=1)
        self._busy += 1
        self._metrics.busy.labels(self._name).set(self._busy)
        try:
            yield
        finally:
            self._busy -= 1
            self._metrics.busy.labels(self._name).set(self._busy)


class Workers:
    """Runs blocking work in threads; refuses at once what would have to wait too long.

    Args:
        name: of the pool, in metrics and errors.
        threads: pieces of work at once.
        queue: pieces of work that may wait.
    """

    def __init__(self, name: str, threads: int, queue: int, metrics: Metrics) -> None:
        self._places = Places(name, threads + queue, metrics)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"domicile-{name}")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work.

        Raises:
            Overloaded: the pool and its queue are full.
        """
        with self._places.take():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def stream(self, work: Callable[[Callable[[], bool]], Iterator[T]]) -> AsyncIterator[T]:
        """The items of an iterator that runs in a thread.

        Args:
            work: receives a function that tells whether the consumer has gone, and is to stop soon when it has.

        Raises:
            Overloaded: the pool and its queue are full.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[T | object | BaseException] = asyncio.Queue()
        gone = threading.Event()

        def produce() -> None:
            try:
                for item in work(gone.is_set):
                    loop.call_soon_threadsafe(items.put_nowait, item)
                loop.call_soon_threadsafe(items.put_nowait, _END)
            except BaseException as error:  # whatever it was, the consumer must hear of it
                loop.call_soon_threadsafe(items.put_nowait, error)

        with self._places.take():
            running = loop.run_in_executor(self._pool, produce)
            try:
                while (item := await items.get()) is not _END:
                    if isinstance(item, BaseException):
                        raise item
                    yield item  # type: ignore[misc]
            finally:
                gone.set()
                # the place is given back when the thread is, not when the consumer leaves
                await asyncio.shield(asyncio.wait([running]))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
