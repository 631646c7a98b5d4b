"""Signals that are told instead of raised."""

import os
import signal
from collections.abc import Iterator

import pytest

from forklab import interrupts
from forklab.interrupts import Inbox


@pytest.fixture(params=interrupts.SIGNALS)
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """A signal that has not been ignored, as by nohup, since before the tests began."""
    usual = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, usual)


def test_a_signal_is_raised_only_where_it_is_waited_for(number):
    inbox: Inbox[str] = Inbox()
    usual = signal.getsignal(number)
    with interrupts.told_to(inbox):
        inbox.put(lambda: "done")
        os.kill(os.getpid(), number)  # and nothing happens here
        assert inbox.take() == "done"
        with pytest.raises(KeyboardInterrupt):
            inbox.take()
    assert signal.getsignal(number) == usual


def test_what_went_wrong_is_raised():
    inbox: Inbox[int] = Inbox()
    inbox.put(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        inbox.take()


def test_ignored_signals_stay_ignored():
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    inbox: Inbox[str] = Inbox()
    try:
        with interrupts.told_to(inbox):
            os.kill(os.getpid(), signal.SIGHUP)
            inbox.put(lambda: "done")
            assert inbox.take() == "done"
    finally:
        signal.signal(signal.SIGHUP, usual)
