"""Lab 2: a child process for every client."""

from collections.abc import Callable

from forklab.clients import Clients
from forklab.evidence import process_table
from forklab.launch import Launcher
from forklab.lessons import crowds, descriptors, echoing, memory, starting, survival, traffic
from forklab.result import Evidence
from forklab.rubric import check, expect
from forklab.server import Server


@check(
    "2.1",
    "builds without warnings",
    points=5,
    gate=True,
    hints=[
        "Which line does the compiler name first? Later messages often follow from the first.",
        "fork, close and _exit are declared in <unistd.h>. What the lab gives you stands in net.h "
        "and safe_log.h. A function that you no longer use is a warning too: remove it.",
        "may fall through: the case above lacks its break (or, in the child, its _exit). unused: "
        "remove it, or do the step that uses it. undeclared, implicit declaration: #include the "
        "header that man 2 shows. expected ';': the end of the line above.",
    ],
)
def test_builds_without_warnings(launch: Launcher) -> None:
    """Compiled your server.c with cc -std=gnu17 -Wall -Wextra -g and labs/common."""
    starting.builds_without_warnings(launch)


@check(
    "2.2",
    "refuses bad arguments, says when the port is taken",
    points=5,
    hints=[
        "This worked in lab 1. What is different now?",
        "parse_port says -1 for whatever is not a port, and tcp_listen says -1 after it has told "
        "why. Both answers must reach main's return.",
        "argc != 2 or parse_port(argv[1]) < 0: a usage line on stderr and return 2. "
        "tcp_listen(port) < 0: return 1.",
    ],
)
def test_refuses_bad_arguments(launch: Launcher) -> None:
    """Started the server with none, two and nine kinds of wrong arguments, and with the lowest and
    the highest port; then a second copy on the port of the first: looked for words, exit statuses
    and listening sockets. Killed it while a client was connected, and started it again."""
    starting.refuses_bad_arguments(launch)
    starting.says_when_the_port_is_taken(launch)
    starting.restarts_at_once(launch)


@check(
    "2.3",
    "listens on its port",
    points=5,
    gate=True,
    hints=[
        "Is the server still there a moment after its start? Run it by hand: what does it say?",
        "tcp_listen from net.h makes the listening socket. The parent keeps it open for good.",
        "int listener = tcp_listen(port); if (listener < 0) return 1; and no close(listener) in "
        "the parent.",
    ],
)
def test_listens_on_its_port(launch: Launcher) -> None:
    """Started the server with a free port and looked, without connecting, whether it or a child of
    it has a socket that listens there."""
    starting.listens_on_its_port(launch)


@check(
    "2.4",
    "echoes every byte",
    points=5,
    gate=True,
    hints=[
        "Which process reads from the connection now, and has it still open when it does?",
        "The child got a copy of the parent's descriptors. What the parent closes stays open in "
        "the child, and the other way round. The echo itself is lab 1's.",
        "In the child: close(listener), serve_client(conn), _exit. In the parent: close(conn). If "
        "the bytes are wrong, compare your loop with lab 1's: n bytes, not strlen.",
    ],
)
def test_echoes_every_byte(launch: Launcher, server: Server) -> None:
    """Sent three messages on one connection; then text with a NUL in it, all 256 byte values, a run
    of NULs, 100 KB of random bytes, bytes without a newline and words like exit; in one segment,
    text and the end of the stream; then a stream to a server whose writes are cut short."""
    echoing.echoes_on_and_on(launch, server)


@check(
    "2.5",
    "serves eight clients at once",
    points=15,
    hints=[
        "Which line of your program keeps the parent busy while a client is connected?",
        "The parent's only work is accept, fork, close its copy of the connection, and accept "
        "again: so it keeps the listener. If it serves a client itself, or waits for the child to "
        "end, everybody else waits too.",
        "switch (fork()) { case 0: ... serve_client(conn); _exit(0); default: close(conn); } and "
        "no wait() or waitpid(pid, ..., 0) after it.",
    ],
)
def test_serves_eight_clients_at_once(server: Server, clients: Clients) -> None:
    """Connected a client that stays silent, then eight more, and asked them in reverse order of
    connecting: a server that takes them one by one cannot answer the last one first."""
    crowds.serves_at_once(server, clients)


@check(
    "2.6",
    "one child for each client",
    points=10,
    needs="2.5",
    hints=[
        "Draw your server's family with ps --forest while three clients are connected.",
        "fork comes after accept: one connection, one child. A child serves its client and never "
        "comes back to accept, or it forks children of its own.",
        "for (;;) { conn = accept(...); switch (fork()) { case 0: close(listener); "
        "serve_client(conn); _exit(0); ... } close(conn); } and no other fork, nor a thread.",
    ],
)
def test_one_child_for_each_client(server: Server, clients: Clients) -> None:
    """Counted the server's children before anybody came, and with eight clients connected."""
    crowds.one_child_each(server, clients).close()


@check(
    "2.7",
    "the parent lets go of the connection",
    points=10,
    needs="2.6",
    hints=[
        "How many descriptors does the parent have open after five clients? ls -l /proc/PID/fd.",
        "After fork, two processes have the connection open. TCP says good-bye when the last of "
        "them has closed it. A parent that keeps it runs out of descriptors, and its clients "
        "never see the end.",
        "close(conn) in the parent, right after fork, also when fork failed.",
    ],
)
def test_parent_lets_go_of_the_connection(server: Server, clients: Clients) -> None:
    """Looked for the clients' connections among the parent's descriptors, with eight clients and
    after them; one of them half-closed and had to see the end of the stream."""
    descriptors.parent_lets_go(server, descriptors.served_crowd(server, clients))


