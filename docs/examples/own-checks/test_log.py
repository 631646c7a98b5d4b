"""Lab 3: the server's log names its clients."""

from forklab.clients import Clients
from forklab.evidence import last_words
from forklab.launch import Launcher
from forklab.rubric import check, expect


@check(
    "3.20",
    "logs who connects",
    points=10,
    needs="3.3",
    hints=[
        "Run the server by hand and connect: what does it say about you?",
        "accept fills in who the peer is. Which line of your program tells it to the log?",
        'log_client(&peer, "connected") after accept, before the fork.',
    ],
)
def test_logs_who_connects(launch: Launcher) -> None:
    """Three clients connected and each was echoed a line; looked for their ports in what the server
    had written to stdout, which was line-buffered as on a terminal."""
    probe = launch.new_probe()
    probe.buffer_lines()  # stdout is a file here: printf would keep its lines back
    server = launch.listening(probe=probe)
    with Clients(server, launch.habits.greeting) as clients:
        crowd = clients.crowd(3)
        crowd.greet()
        lines = [b"client 127.0.0.1:%d connected" % client.port for client in crowd]
        expect(
            server.wait_for(lambda: all(line in server.stdout for line in lines)),
            expected="a line `client 127.0.0.1:PORT connected` for each of three clients",
            seen=lambda: f"{sum(line in server.stdout for line in lines)} of the three lines",
            evidence=lambda: last_words(server),
            diagnosis="does-not-log-clients",
        )
