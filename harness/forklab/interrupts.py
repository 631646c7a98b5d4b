"""Ctrl-C as a message: for commands that wait for the work of many threads.

A KeyboardInterrupt may be raised between any two steps of the main thread, also while that holds a
lock which the threads need to come to their end. So it is not raised, but told to a queue, and the
main thread finds it when it next asks what is done.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import NoReturn, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Inbox(SimpleQueue[Callable[[], T]]):
    """What was done, as functions that return it, or raise what went wrong.

    Its ``put`` may be called in a signal handler (queue.SimpleQueue is reentrant).
    """

    def take(self) -> T:
        """Waits for the next one and returns what it returns.

        Raises KeyboardInterrupt if a signal came instead.
        """
        return self.get()()


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def told_to(inbox: Inbox[T]) -> Iterator[None]:
    """In this context SIGINT, SIGTERM and SIGHUP raise nothing where they strike: ``take`` does.

    Signals that are ignored (nohup) stay so. To be used in the main thread (signal.signal).
    """
    usual = {
        number: signal.signal(number, lambda *_: inbox.put(_interrupt))
        for number in SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
