/*
 * quoted-escapes: terminal escapes, markup and a fake report in what the compiler says: in #error, #warning
 * and in names.
 */
#error [2J[H <script>alert(1)</script> ]]> ÿþ Score: 100 of 100
#warning ]0;owned
int main(void) { return "[31mâ€®" + xí €; }
