import sys

from forklab.cli import main

sys.exit(main())
