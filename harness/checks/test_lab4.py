"""Lab 4: sigaction and waitpid; every child is reaped, and its end is told."""

import errno
import signal

from forklab.clients import Clients
from forklab.evidence import process_table, signal_table
from forklab.launch import Launcher
from forklab.lessons import (
    crowds,
    descriptors,
    echoing,
    memory,
    reaping,
    sessions,
    shutdown,
    sigchld,
    starting,
    survival,
    telling,
    traffic,
)
from forklab.rubric import check, expect
from forklab.server import Server


@check(
    "4.1",
    "builds without warnings",
    points=5,
    gate=True,
    hints=[
        "Which line does the compiler name first? Later messages often follow from the first.",
        "sigaction and kill are declared in <signal.h>, waitpid and WIFEXITED in <sys/wait.h>, "
        "errno in <errno.h>. A handler must take an int, even if it does not use it. What a later "
        "step will use may wait for that step.",
        "unused parameter: (void)signal_number; in the handler. defined but not used: 4c uses "
        "what 4a and 4b define, 4k what 4i does. undeclared, implicit declaration, undefined "
        "reference to WIFEXITED: #include <sys/wait.h>, <signal.h>, <errno.h>.",
    ],
)
def test_builds_without_warnings(launch: Launcher) -> None:
    """Compiled your server.c with cc -std=gnu17 -Wall -Wextra -g and labs/common."""
    starting.builds_without_warnings(launch)


