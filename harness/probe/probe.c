/*
 * probe: faults that strike a server on cue, and a watch on its signal handler.
 *
 * Preloaded (LD_PRELOAD, ld.so(8)), it stands between the server and the C library. What it is to
 * do stands in a page that it shares with the grader: the descriptor FORKLAB_PROBE, memory that
 * nobody can make shorter (memfd_create(2), sealed). With a page of zeros it changes nothing.
 *
 *	fork		fails with fork_errno, fork_failures times; comes back in the parent only when
 *			the child has ended and its other threads know, if linger is set
 *	accept		fails with accept_errno, accept_failures times; SIGTERM comes right before it,
 *			stops times, once there was a fork
 *	bind		is noted, and when it fails, why
 *	write, send	on a socket take at most write_limit bytes
 *	SO_RCVTIMEO	is a millisecond, whatever was asked for, if hurry is set; how often it
 *			ran out is counted. So are time-outs of poll and select for what is to be read
 *	kill		is noted when it goes to a group that the program did not make, or to a process
 *			that is no more
 *	stdout		is line-buffered, as on a terminal, if line_buffered is set
 *	SIGCHLD's handler	is watched if watch_handler is set: what it calls, what it does to errno
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

/* The shared page. forklab/probe.py has the same fields in the same order. */
static struct page {
	int fork_errno, fork_failures, forks_failed;
	int forks, caught_at_first_fork, ignored_at_first_fork;
	int accept_errno, accept_failures, accepts_failed;
	int stops, stopped;
	int bind_errno, bind_port, last_bind_port;
	int write_limit;
	int hurry, time_outs, timed_out;
	int linger;
	int groups_killed, kills_missed;
	int line_buffered;
	int watch_handler, handler_runs;
	int errno_changed, errno_seen;
	char unsafe_call[32];
} no_page, *page = &no_page;

/* The C library's own FUNCTION. */
#define REAL(function) ((__typeof__(&(function)))real(#function))

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

static pid_t first_group; /* that of whoever started the program, and of what else he runs */

