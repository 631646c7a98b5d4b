"""See it: a picture of a server's run, drawn from what strace and /proc say. Never a mark."""