@check(
    "4.2",
    "refuses bad arguments, listens on its port",
    points=5,
    gate=True,
    hints=[
        "This worked in the labs before. Run the server by hand: what does it say?",
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
    "4.3",
    "echoes lines and obeys `exit`",
    points=5,
    gate=True,
    hints=[
        "What went wrong: a line on its way back, the end of a session, or the server itself, "
        "when its first client had left?",
        "A line is what stands before a newline, whatever bytes it holds and however TCP cuts it "
        "up; one that is exactly exit ends the session. When a child has ended, your handler runs "
        "in the middle of accept: it has to return, and accept may say -1 with EINTR.",
        "Lab 3's serve_client does the lines: read_line, is_exit, write_all. After a client: the "
        "handler's loop goes on while waitpid says > 0 and no longer, and the accept loop goes "
        "on if (errno == EINTR).",
    ],
)
def test_echoes_lines_and_obeys_exit(launch: Launcher, server: Server) -> None:
    """Sent lines short, long, with NULs, with \\r\\n, unfinished, and 64 KiB without a newline;
    then exit in one piece and in two, alone, between other lines, after lines of many lengths and
    without a newline, and words that only look like it."""
    echoing.echoes_on_and_on_in_lines(launch, server, and_then=sessions.obeys_exit)


@check(
    "4.4",
    "serves eight clients at once, with the right descriptors",
    points=5,
    hints=[
        "Draw your server's family with ps --forest while three clients are connected, and look "
        "into /proc/PID/fd of the parent and of a child.",
        "The parent only accepts and forks. It keeps the listener and lets go of the connection; "
        "the child lets go of the listener, serves, and ends.",
        "case 0: close(listener); serve_client(conn); _exit(0); and after the switch: close(conn).",
    ],
)
def test_serves_eight_clients_at_once(launch: Launcher, server: Server, clients: Clients) -> None:
    """Counted children with eight clients; looked for their connections in the parent and for the
    listener in the children; 26 more at once, then eight that left at once; then held a silent
    client and asked eight more in reverse order."""
    crowd = crowds.one_child_each(server, clients)
    descriptors.right_descriptors(server, clients, crowd)
    crowds.serves_at_once(server, clients)


@check(
    "4.5",
    "catches SIGCHLD, and goes on catching",
    points=10,
    hints=[
        "What does grep Sig /proc/PID/status say before the first child ends, and after?",
        "sigaction installs a handler that stays. signal() has two meanings: with -std=c17 or "
        "_XOPEN_SOURCE the handler is gone after one delivery (signal(2), Portability).",
        "struct sigaction action = { .sa_handler = reap_children, .sa_flags = SA_RESTART }; "
        "sigemptyset(&action.sa_mask); sigaction(SIGCHLD, &action, NULL); in place of lab 3's "
        "signal(SIGCHLD, SIG_IGN), before tcp_listen.",
    ],
)
def test_catches_sigchld_and_goes_on(launch: Launcher, server: Server, clients: Clients) -> None:
    """Read the server's signal masks in /proc/PID/status, sent it SIGCHLD three times, and read
    them again."""
    sigchld.takes_sigchld(launch, server, clients)


@check(
    "4.6",
    "reaps a lone child at once",
    points=5,
    needs="4.4",
    hints=[
        "When does your program call waitpid: when a child ends, or at some later time?",
        "The kernel sends SIGCHLD at the moment a child ends. Reaping belongs into what that "
        "signal starts, not into the accept loop, which may sleep for hours.",
        "waitpid(-1, &status, WNOHANG) in reap_children, and sigaction installs that for SIGCHLD "
        "before the loop. If it is there and never runs, SigBlk in /proc/PID/status tells: after "
        "fork, sigprocmask(SIG_SETMASK, &usual, NULL) on every way.",
    ],
)
def test_reaps_a_lone_child_at_once(launch: Launcher, server: Server, clients: Clients) -> None:
    """One client came and left, and no other came after it: waited for its child to be reaped."""
    reaping.must_reap_itself(launch, server)
    client = clients.connect()
    client.ask(traffic.HELLO)
    client.close()
    if server.wait_for(lambda: not server.children()):
        return
    left = [process_table(server), signal_table(server.signal_masks())]
    another = clients.connect()
    another.ask(traffic.HELLO)
    reaped_now = server.wait_for(lambda: not server.zombies())
    expect(
        False,
        expected="no zombie, a moment after the only child has ended",
        seen="its child is a zombie until the next client comes"
        if reaped_now
        else "its child is a zombie, also after another client came",
        evidence=left,
        diagnosis="reaps-on-next-accept" if reaped_now else reaping.why_never(server),
    )


@check(
    "4.7",
    "reaps every child of a burst",
    points=15,
    needs="4.4",
    hints=[
        "How many children does one call of your handler reap?",
        "Signals do not queue: eight children that end while SIGCHLD is pending make one SIGCHLD. "
        "One delivery may stand for many children (signal(7), 'Queueing').",
        "while ((pid = waitpid(-1, &status, WNOHANG)) > 0) ... : until it says 0 (some live, none "
        "has ended) or -1 (there are none).",
    ],
)
def test_reaps_every_child_of_a_burst(launch: Launcher, server: Server, clients: Clients) -> None:
    """24 clients connected. The server was frozen (SIGSTOP), all left, their children ended; so all
    24 exits met one pending SIGCHLD. Then it was thawed and the zombies counted. If there were any,
    once more with eight clients."""
    reaping.must_reap_itself(launch, server)
    reaping.reaps_a_burst(launch, server, clients)


@check(
    "4.8",
    "never waits inside the handler",
    points=10,
    needs="4.4",
    hints=[
        "What does your handler's last waitpid do when one child still lives?",
        "wait() and waitpid(-1, &status, 0) sleep until some child ends. In a handler the whole "
        "server sleeps with them, and no new client is accepted.",
        "waitpid(-1, &status, WNOHANG) says 0 when children live but none has ended: stop there.",
    ],
)
def test_never_waits_inside_the_handler(launch: Launcher, server: Server, clients: Clients) -> None:
    """One client stayed, one left, and a SIGCHLD came by hand (a signal may come for nothing). Then
    a third client had to be served."""
    reaping.must_reap_itself(launch, server)
    stays, leaves = clients.connect(), clients.connect()
    stays.ask(traffic.HELLO)
    leaves.ask(traffic.HELLO)
    leaves.close()
    server.wait_for(lambda: len(server.children()) < 2)
    server.kill(signal.SIGCHLD)
    at_rest = server.settle()
    third = clients.connect()
    survival.expect_service(
        server,
        third,
        "for a third client, while the first is still there",
        "blocks-in-handler" if at_rest else "handler-never-ends",
    )


@check(
    "4.9",
    "accept survives SIGCHLD",
    points=10,
    needs="4.4",
    hints=[
        "What does accept return when a signal handler ran while it waited?",
        "-1 with EINTR, unless the handler was installed with SA_RESTART. That is no error: "
        "nothing was accepted yet. And not every call is restarted (signal(7)), so be ready.",
        "if (conn < 0) { if (errno == EINTR) continue; ... } and SA_RESTART in sa_flags.",
    ],
)
def test_accept_survives_sigchld(launch: Launcher, server: Server, clients: Clients) -> None:
    """Sent the sleeping server SIGCHLD fifty times; then let one call of accept fail with EINTR in
    another copy. Both had to go on and serve."""
    reaping.must_reap_itself(launch, server)
    for _ in range(50):
        if not server.wait_for(lambda: server.sleeps(server.pid)):
            break
        server.kill(signal.SIGCHLD)
    server.settle()
    survival.expect_alive(
        server, "after SIGCHLD has interrupted accept (EINTR)", diagnosis="dies-on-eintr"
    )
    survival.expect_service(server, clients.connect(), "after fifty SIGCHLDs", "dies-on-eintr")
    clients.leave()
    survival.survives_failed_accept(launch, errno.EINTR, "dies-on-eintr")


@check(
    "4.10",
    "loses no byte in a signal storm",
    points=5,
    needs="4.4",
    hints=[
        "Who else has your handler? What does it do to a write that is half done?",
        "A child inherits the parent's handlers. A signal that comes while write waits for room "
        "makes it return early, with a count that is less than you asked for, or EINTR.",
        "while (size > 0) { n = write(...); -1 with EINTR: again; else go on by n bytes } is what "
        "write_all does; the same goes for read. And in the child, signal(SIGCHLD, SIG_DFL) (4h): "
        "then nothing interrupts it.",
    ],
)
def test_loses_no_byte_in_a_signal_storm(server: Server, clients: Clients) -> None:
    """Sent more than all buffers hold through one child to a client that is slow to read, and a
    SIGCHLD to that child whenever it slept in the middle of a write."""
    sigchld.survives_a_signal_storm(server, clients)


@check(
    "4.11",
    "tells how each child ended",
    points=5,
    needs="4.4",
    hints=[
        "What does waitpid put into status, and how is it read?",
        "status packs two kinds of ends. WIFEXITED: the child called exit, WEXITSTATUS is its "
        "status. WIFSIGNALED: a signal killed it, WTERMSIG says which (wait(2)).",
        'One line an end: "child 4242 exited with status 0" or "child 4242 killed by signal 9", '
        "with the pid that waitpid returned.",
    ],
)
def test_tells_how_each_child_ended(launch: Launcher) -> None:
    """One client left; the children of two others were killed with SIGKILL and SIGTERM by the
    grader. Looked for one line for each in what the server wrote. Once more, all three at once with
    the server frozen; then a client that reset, and a child that was only stopped."""
    telling.tells_how_children_ended(launch)


@check(
    "4.12",
    "the handler keeps to safe calls and keeps errno",
    points=5,
    needs="4.6",
    hints=[
        "Your handler may run between any two instructions of main. What might main be doing?",
        "If main is inside printf or malloc, a second printf finds its data half changed. And "
        "waitpid sets errno, which main may be about to read. signal-safety(7) lists what is safe.",
        "int saved_errno = errno; first, errno = saved_errno; last, and safe_log instead of printf "
        "in between.",
    ],
)
def test_handler_keeps_to_safe_calls(launch: Launcher) -> None:
    """Watched the handler with a preloaded library while a child ended and after a SIGCHLD for
    nothing: which functions it called, and whether errno was the same after it."""
    sigchld.handler_is_safe(launch)


@check(
    "4.13",
    "survives failing fork and accept",
    points=5,
    needs="4.4",
    hints=[
        "What does your loop do when accept or fork says -1? And right after that?",
        "These may pass: too many processes, no descriptor free, a client that left the queue. "
        "Ending the server helps nobody; asking again at once, for ever, burns a processor.",
        "fork: perror, the usual signal mask back, close(conn), go on. accept: perror, continue; "
        "with EMFILE or ENFILE first sleep a little, since the client is still in the queue.",
    ],
)
def test_survives_failing_fork_and_accept(launch: Launcher) -> None:
    """Let fork fail with EAGAIN and accept with ECONNABORTED, once each; then left the server no
    free descriptor (EMFILE) while a client waited, and measured its CPU time."""
    survival.survives_failed_fork(launch, then_reaps=True)
    survival.survives_failed_accept(launch, errno.ECONNABORTED, "dies-on-failed-accept")
    survival.survives_without_descriptors(launch)


@check(
    "4.14",
    "shuts down on SIGTERM",
    points=5,
    needs="4.4",
    hints=[
        "Who is left, and doing what, after you send your server SIGTERM? ps --forest shows it.",
        "A handler makes the accept loop end, on SIGINT as on SIGTERM. Then the parent has two "
        "duties: to end its children (kill) and to wait for each (wait), and only then to leave "
        "with status 0. A child that has the parent's handler or mask does not obey.",
        "Handler: note it, close(listener). After the loop: kill(pid, SIGTERM) for every living "
        "child, wait(&status) and log until it says -1, return 0. In the child, after fork: "
        "signal(SIGTERM, SIG_DFL), the same for SIGINT, then the usual mask back.",
    ],
)
def test_shuts_down_on_sigterm(launch: Launcher, server: Server, clients: Clients) -> None:
    """Sent SIGTERM to the server with 20 clients connected, and looked at its exit status, its port
    and its processes; then SIGINT to another copy, some of whose clients had left, with a child
    that was too slow to end at once, and read its log; then SIGTERM, right before it called
    accept, to one whose only child had ended before fork returned in its parent."""
    shutdown.shuts_down(server, clients)
    clients.leave()
    shutdown.waits_for_slow_children(launch)
    shutdown.forgets_who_has_ended(launch)


@check(
    "4.15",
    "survives clients that vanish, no memory errors",
    points=5,
    needs="4.8",
    hints=[
        "Which process notices that a client has vanished? What may happen to it, and what not?",
        "A child may die of SIGPIPE and nobody else minds. But it must end on read's -1 as well "
        "as on its 0, and never use -1 as a length or an index.",
        "while ((n = read_line(...)) > 0): 0 is the end, -1 is a reset; both end the child, and "
        "so does write_all(...) < 0. Then _exit, and no kill: the parent stays in accept.",
    ],
)
def test_survives_clients_that_vanish(launch: Launcher, server: Server, clients: Clients) -> None:
    """One client stayed, one was silent for a while, spoke and reset; eight just reset; one sent
    until its child waited in write, and closed. The others had to be served, also one that was
    silent longer than a time-out for receiving. Then lines, all bytes, resets and exit to a build
    with AddressSanitizer and UndefinedBehaviorSanitizer."""
    survival.survives_vanishing_clients(server, clients)
    clients.leave()
    survival.keeps_silent_clients(launch)
    memory.no_memory_errors(launch, memory.memory_traffic)