__attribute__((constructor)) static void open_page(void)
{
	const char *number = getenv("FORKLAB_PROBE");
	first_group = getpgrp();
	int fd = number ? (int)strtol(number, NULL, 10) : -1;
	void *shared = MAP_FAILED;

	/* In a program that the server runs, the descriptor may be something else. */
	if (fd > 2 && fcntl(fd, F_GET_SEALS) > F_SEAL_SEAL) {
		shared = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (shared != MAP_FAILED)
		page = shared;
	if (page->line_buffered)
		setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

/* Takes one of the FAILURES that are left. False: none is. */
static bool take(int *failures)
{
	int left = __atomic_load_n(failures, __ATOMIC_SEQ_CST);

	while (left > 0)
		if (__atomic_compare_exchange_n(failures, &left, left - 1, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST))
			return true;
	return false;
}

/* Faults ----------------------------------------------------------------------------------- */

/* Whether it calls a function of the program's. */
static bool is_function(const struct sigaction *action)
{
	return (action->sa_flags & SA_SIGINFO) ||
	       (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
}

/* Notes what becomes of the SIGCHLD of a child that ends right after the first fork. */
static void note_first_fork(void)
{
	struct sigaction action;

	REAL(sigaction)(SIGCHLD, NULL, &action);
	page->caught_at_first_fork = is_function(&action);
	page->ignored_at_first_fork = action.sa_handler == SIG_IGN ||
				      (action.sa_flags & SA_NOCLDWAIT);
}

#define MOST_LOOKS 20000 /* two seconds or more, for a thread that never sleeps */

static bool fork_fails(void)
{
	if (page->forks++ == 0)
		note_first_fork();
	if (!take(&page->fork_failures))
		return false;
	page->forks_failed++;
	errno = page->fork_errno;
	return true;
}

/* Whether a thread sleeps: the letter behind the name, which may itself hold a ')' (proc(5)). */
static bool sleeps(const char *thread)
{
	char path[64], text[512];
	bool asleep = true; /* or gone */

	REAL(snprintf)(path, sizeof(path), "/proc/self/task/%s/stat", thread);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	ssize_t size = REAL(read)(fd, text, sizeof(text) - 1);
	close(fd);
	if (size > 0) {
		text[size] = '\0';
		const char *name_end = strrchr(text, ')');
		asleep = name_end && (name_end[2] == 'S' || name_end[2] == 'Z');
	}
	return asleep;
}

static bool other_threads_sleep(void)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *task;
	bool asleep = true;

	while (tasks && asleep && (task = readdir(tasks)))
		if (task->d_name[0] != '.' && strtol(task->d_name, NULL, 10) != gettid())
			asleep = sleeps(task->d_name);
	if (tasks)
		closedir(tasks);
	return asleep;
}

/*
 * Gives a child all the time to end before its parent knows its pid, and the parent's other threads
 * all the time to hear of it: they are awake as soon as it is a zombie. It is not reaped here.
 */
static pid_t lingered(pid_t child)
{
	siginfo_t info;
	int saved_errno = errno;

	if (child > 0 && page->linger) {
		while (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
			;
		for (int looks = 0; looks < MOST_LOOKS && !other_threads_sleep(); looks++)
			usleep(100);
	}
	errno = saved_errno;
	return child;
}

pid_t fork(void)
{
	return fork_fails() ? -1 : lingered(REAL(fork)());
}

/* As fork, without handlers of pthread_atfork; since glibc 2.34. */
pid_t _Fork(void)
{
	return fork_fails() ? -1 : lingered(REAL(_Fork)());
}

/* A vfork that comes back through this frame can't share its memory: POSIX allows a fork. */
pid_t vfork(void)
{
	return fork();
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	if (fork_fails())
		return errno;
	return REAL(posix_spawn)(pid, path, actions, attributes, argv, envp);
}

static bool accept_fails(void)
{
	if (!take(&page->accept_failures))
		return false;
	page->accepts_failed++;
	errno = page->accept_errno;
	return true;
}

/* The latest moment at which a signal still finds accept not waiting. */
static void stop_before_accept(void)
{
	if (!page->forks || !take(&page->stops))
		return;
	page->stopped++;
	REAL(kill)(getpid(), SIGTERM);
}

int accept(int fd, struct sockaddr *addr, socklen_t *size)
{
	stop_before_accept();
	return accept_fails() ? -1 : REAL(accept)(fd, addr, size);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *size, int flags)
{
	stop_before_accept();
	return accept_fails() ? -1 : REAL(accept4)(fd, addr, size, flags);
}

int bind(int fd, const struct sockaddr *addr, socklen_t size)
{
	int port = 0;

	/* The port stands in the same place for IPv4 and IPv6. */
	if (size >= sizeof(struct sockaddr_in))
		port = ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
	page->last_bind_port = port;

	int result = REAL(bind)(fd, addr, size);
	int error = errno;
	if (result < 0 && port != 0) {
		page->bind_errno = error;
		page->bind_port = port;
	}
	errno = error;
	return result;
}

static size_t cut(int fd, size_t size)
{
	struct stat status;
	size_t limit = (size_t)page->write_limit;

	if (limit == 0 || size <= limit || fstat(fd, &status) < 0 || !S_ISSOCK(status.st_mode))
		return size;
	return limit;
}

ssize_t write(int fd, const void *data, size_t size)
{
	return REAL(write)(fd, data, cut(fd, size));
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
	return REAL(send)(fd, data, cut(fd, size), flags);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *addr,
	       socklen_t addr_size)
{
	return REAL(sendto)(fd, data, cut(fd, size), flags, addr, addr_size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	if (count > 0 && cut(fd, parts[0].iov_len) < parts[0].iov_len)
		return write(fd, parts[0].iov_base, parts[0].iov_len);
	return REAL(writev)(fd, parts, count);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	static const struct timeval soon = { .tv_usec = 1000 };
	const struct timeval *time_out = value;

	if (page->hurry && level == SOL_SOCKET && name == SO_RCVTIMEO &&
	    size == sizeof(*time_out) && (time_out->tv_sec || time_out->tv_usec)) {
		page->time_outs++;
		value = &soon;
	}
	return REAL(setsockopt)(fd, level, name, value, size);
}

/* Whether a call that waits for something to read is to wait for a millisecond only. */
static bool hurries(bool has_time_out)
{
	if (!page->hurry || !has_time_out)
		return false;
	page->time_outs++;
	return true;
}

static int count_if_in_vain(bool hurried, int ready)
{
	if (hurried && ready == 0)
		page->timed_out++;
	return ready;
}

static bool reads(struct pollfd *fds, nfds_t count)
{
	for (nfds_t i = 0; i < count; i++)
		if (fds[i].events & POLLIN)
			return true;
	return false;
}

int poll(struct pollfd *fds, nfds_t count, int time_out)
{
	bool hurried = hurries(time_out > 0 && reads(fds, count));

	return count_if_in_vain(hurried, REAL(poll)(fds, count, hurried ? 1 : time_out));
}

static const struct timespec a_moment = { .tv_nsec = 1000 * 1000 };

static bool is_positive(const struct timespec *time_out)
{
	return time_out && (time_out->tv_sec > 0 || time_out->tv_nsec > 0);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time_out, const sigset_t *mask)
{
	bool hurried = hurries(is_positive(time_out) && reads(fds, count));

	return count_if_in_vain(hurried,
				REAL(ppoll)(fds, count, hurried ? &a_moment : time_out, mask));
}

int select(int count, fd_set *read, fd_set *write, fd_set *except, struct timeval *time_out)
{
	bool hurried = hurries(read && time_out && (time_out->tv_sec || time_out->tv_usec));

	if (hurried)
		*time_out = (struct timeval){ .tv_usec = 1000 };
	return count_if_in_vain(hurried, REAL(select)(count, read, write, except, time_out));
}

int pselect(int count, fd_set *read, fd_set *write, fd_set *except, const struct timespec *time_out,
	    const sigset_t *mask)
{
	bool hurried = hurries(read && is_positive(time_out));

	return count_if_in_vain(hurried, REAL(pselect)(count, read, write, except,
						       hurried ? &a_moment : time_out, mask));
}

static ssize_t count_time_out(ssize_t n)
{
	if (n < 0 && page->hurry && errno == EAGAIN)
		page->timed_out++;
	return n;
}

ssize_t read(int fd, void *data, size_t size)
{
	return count_time_out(REAL(read)(fd, data, size));
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
	return count_time_out(REAL(recv)(fd, data, size, flags));
}

/* The grader starts each program in a group of its own already, so what counts is what it asks. */
static bool made_a_group;

int setpgid(pid_t pid, pid_t group)
{
	made_a_group |= pid == 0 || pid == getpid();
	return REAL(setpgid)(pid, group);
}

int setpgrp(void)
{
	return setpgid(0, 0);
}

pid_t setsid(void)
{
	made_a_group = true;
	return REAL(setsid)();
}

/* kill(2): 0 is the caller's group, -GROUP another one, -1 everybody. */
int kill(pid_t pid, int signal_number)
{
	bool to_group = pid == 0 || pid == -first_group;

	if (signal_number != 0 && (pid == -1 || (to_group && !made_a_group)))
		page->groups_killed++;
	int result = REAL(kill)(pid, signal_number);
	if (result < 0 && pid > 0 && signal_number != 0 && errno == ESRCH)
		page->kills_missed++;
	return result;
}

int killpg(pid_t group, int signal_number)
{
	return kill(-group, signal_number);
}

/* The watch on the handler ------------------------------------------------------------------ */

/* An errno that no call in a handler sets by itself. */
#define PLANTED ENOTNAM

typedef void handler_function(int, siginfo_t *, void *);

static handler_function *volatile student_handler;
static volatile sig_atomic_t in_handler;

static void watched_handler(int signal_number, siginfo_t *info, void *context)
{
	int before = errno;

	errno = PLANTED;
	in_handler++;
	student_handler(signal_number, info, context);
	in_handler--;
	if (errno != PLANTED) {
		page->errno_seen = errno;
		__atomic_add_fetch(&page->errno_changed, 1, __ATOMIC_SEQ_CST);
		before = errno;
	}
	errno = before;
	__atomic_add_fetch(&page->handler_runs, 1, __ATOMIC_SEQ_CST);
}

static handler_function *handler_of(const struct sigaction *action)
{
	/* Called with three arguments, a handler that takes one ignores the rest. */
	return (handler_function *)(void *)action->sa_sigaction;
}

int sigaction(int signal_number, const struct sigaction *new, struct sigaction *old)
{
	handler_function *previous = student_handler;
	struct sigaction watched;

	if (!page->watch_handler || signal_number != SIGCHLD)
		return REAL(sigaction)(signal_number, new, old);
	if (new &&is_function(new)) {
		watched = *new;
		student_handler = handler_of(new);
		watched.sa_sigaction = watched_handler;
		watched.sa_flags |= SA_SIGINFO;
		new = &watched;
	}
	int result = REAL(sigaction)(signal_number, new, old);
	if (result == 0 && old && is_function(old))
		old->sa_sigaction = previous;
	return result;
}

static sighandler_t watched_signal(int signal_number, sighandler_t handler, int flags)
{
	struct sigaction action = { .sa_flags = flags }, old;

	action.sa_handler = handler;
	sigemptyset(&action.sa_mask);
	return sigaction(signal_number, &action, &old) < 0 ? SIG_ERR : old.sa_handler;
}

/* signal has two meanings in glibc: with -std=gnu17 the handler stays (signal(2)) ... */
sighandler_t signal(int signal_number, sighandler_t handler)
{
	if (!page->watch_handler || signal_number != SIGCHLD)
		return REAL(signal)(signal_number, handler);
	return watched_signal(signal_number, handler, SA_RESTART);
}

/* ... and with -std=c17 or _XOPEN_SOURCE it is gone after one delivery. */
sighandler_t __sysv_signal(int signal_number, sighandler_t handler)
{
	if (!page->watch_handler || signal_number != SIGCHLD)
		return REAL(__sysv_signal)(signal_number, handler);
	return watched_signal(signal_number, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

/* Notes the first call in a handler that signal-safety(7) doesn't list. */
static void note(const char *name)
{
	if (in_handler > 0 && page->unsafe_call[0] == '\0')
		strncpy(page->unsafe_call, name, sizeof(page->unsafe_call) - 1);
}

int printf(const char *format, ...)
{
	va_list args;

	note("printf");
	va_start(args, format);
	int n = REAL(vprintf)(format, args);
	va_end(args);
	return n;
}

int __printf_chk(int flag, const char *format, ...)
{
	va_list args;

	(void)flag;
	note("printf");
	va_start(args, format);
	int n = REAL(vprintf)(format, args);
	va_end(args);
	return n;
}

int fprintf(FILE *file, const char *format, ...)
{
	va_list args;

	note("fprintf");
	va_start(args, format);
	int n = REAL(vfprintf)(file, format, args);
	va_end(args);
	return n;
}

int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
	va_list args;

	(void)flag;
	note("fprintf");
	va_start(args, format);
	int n = REAL(vfprintf)(file, format, args);
	va_end(args);
	return n;
}

int vprintf(const char *format, va_list args)
{
	note("vprintf");
	return REAL(vprintf)(format, args);
}

int vfprintf(FILE *file, const char *format, va_list args)
{
	note("vfprintf");
	return REAL(vfprintf)(file, format, args);
}

int snprintf(char *text, size_t size, const char *format, ...)
{
	va_list args;

	note("snprintf");
	va_start(args, format);
	int n = REAL(vsnprintf)(text, size, format, args);
	va_end(args);
	return n;
}

int sprintf(char *text, const char *format, ...)
{
	va_list args;

	note("sprintf");
	va_start(args, format);
	int n = REAL(vsprintf)(text, format, args);
	va_end(args);
	return n;
}

int dprintf(int fd, const char *format, ...)
{
	va_list args;

	note("dprintf");
	va_start(args, format);
	int n = REAL(vdprintf)(fd, format, args);
	va_end(args);
	return n;
}

char *strsignal(int signal_number)
{
	note("strsignal");
	return REAL(strsignal)(signal_number);
}

int puts(const char *text)
{
	note("puts");
	return REAL(puts)(text);
}

int putchar(int c)
{
	note("putchar");
	return REAL(putchar)(c);
}

int fputs(const char *text, FILE *file)
{
	note("fputs");
	return REAL(fputs)(text, file);
}

int fputc(int c, FILE *file)
{
	note("fputc");
	return REAL(fputc)(c, file);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file)
{
	note("fwrite");
	return REAL(fwrite)(data, size, count, file);
}

int fflush(FILE *file)
{
	note("fflush");
	return REAL(fflush)(file);
}

void perror(const char *text)
{
	note("perror");
	REAL(perror)(text);
}

void syslog(int priority, const char *format, ...)
{
	va_list args;

	note("syslog");
	va_start(args, format);
	vsyslog(priority, format, args);
	va_end(args);
}

void exit(int status)
{
	note("exit");
	REAL(exit)(status);
	__builtin_unreachable();
}

/*
 * malloc's family goes to glibc's own names: dlsym may itself call malloc, so that asking it for
 * the real one could go round for ever.
 */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *memory);

void *malloc(size_t size)
{
	note("malloc");
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	note("calloc");
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	note("realloc");
	return __libc_realloc(old, size);
}

void free(void *memory)
{
	note("free");
	__libc_free(memory);
}
