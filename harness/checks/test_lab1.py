"""Lab 1: an echo server that serves one client at a time."""

from functools import partial

from forklab.clients import Clients
from forklab.echoes import expect_echo
from forklab.evidence import process_table, transcript
from forklab.launch import Launcher
from forklab.lessons import crowds, descriptors, echoing, memory, starting, survival, traffic
from forklab.rubric import check, expect
from forklab.server import Server


@check(
    "1.1",
    "builds without warnings",
    points=5,
    gate=True,
    hints=[
        "Which line does the compiler name first? Later messages often follow from the first.",
        "A function that the compiler does not know lacks its header: the man page's SYNOPSIS "
        "names it (man 2 accept). A comparison of signed and unsigned means that a read's -1 can "
        "be taken for a huge number. What is unused belongs to a step still to come, or goes.",
        "The starter includes what the lab needs, but for memset and the like: #include "
        "<string.h>. Keep what read and write return in a ssize_t, look whether it is < 0, and "
        "only then make a (size_t) of it. expected ';' means the end of the line above.",
    ],
)
def test_builds_without_warnings(launch: Launcher) -> None:
    """Compiled your server.c with cc -std=gnu17 -Wall -Wextra -g."""
    starting.builds_without_warnings(launch)


@check(
    "1.2",
    "refuses bad arguments",
    points=5,
    hints=[
        "What does your program make of the text 8080x? And of no text at all?",
        "atoi cannot say that something is wrong: it turns abc into 0 and 8080x into 8080. strtol "
        "tells where the number ended. And htons keeps only 16 bits, so 70000 becomes 4464.",
        "First look at argc. Then: does the text begin with a digit, did strtol stop at its end "
        "(*end == '\\0'), is the number from 1 to 65535? If not: a usage line on stderr, return 2.",
    ],
)
def test_refuses_bad_arguments(launch: Launcher) -> None:
    """Started the server with none, two and with nine kinds of wrong arguments, and looked for
    words, an exit status and listening sockets; then with the lowest and the highest port."""
    starting.refuses_bad_arguments(launch)


@check(
    "1.3",
    "listens on its port",
    points=5,
    gate=True,
    hints=[
        "Is the server still there a moment after its start? Run it by hand: what does it say?",
        "A server socket takes these calls in a row: socket, setsockopt, bind, listen; only then "
        "can accept have a client. The port goes into the address in network byte order, and it "
        "comes from the command line. The process that was started does all this itself, and "
        "stays.",
        "sin_family = AF_INET, sin_port = htons(port), sin_addr.s_addr = htonl(INADDR_ANY); then "
        "bind, then listen. Check each call's return value and perror the one that says -1.",
    ],
)
def test_listens_on_its_port(launch: Launcher) -> None:
    """Started the server with a free port and looked, without connecting, whether it or a child of
    it has a socket that listens there."""
    starting.listens_on_its_port(launch)


@check(
    "1.4",
    "says when the port is taken",
    points=5,
    hints=[
        "What does bind return when somebody else has the port, and where does it say why?",
        "A failed system call returns -1 and leaves the reason in errno. perror prints the name "
        "you give it and the reason in words.",
        'if (bind(...) < 0) { perror("bind"); ... return -1; } and in main: end with a status '
        "other than 0.",
    ],
)
def test_says_when_the_port_is_taken(launch: Launcher) -> None:
    """Started a second copy on the port that the first one has."""
    starting.says_when_the_port_is_taken(launch)


@check(
    "1.5",
    "echoes one client",
    points=10,
    gate=True,
    hints=[
        "Look at what was sent and what came back, byte for byte. Where do they part?",
        "An echo sends back the bytes that came, just those, as often as some come. Nothing before "
        "them, nothing after, no line made prettier.",
        "Loop: n = read(conn, buffer, sizeof(buffer)); stop at n <= 0; write exactly n bytes of "
        "the buffer back. Not strlen(buffer), not sizeof(buffer).",
    ],
)
def test_echoes_one_client(launch: Launcher, server: Server) -> None:
    """Sent three messages on one connection, each after the answer to the one before."""
    with Clients(server) as clients:
        echoing.echoes_one_client(launch, server, clients)


