"""Serves the built site to this machine: `serve.py [PORT]`, a free port if none is given.

Exit status: 0 or 130 when interrupted, 2 usage, 4 where the port is taken.
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parents[2] / "build" / "docs"


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of the site, without a line for each."""

    def log_message(self, *_: object) -> None:
        pass


def main(words: list[str]) -> int:
    """Serves until it is interrupted. The exit status."""
    text = words[0] if words else "0"
    if len(words) > 1 or not text.isascii() or not text.isdigit() or int(text) > 65535:
        print(
            f"{' '.join(words)} is no port. For example: make docs-serve PORT=8000",
            file=sys.stderr,
        )
        return 2
    handler = partial(Handler, directory=str(SITE))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(text)), handler)
    except OSError as problem:
        print(f"port {text} can't be had: {problem.strerror}", file=sys.stderr)
        return 4
    with server:
        try:
            print(f"http://127.0.0.1:{server.server_port}/    (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print()
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
