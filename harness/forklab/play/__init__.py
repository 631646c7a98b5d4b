"""``make play``: a full-screen view of one running server, with keys that play its clients.

``model`` is what is looked at, as data; ``view`` draws it; ``keys`` is the table of the keys,
``session`` what they do; ``terminal`` is where it happens.
"""

from __future__ import annotations

from contextlib import ExitStack

from forklab import contain
from forklab.build import DEBUGGED, compile_program, find_source
from forklab.play import keys, terminal, view
from forklab.play.session import Session
from forklab.play.terminal import Terminal
from forklab.server import reserve_port

REFRESH_SECONDS = 0.15
SOON_SECONDS = 0.03  # after a key, for what comes of it


def play(lab: str, path: str) -> bool:
    """Opens the view, until it is left. False if the program does not build.

    Raises UsageError where there is no terminal or no such program, KeyboardInterrupt if it was
    interrupted, and GraderError.
    """
    terminal.check()
    source = find_source(path)
    with ExitStack() as signals, contain.run_folder() as folder:
        print(f"Building {source} ...")
        binary = compile_program(source, folder / "plain", DEBUGGED).binary
        if binary is None:
            return False
        # A terminal that goes away says so twice. From here on, until all is cleared up, once is
        # enough.
        woken = signals.enter_context(terminal.signals_told())
        with (
            reserve_port() as port,
            Session(lab, path, binary, port, folder) as session,
            terminal.taken(woken) as ours,
        ):
            _loop(session, ours)
    return True


def _loop(session: Session, ours: Terminal) -> None:
    drawn: object = None
    soon = 0
    while not session.is_over:
        picture, size = session.look(), ours.size
        if (picture, size, ours.resizes) != drawn:  # drawing costs more than looking
            drawn = picture, size, ours.resizes
            ours.draw(view.draw(picture, *size, only_ascii=ours.only_ascii))
        pressed = ours.keys(SOON_SECONDS if soon else REFRESH_SECONDS)
        soon = 3 if pressed else max(0, soon - 1)
        for key in pressed:
            keys.press(session, key)