@check(
    "2.8",
    "the child lets go of the listener",
    points=10,
    needs="2.6",
    hints=[
        "What is open in a child that it never uses? ls -l /proc/PID/fd of a child.",
        "The child's copy of the listening socket keeps the port taken after the parent has gone, "
        "for as long as any client stays: nobody can start the server again.",
        "close(listener) as the child's first line.",
    ],
)
def test_child_lets_go_of_the_listener(server: Server, clients: Clients) -> None:
    """Looked for the listening socket among the open descriptors of eight children."""
    crowd = descriptors.served_crowd(server, clients)
    descriptors.children_let_go(descriptors.children_with_the_listener(server), crowd)


@check(
    "2.9",
    "the child ends with its client",
    points=10,
    needs="2.6",
    hints=[
        "What does read return when the client has gone, and what does your child do then?",
        "read returns 0 at the end of the stream, again and again, without waiting. And when the "
        "child has left its loop, it must end, not fall through to the parent's accept.",
        "while ((n = read(...)) > 0) ... and after serve_client(conn): _exit(0).",
    ],
)
def test_child_ends_with_its_client(server: Server, clients: Clients) -> None:
    """Eight clients connected, spoke and left; then looked who still runs, and sent 26 more,
    then eight that left at once."""
    descriptors.children_end(server, descriptors.served_crowd(server, clients))
    crowds.serves_many(server, clients)


@check(
    "2.10",
    "says each thing once",
    points=5,
    needs="2.6",
    hints=[
        "Run the server with its output in a file. How often does its first line stand there?",
        "printf keeps text in a buffer; on a terminal it is written at each newline, in a file "
        "only when the buffer is full or the process exits. fork copies the buffer, and exit in "
        "the child writes the copy.",
        "End the child with _exit, which leaves stdio alone, and log with safe_log, or call "
        "fflush(stdout) before fork.",
    ],
)
def test_says_each_thing_once(launch: Launcher) -> None:
    """Ran five clients twice, with stdout line-buffered as on a terminal and with stdout in a file,
    and compared how often each line was written."""
    crowds.says_each_thing_once(launch)


@check(
    "2.11",
    "leaves its zombies",
    points=5,
    needs="2.9",
    hints=[
        "What is left of a process that has ended, and who needs it?",
        "Its exit status waits for the parent to ask (wait(2)). Until then the process is a "
        "zombie: it runs no more, but its line in the process table stays.",
        "In this lab nobody asks: leave out wait, waitpid and signal(SIGCHLD, ...). The next two "
        "labs are about them.",
    ],
)
def test_leaves_its_zombies(
    server: Server, clients: Clients, show: Callable[[Evidence], None]
) -> None:
    """Eight clients came and went; waited until all was quiet, and counted the zombies; then once
    more when another client had come."""
    crowd = clients.crowd(8)
    crowd.greet()
    crowd.close()
    server.wait_for(lambda: not server.living())
    for another in (False, True):
        if another:
            clients.connect().ask(traffic.HELLO)
        server.wait_for(lambda: len(server.zombies()) < len(crowd))  # would one be reaped yet?
        zombies = server.zombies()
        expect(
            len(zombies) == len(crowd),
            expected=f"{len(crowd)} zombies: nobody has asked how the children ended",
            seen=f"{len(zombies)} zombies: your server already reaps its children",
            evidence=process_table(server),
            diagnosis="reaps-already",
        )
    show(process_table(server))


@check(
    "2.12",
    "survives clients that vanish",
    points=5,
    needs="2.5",
    hints=[
        "Which process notices that a client has vanished? What may happen to it, and what not?",
        "A child may die of SIGPIPE and nobody else minds. But the parent must not act on what "
        "becomes of one child, and a child must end on read's -1 as well as on its 0.",
        "while ((n = read(conn, ...)) > 0): 0 is the end, -1 is a reset; both end the child, and "
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
    "2.13",
    "survives a failed fork",
    points=5,
    needs="2.6",
    hints=[
        "fork has three kinds of answers. What does your program do with the third?",
        "-1 means that there is no child: too many processes, for now (EAGAIN). It is not the "
        "child's 0 and no pid. One client is lost, but the server and the others need not be.",
        'case -1: perror("fork"); break; and then close(conn) as in the parent\'s case. No exit.',
    ],
)
def test_survives_a_failed_fork(launch: Launcher) -> None:
    """Let the second call of fork fail with EAGAIN: its client had to see the connection close,
    nothing might stay open, and the client before and the one after had to be served."""
    survival.survives_failed_fork(launch)


@check(
    "2.14",
    "no memory errors",
    points=5,
    hints=[
        "Which line of your program stands at the top of the report, and what is the index there?",
        "A buffer of 4096 bytes has no place 4096. And read returns -1 when it fails: as an index "
        "or a length that lies before the buffer, or is enormous.",
        "Check n before you use it, and don't write buffer[n] = '\\0': you don't need a string.",
    ],
)
def test_no_memory_errors(launch: Launcher) -> None:
    """Built your program with AddressSanitizer and UndefinedBehaviorSanitizer and sent it what the
    other checks send: text, all bytes, 100 KB, clients that reset and leave."""
    memory.no_memory_errors(launch, memory.memory_traffic)
