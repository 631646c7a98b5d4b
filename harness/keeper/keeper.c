/*
 * keeper: starts one program and answers for every process that comes of it.
 *
 *	keeper [-u UID] [-U] [-r] [-n NPROC] [-f FSIZE] [-m MEMORY] [-t CPU] [-e NAME=VALUE ...] -c FD \
 *		-- PROGRAM [ARG ...]
 *
 * It is a subreaper (prctl(2)): whatever the program forks, however often it forks and
 * whoever of them daemonises, stays below the keeper in the process tree. On FD, a socket,
 * it tells how the program fares, a line an event:
 *
 *	started PID	exited STATUS	killed SIGNAL	failed WHAT: WHY
 *
 * and it does one thing for the grader, which may lack the right to do it to another user:
 *
 *	nofile PID LIMIT	sets the soft RLIMIT_NOFILE; answered by "limited 0" or "limited -1"
 *
 * When the other end of FD is closed, be it on purpose or because the grader died, it kills
 * all that is left below it and ends. So nothing outlives the grader, even one that was
 * killed with SIGKILL.
 *
 *	-u UID		run as this user and group, which nobody else uses (needs root)
 *	-r		no random addresses (personality(2)): older sanitizers trip over them
 *	-U		count processes in a user namespace of its own (user_namespaces(7))
 *	-e NAME=VALUE	is all of the program's environment (the keeper's own is not handed on)
 *	-n, -f, -m, -t	RLIMIT_NPROC, RLIMIT_FSIZE, RLIMIT_AS (bytes), RLIMIT_CPU (seconds)
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct limits {
	uid_t uid; /* 0: stay who we are */
	bool user_namespace, fixed_addresses;
	rlim_t processes, file_size, memory, cpu; /* 0: as it is */
};

static int control = -1;
static char *environment[32]; /* the program's; the last one stays NULL */

/* Only there to interrupt ppoll. */
static void on_sigchld(int signal_number)
{
	(void)signal_number;
}

static void say(const char *what, long number)
{
	dprintf(control, "%s %ld\n", what, number);
}

/* Child side: says which step failed and ends. */
static void give_up(const char *what)
{
	dprintf(control, "failed %s: %s\n", what, strerror(errno));
	_exit(127);
}

static void limit(int resource, rlim_t value)
{
	struct rlimit both = { .rlim_cur = value, .rlim_max = value };

	if (value > 0 && setrlimit(resource, &both) < 0)
		give_up("setrlimit");
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		give_up(path);
	close(fd);
}

/* A user namespace in which we are who we were, so that NPROC counts only what we start. */
static void enter_user_namespace(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (unshare(CLONE_NEWUSER) < 0)
		give_up("unshare");
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	write_file("/proc/self/uid_map", map);
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	write_file("/proc/self/gid_map", map);
}

/* Child side: becomes the program. */
static void become(char *program[], const struct limits *limits, pid_t keeper)
{
	setsid(); /* kill(0, ...) reaches only its own */

	if (limits->user_namespace)
		enter_user_namespace();
	limit(RLIMIT_NPROC, limits->processes);
	limit(RLIMIT_FSIZE, limits->file_size);
	limit(RLIMIT_AS, limits->memory);
	limit(RLIMIT_CPU, limits->cpu);
	const struct rlimit no_core = { 0, 0 };
	setrlimit(RLIMIT_CORE, &no_core);
	if (limits->fixed_addresses)
		personality(ADDR_NO_RANDOMIZE); /* where it is forbidden, we do without */
	if (limits->uid > 0 &&
	    (setgroups(0, NULL) < 0 || setgid(limits->uid) < 0 || setuid(limits->uid) < 0))
		give_up("setuid");
	/* Should the keeper itself be killed. After setuid, which forgets it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(127);

	/* Signals as a shell would hand them on: all default, none blocked. */
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	execve(program[0], program, environment);
	give_up(program[0]);
}

/* Parent of PID by /proc/PID/stat, or -1 if it is gone. */
static pid_t parent_of(pid_t pid)
{
	char path[32], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';

	/* "PID (NAME) STATE PPID": the name may hold anything, a ')' too: the last one counts. */
	const char *name_end = strrchr(text, ')');
	pid_t parent;
	char state;
	if (!name_end || sscanf(name_end + 1, " %c %d", &state, &parent) != 2)
		return -1;
	return parent;
}

static bool descends_from(pid_t pid, pid_t ancestor)
{
	while (pid > 1) {
		pid = parent_of(pid);
		if (pid == ancestor)
			return true;
	}
	return false;
}

/*
 * Makes a helper process that is the program's user, as fork does: 0 in the helper. Root has no
 * right to another user's limits where it lacks CAP_SYS_RESOURCE.
 */
static pid_t fork_as(uid_t uid)
{
	pid_t helper = fork();

	if (helper == 0 && (setgid(uid) < 0 || setuid(uid) < 0))
		_exit(1);
	return helper;
}

/* Whether the helper ended well. */
static bool wait_for(pid_t helper)
{
	int status;

	return helper > 0 && waitpid(helper, &status, 0) == helper && status == 0;
}

/*
 * Sends SIGKILL to all that is below us. Who has a user of its own is killed by that user's right
 * to kill all of its processes in one call, other than the caller itself (kill(2)).
 */
static void kill_user(uid_t uid)
{
	pid_t helper = fork_as(uid);

	if (helper == 0) {
		kill(-1, SIGKILL);
		_exit(0);
	}
	wait_for(helper);
}

