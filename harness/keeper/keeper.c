/*
 * keeper: starts one program and answers for every process that comes of it.
 *
 *	keeper [-u UID] [-x] [-U] [-r] [-n NPROC] [-f FSIZE] [-m MEMORY] [-t CPU] [-o NOFILE]
 *		[-R PATH ...] [-W PATH ...] [-s FD] [-C PATH] [-d PATH] [-z BYTES] [-p PID]
 *		[-e NAME=VALUE ...] -c FD -- PROGRAM [ARG ...]
 *	keeper -k FD
 *
 * It is a subreaper (prctl(2)), or process 1 of a pid namespace: whatever the program forks,
 * however often it forks and whoever of them daemonises, stays below the keeper in the process
 * tree. On FD, a socket, it tells how the program fares, a line an event:
 *
 *	here		from the program's process itself, before it becomes the program
 *	started PID	exited STATUS	killed SIGNAL	failed WHAT: WHY
 *	left COUNT	at the end: so many processes had to be killed
 *	full 1		at the end: there was no room left below the PATH of -d
 *
 * The grader sees by SCM_CREDENTIALS (unix(7)) which process said it, as numbered where the
 * grader is: within a pid namespace, the PID told means nothing outside.
 *
 * It does two things for the grader, which may lack the right to do them to another user:
 *
 *	nofile PID LIMIT	sets the soft RLIMIT_NOFILE; answered by "limited 0" or "limited -1"
 *	kill			kills the program and all that came of it
 *
 * When the other end of FD is closed, be it on purpose or because the grader died, it kills
 * all that is left below it and ends. So nothing outlives the grader, even one that was
 * killed with SIGKILL.
 *
 *	-u UID		run as this user and group, which nobody else uses (needs root)
 *	-x		only become that user, and the program: nobody keeps it, nothing is told
 *	-r		no random addresses (personality(2)): older sanitizers trip over them
 *	-U		count processes in a user namespace of its own (user_namespaces(7))
 *	-e NAME=VALUE	is all of the program's environment (the keeper's own is not handed on)
 *	-R, -W PATH	may read, may also write what is there and below, and nothing else; nor may
 *			it connect to anybody, or send signals to others (landlock(7), as far as
 *			the kernel knows it)
 *	-s FD		a file with a filter of system calls (seccomp(2))
 *	-C PATH		the program's working directory
 *	-p PID		in namespaces of its own: the program's pid comes after this one, so that no
 *			small number in what it prints is taken for a pid
 *	-z BYTES	likewise: the PATH of -d is a file system of its own, of that size
 *	-n, -f, -m, -t	RLIMIT_NPROC, RLIMIT_FSIZE, RLIMIT_AS (bytes), RLIMIT_CPU (seconds)
 *	-o NOFILE	RLIMIT_NOFILE
 *
 * With -k it is process 1 of a sandbox and makes keepers, each with namespaces of its own within
 * it: users, processes, mounts, and IPC unless a filter (-s) forbids that (namespaces(7)). So the
 * sandbox is made once for many programs. FD is a socket of type SOCK_SEQPACKET. Each message
 * makes a keeper: the numbers that its descriptors are to have, then what else would stand on its
 * command line, all of them strings that end with a null byte; and with SCM_RIGHTS the
 * descriptors, of which the fourth is the keeper's FD. When the other end is closed, or a message
 * is none of these, it ends, and with it all of the sandbox.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct limits {
	uid_t uid; /* 0: stay who we are */
	bool user_namespace, fixed_addresses;
	rlim_t processes, file_size, memory, cpu, descriptors; /* 0: as it is */
	int filter; /* a file of struct sock_filter, or -1 */
};

/* A place that the program may use. */
struct place {
	const char *path;
	bool writable;
};

static int control = -1;
static char *environment[32]; /* the program's; the last one stays NULL */
static struct place places[64];
static size_t place_count;
static long reaped;         /* so many processes so far */
static bool has_namespaces; /* of its own: see -k */

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

