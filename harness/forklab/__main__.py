import os
import sys

from forklab.cli import main

status = main()
sys.stdout.flush()
sys.stderr.flush()
# Without taking everything apart first, which takes 25 ms: the kernel does it in no time.
os._exit(status)
