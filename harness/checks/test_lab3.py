"""Lab 3: no zombies, because the parent ignores SIGCHLD; and a command in a byte stream."""

from forklab.clients import Clients
from forklab.launch import Launcher
from forklab.lessons import (
    crowds,
    descriptors,
    echoing,
    memory,
    reaping,
    sessions,
    sigchld,
    starting,
    survival,
)
from forklab.rubric import check
from forklab.server import Server


@check(
    "3.1",
    "builds without warnings",
    points=5,
    gate=True,
    hints=[
        "Which line does the compiler name first? Later messages often follow from the first.",
        "signal and SIGCHLD are declared in <signal.h>, memcmp in <string.h>, read_line in net.h.",
        "is_exit 'defined but not used' goes when 3c calls it. undeclared, implicit declaration: "
        "#include <signal.h> or <string.h>. read_line wants &reader and &line, where line is a "
        "char *, and returns a ssize_t. expected ';': the end of the line above.",
    ],
)
def test_builds_without_warnings(launch: Launcher) -> None:
    """Compiled your server.c with cc -std=gnu17 -Wall -Wextra -g and labs/common."""
    starting.builds_without_warnings(launch)


@check(
    "3.2",
    "refuses bad arguments, listens on its port",
    points=5,
    gate=True,
    hints=[
        "This worked in labs 1 and 2. Run the server by hand: what does it say?",
        "parse_port says -1 for whatever is not a port; tcp_listen makes the listening socket, or "
        "says why not and returns -1.",
        "argc != 2 or parse_port(argv[1]) < 0: usage on stderr, return 2. tcp_listen(port) < 0: "
        "return 1.",
    ],
)
def test_refuses_bad_arguments_and_listens(launch: Launcher) -> None:
    """Started the server with a free port and looked whether it listens there; then with none, two
    and nine kinds of wrong arguments, and with the lowest and the highest port; killed it while a
    client was connected, and started it again on the same port."""
    starting.listens_then_refuses(launch)


@check(
    "3.3",
    "echoes lines, every byte",
    points=5,
    gate=True,
    hints=[
        "Which of the lines did not come back as it was sent? What is special about it?",
        "A line is what stands before a newline, however long and whatever bytes it holds. TCP "
        "knows no lines: one read can bring half of one. And the last one may lack its newline.",
        "while ((n = read_line(&reader, &line)) > 0) write_all(conn, line, n); read_line hands "
        "over long lines in pieces and the unfinished rest at the end.",
    ],
)
def test_echoes_lines(launch: Launcher, server: Server) -> None:
    """Sent lines short and empty, one of 10,000 bytes, one with NULs, one that ends with \\r\\n,
    random bytes, 64 KiB and more without a newline; in one segment, a line, an unfinished
    one and the end; then a stream to a server whose writes are cut short."""
    echoing.echoes_on_and_on_in_lines(launch, server)


@check(
    "3.4",
    "serves eight clients at once",
    points=10,
    hints=[
        "Draw your server's family with ps --forest while three clients are connected.",
        "accept, fork, close, and accept again: the parent serves nobody itself and waits for "
        "nobody. Each client has one child, and that child never returns to accept.",
        "switch (fork()) { case 0: ... serve_client(conn); _exit(0); default: close(conn); }",
    ],
)
def test_serves_eight_clients_at_once(server: Server, clients: Clients) -> None:
    """Counted the children with eight clients connected; then held a silent client and asked eight
    more in reverse order of connecting."""
    crowds.one_child_each(server, clients).close()
    crowds.serves_at_once(server, clients)


@check(
    "3.5",
    "keeps the right descriptors",
    points=10,
    needs="3.4",
    hints=[
        "Who has what open? Compare /proc/PID/fd of the parent and of a child.",
        "The parent needs the listener only, the child its connection only. And a child whose "
        "client has left must end.",
        "close(conn) in the parent, close(listener) in the child, _exit after serve_client.",
    ],
)
def test_keeps_the_right_descriptors(launch: Launcher, server: Server, clients: Clients) -> None:
    """Looked for the clients' connections among the parent's descriptors, with eight clients and
    after them; half-closed one; looked who still runs when all had left, and served 26 more at
    once, then eight that left at once; looked for the listening socket in the children."""
    descriptors.right_descriptors(server, clients, descriptors.served_crowd(server, clients))


@check(
    "3.6",
    "ignores SIGCHLD",
    points=15,
    hints=[
        "What does your parent do with SIGCHLD? grep Sig /proc/PID/status knows.",
        "Each signal has a disposition: the default, a handler, or to be ignored (signal(7)). For "
        "SIGCHLD, the default does nothing but keeps the zombies; to ignore it says that nobody "
        "will ask, so the kernel keeps none (wait(2), NOTES).",
        "signal(SIGCHLD, SIG_IGN); once in main, before the first fork.",
    ],
)
def test_ignores_sigchld(launch: Launcher, server: Server, clients: Clients) -> None:
    """Read the server's signal masks in /proc/PID/status, before and after a first client; what was
    there only after it had to be there at the first fork of another copy. The grader started the
    server with SIGCHLD at its default."""
    sigchld.ignores_sigchld(launch, server, clients)