static void take_user(uid_t uid)
{
	if (uid > 0 && (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
		give_up("setuid");
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		give_up(path);
	close(fd);
}

/* In a new user namespace, the first thing to do: there we are who we were. */
static void stay_who_we_were(uid_t uid, gid_t gid)
{
	char map[64];

	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	write_file("/proc/self/uid_map", map);
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	write_file("/proc/self/gid_map", map);
}

/*
 * Landlock's rights and scopes, also those that are newer than this system's headers: what a kernel
 * does not know is left out.
 */
enum {
	READ = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
	       LANDLOCK_ACCESS_FS_READ_DIR,
	OF_FILES = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
		   LANDLOCK_ACCESS_FS_WRITE_FILE | 1 << 14,
	ALL_OF_1 = (1 << 13) - 1,
	RENAME_SINCE_2 = 1 << 13,
	TRUNCATE_SINCE_3 = 1 << 14,
	CONNECT_TCP_SINCE_4 = 1 << 1,
	SOCKETS_AND_SIGNALS_SINCE_6 = 3,
};

static void allow(int rules, const struct place *place, uint64_t all)
{
	struct landlock_path_beneath_attr beneath = { .allowed_access = place->writable ? all
											: READ };
	struct stat status;

	beneath.parent_fd = open(place->path, O_PATH | O_CLOEXEC);
	if (beneath.parent_fd < 0 || fstat(beneath.parent_fd, &status) < 0)
		return; /* what is not there needs no leave */
	if (!S_ISDIR(status.st_mode))
		beneath.allowed_access &= OF_FILES;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		give_up(place->path);
	close(beneath.parent_fd);
}

/* Child side: from here on, only the places that were named. Nothing, on an older kernel. */
static void stay_in_places(void)
{
	struct {
		uint64_t files, network, scoped;
	} handled = { .files = ALL_OF_1 };
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);

	if (version < 1 || place_count == 0)
		return;
	if (version >= 2)
		handled.files |= RENAME_SINCE_2;
	if (version >= 3)
		handled.files |= TRUNCATE_SINCE_3;
	if (version >= 4)
		handled.network = CONNECT_TCP_SINCE_4;
	if (version >= 6)
		handled.scoped = SOCKETS_AND_SIGNALS_SINCE_6;

	int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);
	if (rules < 0)
		give_up("landlock_create_ruleset");
	for (size_t i = 0; i < place_count; i++)
		allow(rules, &places[i], handled.files);
	if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		give_up("landlock_restrict_self");
	close(rules);
}

/* Child side: from here on, only the system calls that the filter lets through. */
static void filter_calls(int file)
{
	static struct sock_filter instructions[BPF_MAXINSNS];
	ssize_t size = pread(file, instructions, sizeof(instructions), 0);
	struct sock_fprog program = {
		.len = (unsigned short)(size / (ssize_t)sizeof(instructions[0])),
		.filter = instructions,
	};

	if (size <= 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		give_up("seccomp");
	close(file);
}

/* Child side: becomes the program. */
static void become(char *program[], const struct limits *limits, pid_t keeper)
{
	setsid(); /* kill(0, ...) reaches only its own */
	if (write(control, "here\n", 5) < 0)
		_exit(127);

	if (limits->user_namespace) { /* NPROC then counts only what is in there */
		uid_t uid = geteuid();
		gid_t gid = getegid();
		if (unshare(CLONE_NEWUSER) < 0)
			give_up("unshare");
		stay_who_we_were(uid, gid);
	}
	limit(RLIMIT_NPROC, limits->processes);
	limit(RLIMIT_FSIZE, limits->file_size);
	limit(RLIMIT_AS, limits->memory);
	limit(RLIMIT_NOFILE, limits->descriptors);
	if (limits->cpu > 0) { /* SIGXCPU says why; SIGKILL a second later doesn't */
		const struct rlimit cpu = { limits->cpu, limits->cpu + 1 };
		setrlimit(RLIMIT_CPU, &cpu);
	}
	const struct rlimit no_core = { 0, 0 };
	setrlimit(RLIMIT_CORE, &no_core);
	if (limits->fixed_addresses)
		personality(ADDR_NO_RANDOMIZE); /* where it is forbidden, we do without */
	take_user(limits->uid);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	stay_in_places();
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

	if (limits->filter >= 0)
		filter_calls(limits->filter);
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
	else if (getpid() == 1) /* all of the namespace but us (kill(2)) */
		kill(-1, SIGKILL);
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
	if (strncmp(text, "kill", 4) == 0) {
		kill_all(uid);
		return true;
	}
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
		reaped++;
		if (pid != program)
			continue;
		if (WIFEXITED(status))
			say("exited", WEXITSTATUS(status));
		else
			say("killed", WTERMSIG(status));
	}
	return pid == 0;
}

