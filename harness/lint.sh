#!/bin/bash
# What `make lint` does (`make format`: --format). Every step runs, also after one has found something;
# a step that finds nothing prints one line. A tool that is missing counts as a finding, and is told.
set -u
cd "$(dirname "$0")/.." || exit 4

# The gallery is strange on purpose, and the starters are copies: neither is looked at. What tests compile
# for themselves isn't either.
skip='^harness/(mutants|accepted|hostile|starters|tests)/'
mapfile -t c_files < <(find labs solutions harness docs -name '*.c' | grep -Ev "$skip" | sort)
mapfile -t c_and_h < <(find labs solutions harness docs -name '*.[ch]' | grep -Ev "$skip" | sort)
shell_files=(harness/*.sh harness/tests/*.sh harness/forklab/bundles/templates/gradescope/* .ci/run)
c_flags=(-std=gnu17 -Wall -Wextra -Ilabs/common)
PATH=$PWD/.venv/bin:$PATH
findings=0

out=$(mktemp -d) || exit 4
trap 'rm -rf "$out"' EXIT

# step TOOL PACKAGE TITLE COMMAND...: runs the command if there is such a tool.
step() {
	local tool=$1 package=$2 title=$3
	shift 3
	if ! command -v "$tool" >/dev/null; then
		echo "missing  $title: install $tool ($package)"
	elif "$@" >"$out/log" 2>&1; then
		echo "ok       $title"
		return
	else
		echo "FOUND    $title"
		sed 's/^/         /' "$out/log"
	fi
	findings=$((findings + 1))
}

compile() {
	local file status=0
	for file in "${c_files[@]}"; do
		gcc "${c_flags[@]}" -Werror "$@" -S -o "$out/code.s" "$file" || status=1
	done
	return $status
}

# One at a time: clang-tidy 14 takes a va_list for uninitialised when it comes from an earlier file.
tidy() {
	local file status=0
	for file in "${c_files[@]}"; do
		clang-tidy --quiet "$file" -- "${c_flags[@]}" 2>"$out/noise" || {
			cat "$out/noise"
			status=1
		}
	done
	return $status
}

types() (cd harness && mypy --no-error-summary)

# Students change labs/; a maintainer who does so must change the pristine copy as well.
starters_are_pristine() {
	local lab copy status=0
	for lab in labs/lab*-*/; do
		copy=harness/starters/$(basename "$lab").c
		cmp -s "$lab/server.c" "$copy" && continue
		status=1
		echo "${lab}server.c and $copy differ. For maintainers: copy the one that you mean over the other" \
			"(a student's own work is no finding)."
	done
	return $status
}

if [ "${1:-}" = --format ]; then
	step clang-format "apt: clang-format" "lay out C" clang-format -i "${c_and_h[@]}"
	step ruff "pip: ruff" "lay out Python" ruff format harness docs
	exit $((findings > 0))
fi

step gcc "apt: gcc" "gcc -Wall -Wextra" compile -O2
step gcc "apt: gcc" "gcc -fanalyzer" compile -fanalyzer
step clang-tidy "apt: clang-tidy" "clang-tidy" tidy
step clang-format "apt: clang-format" "clang-format" clang-format --dry-run -Werror "${c_and_h[@]}"
step ruff "pip: ruff" "ruff check" ruff check harness docs
step ruff "pip: ruff" "ruff format" ruff format --check --diff harness docs
step mypy "pip: mypy" "mypy" types
step shellcheck "apt: shellcheck" "shellcheck" shellcheck "${shell_files[@]}"
step cmp "apt: diffutils" "labs/ are the pristine starters" starters_are_pristine

if [ "$findings" -gt 0 ]; then
	echo "$findings steps found something."
	exit 1
fi
