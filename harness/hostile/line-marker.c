/*
 * line-marker: says that its lines are those of another file (a line marker, as the preprocessor writes
 * them), and makes a mistake in each: the compiler quotes that file's lines in its messages.
 */
# 40 "../../../../solutions/lab2-fork/server.c"
int a = b1;
int c = b2;
int d = b3;
int e = b4;
# 1 "/etc/shadow"
int f = b5;
#pragma GCC dependency "/etc/passwd"
