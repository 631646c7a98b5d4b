"""The terminal: a screen of our own, keys as they are pressed, and all as it was at the end."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from rich.console import Console, ConsoleDimensions
from rich.region import Region
from rich.text import Text

from forklab.errors import UsageError
from forklab.play.keys import Decoder

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ESCAPE_SECONDS = 0.05  # a sequence of keys has come by then, or it was the Escape key


def check() -> None:
    """Raises UsageError where there is no terminal to draw on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "play draws on a terminal, and this is none: run it in one, without | or >"
        )
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        raise UsageError("play needs a terminal that can be drawn on, and TERM says this one can't")


class Terminal:
    """What is drawn on and typed at. Made by :func:`taken`."""

    def __init__(self, console: Console, woken: int) -> None:
        self._console, self._woken = console, woken
        self._decoder = Decoder()
        self._shown: list[object] = []  # row by row
        self.resizes = 0  # so often it got another size
        self.only_ascii = "utf" not in console.encoding.lower()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        return columns or 80, lines or 24

    def draw(self, rows: Sequence[Text]) -> None:
        """Shows these rows in place of what was there; of them only what has changed is sent."""
        columns, lines = self.size
        self._console.size = ConsoleDimensions(columns, lines)
        now = [(row.plain, row.style, row.spans) for row in rows]
        for number, row in enumerate(rows[:lines]):
            if now[number] != next(iter(self._shown[number : number + 1]), None):
                self._console.update_screen(row, region=Region(0, number, columns, 1))
        self._shown = [*now]

    def keys(self, seconds: float) -> list[str]:
        """The keys pressed, waiting for one at most that long; none if the size has changed.

        Raises KeyboardInterrupt when somebody or something wants us to end.
        """
        if self._decoder.is_waiting:
            seconds = ESCAPE_SECONDS
        ready, _, _ = select.select([sys.stdin.fileno(), self._woken], [], [], seconds)
        if self._woken in ready:
            signals = set(os.read(self._woken, 512))
            if signals & set(ENDING):
                raise KeyboardInterrupt
            self.resizes += 1
            self._shown = []  # nobody knows what is left of it
        if sys.stdin.fileno() not in ready:
            return self._decoder.keys(b"")
        try:
            data = os.read(sys.stdin.fileno(), 1024)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            raise KeyboardInterrupt
        return self._decoder.keys(data)


@contextmanager
def taken(woken: int) -> Iterator[Terminal]:
    """The terminal for ourselves; afterwards it is as it was, whatever happens.

    ``woken`` comes from :func:`signals_told`.
    """
    console = Console(force_terminal=True, highlight=False, markup=False, emoji=False)
    with ExitStack() as stack:
        stack.enter_context(_keys_at_once(sys.stdin.fileno()))
        screen = console.screen()
        screen.__enter__()

        def leave() -> None:
            with suppress(OSError):  # it is gone
                screen.__exit__(None, None, None)

        stack.callback(leave)
        yield Terminal(console, woken)


@contextmanager
def _keys_at_once(fd: int) -> Iterator[None]:
    """Each key comes by itself and unechoed (termios(3)); of the signals only Ctrl-C is left.

    Stopped by Ctrl-Z, or its output by Ctrl-S, a screen of our own would be a riddle.
    """
    before = termios.tcgetattr(fd)
    now = termios.tcgetattr(fd)
    now[0] &= ~termios.IXON
    now[3] &= ~(termios.ICANON | termios.ECHO)
    for unused in (termios.VSUSP, termios.VQUIT):
        now[6][unused] = b"\0"  # _POSIX_VDISABLE
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSADRAIN, now)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)


@contextmanager
def signals_told() -> Iterator[int]:
    """A descriptor from which the numbers of signals are read, which do nothing else.

    So none strikes between two steps that belong together. Those that are ignored (nohup) stay so.
    """
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    numbers = (*ENDING, signal.SIGWINCH)
    usual = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    for number in usual:
        signal.signal(number, lambda *_: None)
    try:
        yield woken
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(wakes)
