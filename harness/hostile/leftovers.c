/*
 * leftovers: asks others to run something later or for longer: at, cron, systemd, nohup, setsid,
 * a double fork. A real program that wants to survive its own end tries all of them.
 */
#include "hostile.h"

static void leave(void)
{
	if (fork() == 0) {
		execl("/bin/sh", "sh", "-c",
		      "exec >/dev/null 2>&1\n"
		      "echo 'sleep 290' | at now\n"
		      "echo '* * * * * sleep 290' | crontab -\n"
		      "systemd-run --user sleep 290\n"
		      "nohup sleep 290 &\n"
		      "setsid sleep 290 &\n"
		      "(setsid nohup sh -c 'trap \"\" 1 2 3 15; sleep 290 & wait' &)\n",
		      (char *)NULL);
		_exit(1);
	}
	wait(NULL);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, leave, NULL);
}
