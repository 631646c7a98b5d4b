"""Grades @LAB@ for Classroom 50, whose runner starts this in the student's checkout.

Status 0: result.json and release-body.md are written. Otherwise there is no mark, the run counts as
a fault of the grader's, and a sentence says why.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

bundle = Path(__file__).resolve().parent
checkout = Path.cwd()

with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    subprocess.check_call(["tar", "-xzf", bundle / "kit.tar.gz", "-C", folder, "--no-same-owner"])
    # Every submission runs as a user of its own, who must be able to reach what it runs.
    Path(folder).chmod(0o755)
    status = subprocess.call(["sh", f"{folder}/harness/bootstrap.sh"])
    if status == 0:
        command = [f"{folder}/.venv/bin/python", "-P", "-m", "forklab.bundles.there"]
        command += ["classroom50", "@LAB@", str(checkout), str(checkout / "result.json")]
        status = subprocess.call(command, cwd=folder)
if status != 0:
    print(f"::error::no mark: the autograder of @LAB@ ended with status {status}", file=sys.stderr)
sys.exit(status)
