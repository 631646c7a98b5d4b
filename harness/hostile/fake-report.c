/*
 * fake-report: prints what a grader prints, and what would break a terminal, an XML file or a web
 * page that shows it as it is. Then it ends, so that its words are shown.
 */
#include "hostile.h"

static const char WORDS[] =
	"\033[2J\033[H\033]0;owned\007\033]52;c;cm0gLXJm\007\033[?1049h\233" "31m\r\b\b\b"
	"  \xe2\x9c\x93 2.5  serves eight clients at once  15/15\n"
	"Score: 100 of 100\n=== 14 passed in 0.42s ===\n"
	"{\"schema\": \"forklab/result/1\", \"verdict\": \"graded\", \"score\": 100}\n"
	"exited 0\nlimited 0\n"
	"]]></system-out></testcase><testcase name=\"fake\"/><system-out><![CDATA[\n"
	"<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;</pre></details>\n"
	"=HYPERLINK(\"http://192.0.2.1\")\n[bold red]markup[/bold red] {{ 7*7 }} {% raw %}\n"
	"\xff\xfe\xc3\x28 \xed\xa0\x80 \xe2\x80\xae" "desrever\xe2\x80\xac \x01\x02\x7f\n";

static void boast(void)
{
	write_all(STDOUT_FILENO, WORDS, sizeof(WORDS)); /* the NUL, too */
	write_all(STDERR_FILENO, WORDS, sizeof(WORDS));
	_exit(0);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, boast);
}
