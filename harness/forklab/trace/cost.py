"""What tracing costs: the figures that `make bench` prints."""

from __future__ import annotations

import time
from pathlib import Path

from forklab.build import DEBUGGED, compile_program
from forklab.clients import Clients
from forklab.server import Server, reserve_port
from forklab.trace.model import Trace
from forklab.trace.page import page
from forklab.trace.places import Program
from forklab.trace.record import find_strace, record
from forklab.trace.scenarios import HELLO

CONNECTIONS = 100
PROCESSES = 50


def costs(source: Path, folder: Path) -> tuple[float, float, int] | None:
    """Seconds for so many connections without strace and recorded, and a page's size in bytes.

    One after another in both, waiting in between until all is quiet; the page is one with
    PROCESSES processes. None where there is no strace. Raises GraderError.
    """
    tool = find_strace()
    binary = compile_program(source, folder / "build", DEBUGGED).binary
    if tool is None or binary is None:
        return None
    program = Program(binary, source.name, source.read_bytes())
    began = time.monotonic()
    _without_strace(binary, folder / "server")
    untraced = time.monotonic() - began
    trace = Trace("lab4", "server.c", "turns", CONNECTIONS)
    began = time.monotonic()
    record(trace, program, folder / "many", tool)
    recorded = time.monotonic() - began
    drawn = Trace("lab4", "server.c", "together", PROCESSES - 1)
    record(drawn, program, folder / "page", tool)
    return untraced, recorded, len(page(drawn).encode())


def _without_strace(binary: Path, folder: Path) -> None:
    with reserve_port() as port, Server(binary, [str(port)], port, folder) as server:
        server.wait_for(server.is_listening)
        with Clients(server) as clients:
            for _ in range(CONNECTIONS):
                client = clients.connect()
                client.ask(HELLO)
                server.settle()
                client.close()
                server.settle()