/*
 * Gives up all rights in namespaces of our own (capabilities(7)), for good: no program that we
 * become brings one back.
 */
static void drop_rights(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, none) < 0)
		give_up("capset");
}

/* Whether a file system has no room left for anybody but root. */
static bool is_full(const char *path)
{
	struct statvfs room;

	return path && statvfs(path, &room) == 0 && room.f_bavail == 0;
}

static void add_place(const char *path, bool writable)
{
	if (place_count < sizeof(places) / sizeof(places[0]))
		places[place_count++] = (struct place){ path, writable };
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

/* Gives the program a file system of that many bytes to write to. */
static void mount_scratch(const char *path, const char *size)
{
	char options[64];

	snprintf(options, sizeof(options), "mode=0755,size=%s", size);
	if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		give_up(path);
}

/* What this program does but for -k. Returns an exit status. */
static int keep(int argc, char *argv[])
{
	struct limits limits = { .filter = -1 };
	size_t variables = 0;
	bool only_become = false;
	const char *scratch = NULL, *scratch_size = NULL, *last_pid = NULL, *folder = NULL;

	for (int option;
	     (option = getopt(argc, argv, "+u:xUrn:f:m:t:o:R:W:s:C:d:z:p:c:e:")) != -1;) {
		switch (option) {
		case 'u':
			limits.uid = (uid_t)number(optarg);
			break;
		case 'x':
			only_become = true;
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
		case 'o':
			limits.descriptors = number(optarg);
			break;
		case 'R':
			add_place(optarg, false);
			break;
		case 'W':
			add_place(optarg, true);
			break;
		case 's':
			limits.filter = (int)number(optarg);
			break;
		case 'C':
			folder = optarg;
			break;
		case 'd':
			scratch = optarg;
			break;
		case 'z':
			scratch_size = optarg;
			break;
		case 'p':
			last_pid = optarg;
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
	if (only_become && optind < argc) {
		take_user(limits.uid);
		execv(argv[optind], argv + optind);
		give_up(argv[optind]);
	}
	if (control < 0 || optind == argc) {
		fprintf(stderr,
			"usage: keeper [-u UID] [-x] [-U] [-r] [-n NPROC] [-f FSIZE] [-m MEMORY] "
			"[-t CPU] [-o NOFILE] [-R PATH ...] [-W PATH ...] [-s FD] [-C PATH] "
			"[-d PATH] [-z BYTES] [-p PID] [-e NAME=VALUE ...] -c FD "
			"-- PROGRAM [ARG ...]\n       keeper -k FD\n");
		return 2;
	}

	/* The program must not hold our end of the socket, or nobody would see it close. */
	fcntl(control, F_SETFD, FD_CLOEXEC);
	if (limits.filter >= 0)
		fcntl(limits.filter, F_SETFD, FD_CLOEXEC);
	signal(SIGPIPE, SIG_IGN); /* the grader may be gone when we tell it something */
	/* A program that sends these to everybody (kill(-1, ...)) must not stop the cleaning up. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (scratch && scratch_size)
		mount_scratch(scratch, scratch_size);
	if (folder && chdir(folder) < 0)
		give_up(folder);
	if (last_pid) /* pids of this namespace go on from there (pid_namespaces(7)) */
		write_file("/proc/sys/kernel/ns_last_pid", last_pid);
	if (has_namespaces)
		drop_rights();

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
	prctl(PR_SET_DUMPABLE, 0); /* the program may be of the same user: no ptrace of us */
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
	long before = reaped;
	kill_all(limits.uid);
	while (reap(program)) {
		/* SIGCHLD or a moment, then look again for what was forked meanwhile. */
		if (ppoll(NULL, 0, &moment, &waiting) == 0)
			kill_all(limits.uid);
	}
	say("left", reaped - before);
	if (is_full(scratch))
		say("full", 1);
	return 0;
}

/* How to start one keeper. */
struct request {
	char text[1 << 16];
	size_t size;
	int descriptors[16];
	size_t count;
};

/* The next one. False: nobody wants any more. */
static bool receive(int requests, struct request *request)
{
	union {
		char room[CMSG_SPACE(sizeof(request->descriptors))];
		struct cmsghdr aligned;
	} rights;
	struct iovec text = { request->text, sizeof(request->text) - 1 };
	struct msghdr message = {
		.msg_iov = &text,
		.msg_iovlen = 1,
		.msg_control = &rights,
		.msg_controllen = sizeof(rights),
	};
	ssize_t n;

	do
		n = recvmsg(requests, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (n <= 0 || !header || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return false;
	request->size = (size_t)n;
	request->text[n] = '\0';
	request->count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(request->descriptors, CMSG_DATA(header), request->count * sizeof(int));
	return request->count > 3;
}

/* Whether that one's program may call only what a filter lets through. */
static bool has_filter(const struct request *request)
{
	const char *word = request->text, *end = request->text + request->size;

	while (word < end && strcmp(word, "-s") != 0 && strcmp(word, "--") != 0)
		word += strlen(word) + 1;
	return word < end && strcmp(word, "-s") == 0;
}

/* Gives the descriptors their numbers, those in the text. Copies of them close with exec. */
static void number_descriptors(const struct request *request)
{
	int numbers[16] = { 0 }, highest = 0;
	const char *text = request->text;

	for (size_t i = 0; i < request->count; i++) {
		char *end;
		numbers[i] = (int)strtol(text, &end, 10);
		text = end;
		if (numbers[i] > highest)
			highest = numbers[i];
	}
	/* First out of each other's way. */
	int moved[16] = { 0 };
	for (size_t i = 0; i < request->count; i++) {
		moved[i] = fcntl(request->descriptors[i], F_DUPFD_CLOEXEC, highest + 1);
		if (moved[i] < 0)
			give_up("fcntl");
	}
	control = moved[3];
	for (size_t i = 0; i < request->count; i++) {
		if (dup2(moved[i], numbers[i]) < 0)
			give_up("dup2");
	}
	control = numbers[3];
}

/* In a child with namespaces of its own: becomes a keeper. */
static _Noreturn void be_keeper(struct request *request, uid_t uid, gid_t gid)
{
	char *words[256] = { "keeper" };
	int count = 1;

	control = request->descriptors[3];
	number_descriptors(request);
	for (char *word = request->text + strlen(request->text) + 1;
	     word < request->text + request->size && count < 255; word += strlen(word) + 1)
		words[count++] = word;
	has_namespaces = true;
	stay_who_we_were(uid, gid);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		give_up("/proc");
	_exit(keep(count, words));
}

static int make_keepers(int requests)
{
	static struct request request;
	const unsigned long namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS;
	uid_t uid = geteuid();
	gid_t gid = getegid();

	fcntl(requests, F_SETFD, FD_CLOEXEC);
	signal(SIGCHLD, SIG_IGN); /* nobody asks how a keeper ended */
	while (receive(requests, &request)) {
		unsigned long ipc = has_filter(&request) ? 0 : CLONE_NEWIPC;
		long keeper = syscall(SYS_clone, namespaces | ipc | SIGCHLD, NULL, NULL, NULL,
				      NULL);
		if (keeper == 0) {
			close(requests);
			be_keeper(&request, uid, gid);
		}
		if (keeper < 0)
			dprintf(request.descriptors[3], "failed clone: %s\n", strerror(errno));
		for (size_t i = 0; i < request.count; i++)
			close(request.descriptors[i]);
	}
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc == 3 && strcmp(argv[1], "-k") == 0)
		return make_keepers((int)number(argv[2]));
	return keep(argc, argv);
}
