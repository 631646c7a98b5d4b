"""The probe: the faults that it makes strike on cue, and what it tells of a program."""

from __future__ import annotations

import errno
import itertools
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from forklab.probe import Probe
from forklab.server import Server
from tests.support import compile_c

# Prints what each role's calls return. SIGURG harms nobody: its default is to be ignored.
PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int fds[2];

static void print(const char *what, long result)
{
	dprintf(1, "%s %ld\n", what, result < 0 ? -errno : result);
}

static void handle(int number) { (void)number; }
static void tell(int number) { print("signal", number); }
static void handle_loudly(int number) { printf("loud %d\n", number); }
static void handle_rudely(int number) { (void)number; errno = EPERM; }

static void set_action(void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_flags = flags };

	action.sa_handler = handler;
	sigaction(SIGCHLD, &action, NULL);
}

static void have_child(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

static void time_out(const char *what, int option, long seconds)
{
	struct timeval set = { seconds, 0 }, got;
	socklen_t size = sizeof(got);

	setsockopt(fds[0], SOL_SOCKET, option, &set, sizeof(set));
	getsockopt(fds[0], SOL_SOCKET, option, &got, &size);
	/* The kernel rounds up to its own ticks. */
	print(what, got.tv_sec == 0 && got.tv_usec > 0 && got.tv_usec < 20000 ? 1 : got.tv_sec);
}

int main(int argc, char *argv[])
{
	const char *role = argv[1];
	char data[100] = { 0 };
	struct iovec parts[2] = { { data, 50 }, { data, 50 } };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t size = sizeof(addr);

	socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	if (!strcmp(role, "time-outs")) {
		time_out("receive", SO_RCVTIMEO, 500);
		time_out("none", SO_RCVTIMEO, 0);
		time_out("send", SO_SNDTIMEO, 500);
	} else if (!strncmp(role, "waits", 5)) {
		struct pollfd one = { .fd = fds[0], .events = POLLIN };
		struct timespec long_time = { .tv_sec = 600 };
		struct timeval as_long = { .tv_sec = 600 };
		fd_set set;

		if (!strcmp(role, "waits-ready"))
			write(fds[1], data, 1);
		print("poll", poll(&one, 1, 600 * 1000));
		print("ppoll", ppoll(&one, 1, &long_time, NULL));
		FD_ZERO(&set);
		FD_SET(fds[0], &set);
		print("select", select(fds[0] + 1, &set, NULL, NULL, &as_long));
		FD_SET(fds[0], &set);
		print("pselect", pselect(fds[0] + 1, &set, NULL, NULL, &long_time, NULL));
		print("sleep", poll(NULL, 0, 1));
	} else if (!strcmp(role, "kill-group"))
		print("kill", kill(0, SIGURG));
	else if (!strcmp(role, "kill-group-by-number"))
		print("kill", kill(-getpgrp(), SIGURG));
	else if (!strcmp(role, "killpg"))
		print("kill", killpg(getpgrp(), SIGURG));
	else if (!strcmp(role, "kill-own-group")) {
		if (fork() == 0) { /* whoever leads a group can't make one */
			setsid();
			print("kill", kill(0, SIGURG));
			_exit(0);
		}
		wait(NULL);
	} else if (!strcmp(role, "kill-nobody")) {
		kill(-1, 0); /* what that returns hangs on who else is there */
		print("kill", kill(0, 0) + kill(getpid(), SIGURG));
	} else if (!strcmp(role, "kill-the-ended")) {
		pid_t child = fork(); /* it naps: without the probe it runs on */

		if (child == 0) {
			usleep(30000);
			_exit(0);
		}
		print("ended", waitpid(child, NULL, WNOHANG) == child);
		print("kill", kill(child, SIGTERM));
	} else if (!strcmp(role, "kill-zombie")) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		print("kill", kill(child, SIGTERM)); /* it may still run */
		wait(NULL);
		print("kill", kill(child, 0));
	} else if (!strcmp(role, "ignore-first")) {
		signal(SIGCHLD, SIG_IGN);
		have_child();
	} else if (!strcmp(role, "no-zombies-first")) {
		set_action(SIG_DFL, SA_NOCLDWAIT);
		have_child();
	} else if (!strcmp(role, "ignore-later")) {
		have_child();
		signal(SIGCHLD, SIG_IGN);
		have_child();
	} else if (!strcmp(role, "catch")) {
		set_action(handle, 0);
		have_child();
	} else if (!strcmp(role, "catch-loudly")) {
		set_action(handle_loudly, 0);
		have_child();
	} else if (!strcmp(role, "catch-rudely")) {
		signal(SIGCHLD, handle_rudely);
		have_child();
	} else if (!strcmp(role, "fork")) {
		for (int i = 0; i < 3; i++) {
			pid_t child = fork();

			if (child == 0)
				_exit(0);
			print("fork", child < 0 ? -1 : 0);
		}
	} else if (!strcmp(role, "accept")) {
		int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

		listen(listener, 1);
		signal(SIGTERM, tell);
		print("accept", accept(listener, NULL, NULL));
		print("accept4", accept4(listener, NULL, NULL, 0));
		print("accept", accept(listener, NULL, NULL));
	} else if (!strcmp(role, "write")) {
		print("write", write(fds[0], data, 100));
		print("send", send(fds[0], data, 100, 0));
		print("writev", writev(fds[0], parts, 2));
		print("little", write(fds[0], data, 3));
		pipe(fds);
		print("pipe", write(fds[1], data, 100));
	} else if (!strcmp(role, "bind")) {
		int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_INET, SOCK_STREAM, 0);

		bind(one, (struct sockaddr *)&addr, sizeof(addr));
		getsockname(one, (struct sockaddr *)&addr, &size);
		print("bind", bind(two, (struct sockaddr *)&addr, sizeof(addr)));
		print("port", ntohs(addr.sin_port));
	} else if (!strcmp(role, "print")) {
		printf("printed 1\n");
		_exit(0);
	}
	return 0;
}
"""

_numbers = itertools.count()


@pytest.fixture(scope="module")
def program(shared_folder: Path) -> Path:
    return compile_c(PROGRAM, shared_folder / "probed")


@pytest.fixture
def probe(shared_folder: Path) -> Probe:
    return Probe(shared_folder / f"probe{next(_numbers)}")


Told = dict[str, list[int]]


@pytest.fixture
def play(program: Path, shared_folder: Path, probe: Probe) -> Callable[[str], Told]:
    """``play(role)``: what the calls of that role returned under the probe, a list by name."""

    def run(role: str) -> Told:
        folder = shared_folder / f"probed{next(_numbers)}"
        with Server(program, [role], 0, folder, probe=probe) as server:
            server.wait_for(lambda: server.exit)
            assert server.exit
            assert server.exit.ok
            told: Told = {}
            for line in server.stdout.decode().splitlines():
                name, _, result = line.partition(" ")
                told.setdefault(name, []).append(int(result))
            return told

    return run


# Receiving with a time-out


def test_time_outs_are_shortened_and_counted(play, probe):
    probe.hurry()
    assert play("time-outs") == {"receive": [1], "none": [0], "send": [500]}
    assert probe.time_outs == 1


def test_who_waits_for_something_to_read_is_hurried(play, probe):
    probe.hurry()
    assert play("waits") == {"poll": [0], "ppoll": [0], "select": [0], "pselect": [0], "sleep": [0]}
    assert (probe.time_outs, probe.timed_out) == (4, 4)


def test_what_is_there_to_read_is_found(play, probe):
    probe.hurry()
    calls = {"poll": [1], "ppoll": [1], "select": [1], "pselect": [1], "sleep": [0]}
    assert play("waits-ready") == calls
    assert (probe.time_outs, probe.timed_out) == (4, 0)


def test_time_outs_are_left_alone(play, probe):
    assert play("time-outs") == {"receive": [500], "none": [0], "send": [500]}
    assert probe.time_outs == 0


# Signals to groups


@pytest.mark.parametrize("role", ["kill-group", "kill-group-by-number", "killpg"])
def test_a_signal_to_the_group_of_who_started_it_is_counted(play, probe, role):
    assert play(role) == {"kill": [0]}
    assert probe.groups_killed == 1


@pytest.mark.parametrize("role", ["kill-own-group", "kill-nobody"])
def test_a_signal_to_its_own_or_to_nobody_is_not(play, probe, role):
    assert play(role) == {"kill": [0]}
    assert probe.groups_killed == 0


@pytest.mark.parametrize(("role", "missed"), [("kill-the-ended", 1), ("kill-zombie", 0)])
def test_a_signal_to_a_process_that_was_reaped_is_counted(play, probe, role, missed):
    probe.linger_in_fork()
    play(role)
    assert probe.kills_missed == missed


def test_fork_comes_back_when_the_child_has_ended(play, probe):
    probe.linger_in_fork()
    assert play("kill-the-ended") == {"ended": [1], "kill": [-errno.ESRCH]}


def test_fork_comes_back_at_once_unless_told_to_linger(play):
    assert play("kill-the-ended") == {"ended": [0], "kill": [0]}


# The first fork


@pytest.mark.parametrize(
    ("role", "ignored", "caught"),
    [
        ("ignore-first", True, False),
        ("no-zombies-first", True, False),
        ("ignore-later", False, False),
        ("catch", False, True),
        ("print", False, False),
    ],
)
def test_what_becomes_of_the_first_child(play, probe, role, ignored, caught):
    play(role)
    assert (probe.ignored_at_first_fork, probe.caught_at_first_fork) == (ignored, caught)


# Faults


def test_fork_fails(play, probe):
    probe.fail_fork(errno.ENOMEM, times=2)
    assert play("fork") == {"fork": [-errno.ENOMEM, -errno.ENOMEM, 0]}
    assert probe.forks_failed == 2


def test_accept_fails(play, probe):
    probe.fail_accept(errno.EMFILE, times=2)
    nobody = -errno.EAGAIN
    assert play("accept") == {"accept": [-errno.EMFILE, nobody], "accept4": [-errno.EMFILE]}
    assert probe.accepts_failed == 2


def test_a_signal_comes_right_before_accept(play, probe):
    nobody = -errno.EAGAIN
    calls = {"accept": [nobody, nobody], "accept4": [nobody]}
    assert play("accept") == calls
    assert not probe.stopped
    probe.stop_before_accept()
    assert play("accept") == calls
    play("fork")
    assert play("accept") == {"signal": [signal.SIGTERM], **calls}
    assert probe.stopped


def test_writes_to_sockets_are_short(play, probe):
    probe.shorten_writes(7)
    assert play("write") == {
        **{"write": [7], "send": [7], "writev": [7]},
        **{"little": [3], "pipe": [100]},
    }


def test_a_bind_that_fails_is_told(play, probe):
    told = play("bind")
    assert told["bind"] == [-errno.EADDRINUSE]
    assert probe.failed_bind == (told["port"][0], errno.EADDRINUSE)


def test_a_page_of_zeros_changes_nothing(play, probe):
    assert play("fork") == {"fork": [0, 0, 0]}
    assert play("write") == {
        **{"write": [100], "send": [100], "writev": [100]},
        **{"little": [3], "pipe": [100]},
    }
    assert play("print") == {}
    assert (probe.forks_failed, probe.accepts_failed, probe.failed_bind) == (0, 0, (0, 0))
    assert (probe.handler_runs, probe.errno_seen, probe.unsafe_call) == (0, None, None)


def test_lines_are_buffered_as_on_a_terminal(play, probe):
    probe.buffer_lines()
    assert play("print") == {"printed": [1]}


# The watch on the handler


@pytest.mark.parametrize(
    ("role", "seen", "called"),
    [("catch", None, None), ("catch-loudly", None, "printf"), ("catch-rudely", errno.EPERM, None)],
)
def test_the_handler_is_watched(play, probe, role, seen, called):
    probe.watch_handler()
    play(role)
    assert probe.handler_runs == 1
    assert (probe.errno_seen, probe.unsafe_call) == (seen, called)


def test_a_handler_is_not_watched_unasked(play, probe):
    play("catch-rudely")
    assert (probe.handler_runs, probe.errno_seen) == (0, None)