@check(
    "3.7",
    "never a zombie",
    points=15,
    needs="3.4",
    hints=[
        "Who takes a child's exit status when the parent ignores SIGCHLD?",
        "Nobody: the kernel throws it away at once, so a child of such a parent never becomes a "
        "zombie, not even while the parent sleeps. A handler that reaps needs the parent to run.",
        "signal(SIGCHLD, SIG_IGN) before the accept loop, in the parent; no handler, no wait.",
    ],
)
def test_never_a_zombie(server: Server, clients: Clients) -> None:
    """Three bursts of sixteen clients came and went; in the first the parent was frozen (SIGSTOP)
    while its children ended. Looked for zombies all the time."""
    reaping.never_a_zombie(server, clients)


@check(
    "3.8",
    "`exit` ends the session",
    points=10,
    needs="3.4",
    hints=[
        "What arrives at the server when a user types exit and presses Enter? Count the bytes.",
        "Five: e, x, i, t and the newline. The server ends that session: it echoes nothing more "
        "and its child ends, which closes the connection. The other sessions go on.",
        'if (n == 5 && memcmp(line, "exit\\n", 5) == 0) return 0; before the echo (and the same '
        "with \\r\\n).",
    ],
)
def test_exit_ends_the_session(server: Server, clients: Clients) -> None:
    """Two clients spoke; one sent exit and a newline and had to see the end of the stream, nothing
    else, and its child had to end. The other had to be served on. Then the same with \\r\\n."""
    sessions.exit_ends_the_session(server, clients)


@check(
    "3.9",
    "`exit` is a line, not a message",
    points=10,
    needs="3.8",
    hints=[
        "Does one read bring one line? Always?",
        "TCP is a stream of bytes. What the client sent in one piece can come in two, and two "
        "pieces can come in one. Only the newlines say where lines begin and end.",
        "Collect bytes up to the newline (read_line does), and compare the whole line: its length "
        'and its bytes. strncmp(line, "exit", 4) also matches exits. And if reader.continued is '
        "true, what you have is the rest of a long line, whatever it looks like.",
    ],
)
def test_exit_is_a_line(server: Server, clients: Clients) -> None:
    """Sent exits, a space before exit, exit inside a line, after a lone \\r and before a NUL (all
    to be echoed); ex and it in two segments; three lines in one; exit at the end of long lines and,
    without a newline, of the stream; and exit after lines of 127 to 100,000 bytes."""
    sessions.exit_is_a_line(server, clients)


@check(
    "3.10",
    "survives clients that vanish",
    points=5,
    needs="3.4",
    hints=[
        "Which process notices that a client has vanished? What may happen to it, and what not?",
        "A child may die of SIGPIPE and nobody else minds. But it must end on read's -1 as well "
        "as on its 0.",
        "while ((n = read_line(...)) > 0): 0 is the end, -1 is a reset; both end the child, and "
        "so does write_all(...) < 0. Then _exit, and no kill: the parent stays in accept.",
    ],
)
def test_survives_clients_that_vanish(launch: Launcher, server: Server, clients: Clients) -> None:
    """One client stayed; one was silent for a while, spoke and reset; eight just reset; one sent
    until its child waited in write, and closed. Then the first and a new one had to be served, and
    one that was silent longer than the server's time-out for receiving, if it has one."""
    survival.survives_vanishing_clients(server, clients)
    clients.leave()
    survival.keeps_silent_clients(launch)


@check(
    "3.11",
    "survives a failed fork",
    points=5,
    needs="3.4",
    hints=[
        "fork has three kinds of answers. What does your program do with the third?",
        "-1 means that there is no child: too many processes, for now (EAGAIN). One client is "
        "lost, but the server and the others need not be.",
        'case -1: perror("fork"); break; and then close(conn) as in the parent\'s case. No exit.',
    ],
)
def test_survives_a_failed_fork(launch: Launcher) -> None:
    """Let the second call of fork fail with EAGAIN: its client had to see the connection close,
    nothing might stay open, and the client before and the one after had to be served."""
    survival.survives_failed_fork(launch)


@check(
    "3.12",
    "no memory errors",
    points=5,
    hints=[
        "Which line of your program stands at the top of the report, and what is the index there?",
        "A buffer of 4096 bytes has no place 4096. A line from read_line has no NUL behind it, so "
        "strcmp and strlen run on past it.",
        "Compare with memcmp and the length that you were given; check n before you use it.",
    ],
)
def test_no_memory_errors(launch: Launcher) -> None:
    """Built your program with AddressSanitizer and UndefinedBehaviorSanitizer and sent it what the
    other checks send: lines, all bytes, 100 KB, clients that reset and leave, and exit."""
    memory.no_memory_errors(launch, memory.memory_traffic)