@check(
    "1.6",
    "echoes every byte",
    points=10,
    hints=[
        "How does your program know how many bytes came?",
        "What read brings is bytes, not a string: no NUL stands behind it, and NULs may stand in "
        "it. strlen, printf with %s, strcpy and fputs all stop at a NUL or run past the end, and "
        "fgets does not say how many bytes it brought.",
        "n = read(conn, buffer, sizeof(buffer)) is the length: give write_all that n, and leave "
        "strlen, fgets and %s out of serve_client. No newline and no word (exit) is special here.",
    ],
)
def test_echoes_every_byte(clients: Clients) -> None:
    """Sent text with a NUL in it, all 256 byte values, a run of NULs, 100 KB of random bytes; bytes
    without a newline, and words like exit; and, in one segment, text and the end of the stream."""
    echoing.echoes_every_byte(clients.connect())


@check(
    "1.7",
    "echoes a long stream whole",
    points=10,
    hints=[
        "What does write return, and does your program look at it?",
        "write may take only a part of what you give it: what the socket's buffer has room for. "
        "That is not an error. The rest is yours to write again.",
        "A loop around write: while bytes are left, write them; on -1 with EINTR try again, on "
        "another -1 give up; else move the pointer on by what was taken.",
    ],
)
def test_echoes_a_long_stream_whole(launch: Launcher, clients: Clients) -> None:
    """Sent more than all buffers hold, in odd-sized pieces, and read slowly; then 12 KB to a server
    whose every write to a socket takes at most 7 bytes, as a nearly full buffer does."""
    echoing.echoes_a_long_stream(clients)
    echoing.survives_short_writes(launch)


@check(
    "1.8",
    "serves clients in turn",
    points=10,
    hints=[
        "What does your server do after its first client has left?",
        "accept is for one client. The next one needs the next call of accept, on the same "
        "listening socket, which must stay open. So what serves a client has to come to an end.",
        "for (;;) { conn = accept(listener, ...); serve it; close(conn); } with no break, no "
        "counter and no close(listener) inside; and the loop that serves ends at read's 0 and -1.",
    ],
)
def test_serves_clients_in_turn(server: Server, clients: Clients) -> None:
    """Forty clients, one after the other, each with a message of its own."""
    for number in range(1, 41):
        client = clients.connect()
        got = traffic.ask_number(client, number)
        expect(
            got == b"message %d\n" % number,
            expected="an echo for each of forty clients, one after the other",
            seen=f"client number {number} got {'another answer' if got else 'no answer'}",
            evidence=partial(transcript, client),
            diagnosis=survival.unless_spinning(server, got, "stops-after-n-clients"),
        )
        client.close()


@check(
    "1.9",
    "makes the second client wait",
    points=10,
    hints=[
        "Who accepts the second client's connection while your server reads from the first?",
        "The kernel does: connections wait in the queue whose length listen sets, and their data "
        "waits with them. One process in one read cannot look after two clients.",
        "Read from one client until its end, close it, then accept the next; and give listen room "
        "for those who wait: SOMAXCONN. "
        "If your server forks or uses threads, keep that for the next lab.",
    ],
)
def test_makes_the_second_client_wait(server: Server, clients: Clients) -> None:
    """Client A connected and got its echo. Client B connected (the kernel accepts it) and sent two
    lines; the grader waited until everything slept, A was served again, three more connected, then
    A left."""
    first = clients.connect()
    expect_echo(first, b"A is here\n")
    second = clients.connect()
    lines = b"B is here\nB is still here\n"
    second.send(lines)
    server.wait_for(lambda: second.pump())
    expect(
        not second.received,
        expected="client B hears nothing as long as client A is there",
        seen="client B was served beside client A",
        evidence=lambda: [*transcript(first, second), process_table(server)],
        diagnosis="serves-both-at-once",
    )
    expect(
        second.ended is None,
        expected="client B waits in the queue",
        seen="client B was turned away",
        evidence=lambda: transcript(second),
        diagnosis="drops-the-waiting-client",
    )
    expect_echo(first, b"A is still here\n", others=[second])
    others = clients.crowd(3)
    left_out = [one for one in others if not one.is_connected]
    expect(
        not left_out,
        expected="a queue with room for four clients that wait (listen's backlog)",
        seen=f"{len(left_out)} of them can't even connect: the queue is too short",
        evidence=lambda: transcript(first, second, *others),
        diagnosis="short-queue",
    )
    others.close()
    first.close()
    got = second.receive(len(lines))
    expect(
        got == lines,
        expected="client B gets all of its echo once client A has left",
        seen=f"{len(got)} of {len(lines)} bytes",
        evidence=lambda: transcript(first, second),
        diagnosis=survival.unless_spinning(server, got, "drops-the-waiting-client"),
    )


