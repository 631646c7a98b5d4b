#!/bin/sh
# Gradescope runs this once, as root, when it builds the image. All that a grading needs is set up here:
# a grading uses no network.
set -u
export DEBIAN_FRONTEND=noninteractive
kit=${AUTOGRADER:-/autograder}/source/kit # elsewhere only to try it out

die() {
	printf 'Forklab: %s\n' "$@" >&2
	exit 1
}

install() { apt-get -q -y --no-install-recommends install "$@"; }

modern='import sys, ensurepip; assert sys.version_info >= (3, 11)'

apt-get -q update || die "apt-get can't reach its mirror."
install gcc libc6-dev make python3 python3-venv || die "apt-get could not install gcc, make and Python."
if ! python3 -I -c "$modern" 2>/dev/null; then
	# Ubuntu 22.04 has 3.10, and 3.11 beside it.
	if ! { install python3.11 python3.11-venv && python3.11 -I -c "$modern"; }; then
		die "Python 3.11 or newer is needed. This image has $(python3 --version 2>&1), and no newer one can be had." \
			"In the assignment's settings (Configure Autograder) choose Ubuntu 24.04 as base image, then build again."
	fi
fi

sh "$kit/harness/bootstrap.sh" || die "the grader could not be set up; its words are above."

# Your own checks are for nobody else's eyes: submissions run as other users.
[ ! -d "$kit/extra-checks" ] || chmod 700 "$kit/extra-checks"

# Grades the starter, so that all of the grader's own programs are compiled now.
cd "$kit" || die "there is no $kit: was the zip repacked?"
.venv/bin/python -P -m forklab.bundles.there gradescope @LAB@ "$kit/labs" "$kit/starter.json" ||
	die "the grader does not work in this image; its words are above."