/*
 * The same without a user of its own: by the process tree. First each loses the right to fork, so
 * that a process that forks faster than we look cannot keep ahead.
 */
static void kill_descendants(void)
{
	const struct rlimit no_fork = { 0, 0 };
	pid_t self = getpid();
	DIR *proc = opendir("/proc");

	if (!proc)
		return;
	for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid == self || !descends_from(pid, self))
			continue;
		prlimit(pid, RLIMIT_NPROC, &no_fork, NULL);
		kill(pid, SIGKILL);
	}
	closedir(proc);
}

static void kill_all(uid_t uid)
{
	if (uid > 0)
		kill_user(uid);
	else
		kill_descendants();
}

/* Sets how many descriptors PID may have. 0, or -1 with errno. */
static int limit_descriptors(pid_t pid, rlim_t count)
{
	struct rlimit limit;

	if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) < 0)
		return -1;
	limit.rlim_cur = count;
	return prlimit(pid, RLIMIT_NOFILE, &limit, NULL);
}

/* Does what the grader asks for. False: it has let go of us. */
static bool obey(uid_t uid)
{
	char text[64];
	pid_t pid;
	unsigned long count;
	ssize_t n = read(control, text, sizeof(text) - 1);

	if (n <= 0)
		return n < 0 && errno == EINTR;
	text[n] = '\0';
	if (sscanf(text, "nofile %d %lu", &pid, &count) != 2)
		return true;
	if (uid == 0) {
		say("limited", limit_descriptors(pid, count));
		return true;
	}
	pid_t helper = fork_as(uid);
	if (helper == 0)
		_exit(limit_descriptors(pid, count) < 0);
	say("limited", wait_for(helper) ? 0 : -1);
	return true;
}

/* Reaps all that has ended. Tells if PROGRAM was among it. False: no child is left. */
static bool reap(pid_t program)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != program)
			continue;
		if (WIFEXITED(status))
			say("exited", WEXITSTATUS(status));
		else
			say("killed", WTERMSIG(status));
	}
	return pid == 0;
}

static rlim_t number(const char *text)
{
	char *end;
	errno = 0;
	rlim_t value = strtoull(text, &end, 10);

	if (end == text || *end != '\0' || errno) {
		fprintf(stderr, "keeper: not a number: %s\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char *argv[])
{
	struct limits limits = { 0 };
	size_t variables = 0;

	for (int option; (option = getopt(argc, argv, "+u:Urn:f:m:t:c:e:")) != -1;) {
		switch (option) {
		case 'u':
			limits.uid = (uid_t)number(optarg);
			break;
		case 'U':
			limits.user_namespace = true;
			break;
		case 'r':
			limits.fixed_addresses = true;
			break;
		case 'n':
			limits.processes = number(optarg);
			break;
		case 'f':
			limits.file_size = number(optarg);
			break;
		case 'm':
			limits.memory = number(optarg);
			break;
		case 't':
			limits.cpu = number(optarg);
			break;
		case 'e':
			if (variables < sizeof(environment) / sizeof(environment[0]) - 1)
				environment[variables++] = optarg;
			break;
		case 'c':
			control = (int)number(optarg);
			break;
		default:
			return 2;
		}
	}
	if (control < 0 || optind == argc) {
		fprintf(stderr,
			"usage: keeper [-u UID] [-U] [-r] [-n NPROC] [-f FSIZE] [-m MEMORY] "
			"[-t CPU] [-e NAME=VALUE ...] -c FD -- PROGRAM [ARG ...]\n");
		return 2;
	}

	/* The program must not hold our end of the socket, or nobody would see it close. */
	fcntl(control, F_SETFD, FD_CLOEXEC);
	signal(SIGPIPE, SIG_IGN); /* the grader may be gone when we tell it something */
	/* A program that sends these to everybody (kill(-1, ...)) must not stop the cleaning up. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);

	sigset_t sigchld, waiting;
	sigemptyset(&sigchld);
	sigaddset(&sigchld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &sigchld, &waiting);
	sigdelset(&waiting, SIGCHLD);
	struct sigaction action = { .sa_handler = on_sigchld };
	sigaction(SIGCHLD, &action, NULL);

	/* exec closes the pipe. Until then nobody may look: it is not the program yet. */
	int until_exec[2];
	char nothing;
	if (pipe2(until_exec, O_CLOEXEC) < 0)
		give_up("pipe");
	pid_t keeper = getpid();
	pid_t program = fork();
	if (program < 0)
		give_up("fork");
	if (program == 0)
		become(argv + optind, &limits, keeper);
	close(until_exec[1]);
	while (read(until_exec[0], &nothing, 1) < 0 && errno == EINTR)
		;
	close(until_exec[0]);
	say("started", program);

	struct pollfd grader = { .fd = control, .events = POLLIN };
	for (;;) {
		if (ppoll(&grader, 1, NULL, &waiting) > 0 && !obey(limits.uid))
			break;
		reap(program);
	}

	/* Killing is done when there is nobody left to wait for. */
	const struct timespec moment = { .tv_nsec = 500 * 1000 };
	kill_all(limits.uid);
	while (reap(program)) {
		/* SIGCHLD or a moment, then look again for what was forked meanwhile. */
		if (ppoll(NULL, 0, &moment, &waiting) == 0)
			kill_all(limits.uid);
	}
	return 0;
}