@check(
    "1.10",
    "survives a client that vanishes",
    points=10,
    hints=[
        "What happens to a process that writes to a connection whose other end is gone?",
        "The first write after the end is answered with a reset; the next one raises SIGPIPE, "
        "whose default is to kill the process (signal(7)). And read returns 0 at the end and -1 "
        "after a reset: both mean that this client is done.",
        "signal(SIGPIPE, SIG_IGN) once in main, so that write returns -1 with EPIPE instead; then "
        "leave the loop of this client on any n <= 0 and on a write that fails, close it, and "
        "accept the next.",
    ],
)
def test_survives_a_client_that_vanishes(
    launch: Launcher, server: Server, clients: Clients
) -> None:
    """One client said nothing for a while and left, eight reset their connections. Another sent 60
    KB while the server was frozen (SIGSTOP) and closed without reading: thawed, the server wrote to
    a client that was gone. After each the server had to be asleep, and at last serve the next. Then
    one was silent longer than the server's time-out for receiving, if it has one, made short."""
    survival.survives_vanishing_clients(server, clients, others=False)
    clients.leave()
    survival.keeps_silent_clients(launch)


@check(
    "1.11",
    "gives its descriptors back",
    points=5,
    needs="1.8",
    hints=[
        "Look at /proc/PID/fd of your server before and after a few clients. What is left?",
        "accept makes a new descriptor for every client. It stays open until you close it, and a "
        "process may have only so many (ulimit -n).",
        "close(conn) after each client, on every way out of its loop, also after an error.",
    ],
)
def test_gives_its_descriptors_back(launch: Launcher) -> None:
    """Compared the server's open descriptors before and after twenty clients, every second of which
    reset its connection (none, if that ends the server)."""
    descriptors.gives_descriptors_back(launch)


@check(
    "1.12",
    "restarts at once",
    points=5,
    hints=[
        "Which state are the old server's connections in after it was killed? ss -tan shows them.",
        "The old connections live on in the kernel for a while (TIME_WAIT and its kin), and they "
        "still have the port. bind refuses it then, unless you asked for otherwise beforehand.",
        "Between socket and bind: int yes = 1; setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, "
        "&yes, sizeof(yes));",
    ],
)
def test_restarts_at_once(launch: Launcher) -> None:
    """Killed the server while a client was connected, and started it again on the same port."""
    starting.restarts_at_once(launch)


@check(
    "1.13",
    "stays one process",
    points=5,
    hints=[
        "How many processes does ps show of your server while a client is connected?",
        "An iterative server is one process with one thread. That it makes others wait is its "
        "limit, and the reason for the next lab.",
        "Leave fork and pthread_create out of this lab.",
    ],
)
def test_stays_one_process(server: Server, clients: Clients) -> None:
    """Counted processes and threads with a client connected and after it."""
    crowds.stays_one_process(server, clients)


@check(
    "1.14",
    "no memory errors",
    points=5,
    hints=[
        "Which line of your program stands at the top of the report, and what is the index there?",
        "A buffer of 4096 bytes has no place 4096. read returns -1 when it fails: as an index or "
        "a length that lies before the buffer, or is enormous. And no NUL stands behind what it "
        "brings, so %s and strlen run on past it.",
        "Check n before you use it. Don't write buffer[n] = '\\0': you don't need a string. If you "
        "must, read at most sizeof(buffer) - 1 bytes.",
    ],
)
def test_no_memory_errors(launch: Launcher) -> None:
    """Built your program with AddressSanitizer and UndefinedBehaviorSanitizer and sent it what the
    other checks send: text, all bytes, 100 KB, clients that reset and leave."""
    memory.no_memory_errors(launch, memory.memory_traffic)
