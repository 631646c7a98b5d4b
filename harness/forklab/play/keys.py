"""The keys: one table, from which the line at the bottom and the help are made."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

from forklab.play.session import Session


@dataclass(frozen=True)
class Key:
    """What one key (or a few alike) does."""

    label: str  # as it stands on the screen
    name: str  # in a word or two, for the line at the bottom
    help: str  # in a sentence
    act: Callable[[Session, str], None]
    pressed: tuple[str, ...] = ()  # as the keyboard names them, if it is not the label


KEYS = (
    Key("c", "connect", "one more client connects, and is chosen", Session.connect),
    Key("s", "send", "the chosen client sends a line: type it, Enter", Session.ask_line),
    Key("e", "exit", 'it sends "exit", which ends a session from lab 3 on', Session.send_exit),
    Key("h", "half-close", "it sends no more, but listens (shutdown(2))", Session.half_close),
    Key("x", "close", "it leaves in good order (close(2))", Session.close),
    Key("X", "all", "every client leaves in good order", Session.close_all),
    Key("v", "vanish", "it is gone without a word: a reset, RST (tcp(7))", Session.vanish),
    Key("f", "freeze", "stops the server (SIGSTOP); again: it goes on (SIGCONT)", Session.freeze),
    Key(
        "d", "SIGCHLD", "sends that to the server, as the end of a child does", Session.send_sigchld
    ),
    Key("t", "SIGTERM", "asks the server to end", Session.send_sigterm),
    Key("r", "restart", "kills the server, and starts it again", Session.restart),
    Key(
        *("↑↓", "client", "choose another client; 1 to 9 does it by number", Session.choose_next),
        ("up", "down"),
    ),
    Key("1-9", "", "", Session.choose, tuple("123456789")),
    Key("Tab", "process", "show the signals of another process", Session.look_at_next, ("tab",)),
    Key("?", "help", "this page", Session.show_help),
    Key("q", "quit", "ends the server and all that came of it", Session.quit),
)
BY_KEY = {pressed: key for key in KEYS for pressed in key.pressed or (key.label,)}


def press(session: Session, key: str) -> None:
    """Does what a key stands for, at that moment."""
    if session.is_helping:
        session.is_helping = False
        return
    if session.prompt is not None:
        session.type(key)
    elif key in BY_KEY:
        session.begin()
        BY_KEY[key].act(session, key)
    else:
        session.message = "That key does nothing here: ? lists those that do."


# What a terminal sends -----------------------------------------------------------------------

_NAMES = {
    **{"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\b": "backspace"},
    **{"\x1b": "escape", "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down"},
}
_ONE = re.compile(r"\x1b\[[0-9;?]*[@-~]|\x1bO.|.", re.DOTALL)
_BEGUN = re.compile(r"\x1b(O|\[[0-9;?]*)?$")  # the beginning of a sequence, or the Escape key


class Decoder:
    """Makes keys of bytes, however a slow line cut them up."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun = ""

    @property
    def is_waiting(self) -> bool:
        """Whether an Escape came that may be the beginning of something longer."""
        return bool(self._begun)

    def keys(self, data: bytes) -> list[str]:
        """The keys pressed, by name or as they are. No data: no more came for a while."""
        text = self._begun + self._utf8.decode(data)
        self._begun = ""
        if data and (begun := _BEGUN.search(text)):
            text, self._begun = text[: begun.start()], begun.group()
        found = _ONE.findall(text)
        return [_NAMES.get(one, one) for one in found if len(one) == 1 or one in _NAMES]
