# Every entry point of the kit. This file stays thin: grading is `forklab` (harness/forklab), set-up is
# harness/bootstrap.sh, lint is harness/lint.sh. The lines with two hashes are what plain `make` prints.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# A PYTHONPATH set for something else must not slip its modules under the grader.
unexport PYTHONPATH PYTHONHOME

PYTHON := .venv/bin/python -P
FORKLAB := $(PYTHON) -m forklab

CC = cc
CFLAGS = -std=gnu17 -Wall -Wextra -g
CPPFLAGS = -Ilabs/common

HOST = 127.0.0.1

# $(call quoted,VARIABLE): its value as one word for the shell, spaces and quotes included; nothing if it is empty.
quoted = $(if $(value $1),'$(subst ','\'',$(value $1))')

# What the targets that make a bundle have in common.
BUNDLE = $(if $(OUT),--out $(call quoted,OUT)) $(if $(EXTRA_CHECKS),--extra-checks $(call quoted,EXTRA_CHECKS)) \
	$(if $(WEIGHTS),--weights $(call quoted,WEIGHTS))

# $(call need,targets,VARIABLE,example): stop at once when the variable isn't given.
need = $(if $(filter $1,$(MAKECMDGOALS)),$(if $(value $2),,$(error make $(filter $1,$(MAKECMDGOALS)) needs \
	$2. For example: make $(filter $1,$(MAKECMDGOALS)) $3)))

EXTRA = $(if $(EXTRA_CHECKS),--extra-checks $(call quoted,EXTRA_CHECKS))

NUMBER := $(patsubst lab%,%,$(LAB))
LAB_DIR := $(if $(LAB),$(wildcard labs/lab$(NUMBER)-*))

$(call need,hint,CHECK,CHECK=4.7)
$(call need,watch play reset $(if $(CHECK),,trace),LAB,LAB=3)
$(call need,run,LAB,LAB=3 PORT=9190)
$(call need,run,PORT,LAB=3 PORT=9190)
$(call need,client,PORT,PORT=9190)
$(call need,grade,SUBMISSIONS,SUBMISSIONS=dir)
$(call need,gradescope,LAB,LAB=3)
ifneq ($(filter watch play reset run,$(MAKECMDGOALS)),)
$(if $(LAB_DIR),,$(error There is no lab $(LAB). The labs are: $(patsubst labs/lab%,LAB=%,$(basename \
	$(subst -,.,$(sort $(wildcard labs/lab*-*)))))))
endif

##@ For students
## help | this text
.PHONY: help
help:
	@echo "Forklab: learn to write multi-process TCP servers in C. Start with: make lab1"
	@awk -F ' [|] ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^## / { printf "  %-22s %s\n", substr($$1, 4), $$2 }' Makefile

## lab1 lab2 lab3 lab4 | build that lab's server and grade it
##   SUBMISSION=path | ... this file or folder instead (play, trace, ...: too)
##   JSON=file | ... and write the result record to it (- for stdout)
##   HTML=file | ... and a page with every failure in full
##   EXTRA_CHECKS=folder | ... with checks of your own as well (hint: too)
##   WEIGHTS=file | ... for other points than the rubric's
.PHONY: lab1 lab2 lab3 lab4
lab1 lab2 lab3 lab4: .venv/.forklab-stamp
	@$(FORKLAB) grade $@ $(call quoted,SUBMISSION) $(if $(JSON),--json $(call quoted,JSON)) \
		$(if $(HTML),--html $(call quoted,HTML)) $(EXTRA) $(if $(WEIGHTS),--weights $(call quoted,WEIGHTS))

## hint CHECK=4.7 | the next hint for that check
.PHONY: hint
hint: .venv/.forklab-stamp
	@$(FORKLAB) hint $(call quoted,CHECK) $(EXTRA)

## status | your best score of each lab
.PHONY: status
status: .venv/.forklab-stamp
	@$(FORKLAB) status

## watch LAB=3 | grade again each time you save
.PHONY: watch
watch: .venv/.forklab-stamp
	@$(FORKLAB) watch lab$(NUMBER) $(call quoted,SUBMISSION)

## play LAB=2 | see its processes live, and play its clients
.PHONY: play
play: .venv/.forklab-stamp
	@$(FORKLAB) play lab$(NUMBER) $(call quoted,SUBMISSION)

## trace LAB=2 | draw what it and its children did, into out/
##   SCENARIO=burst CLIENTS=3 | ... turns together burst vanish exit shutdown
##   CHECK=4.7 | ... with what that check's clients do (LAB: by itself)
##   PERFETTO=file | ... and for ui.perfetto.dev
.PHONY: trace
trace: .venv/.forklab-stamp
	@command -v strace >/dev/null || sh harness/bootstrap.sh strace
	@$(FORKLAB) trace lab$(or $(NUMBER),$(firstword $(subst ., ,$(CHECK)))) $(call quoted,SUBMISSION) \
		$(if $(SCENARIO),--scenario $(call quoted,SCENARIO)) \
		$(if $(CLIENTS),--clients $(call quoted,CLIENTS)) $(if $(CHECK),--check $(call quoted,CHECK)) \
		$(if $(PERFETTO),--perfetto $(call quoted,PERFETTO)) $(if $(OUT),--out $(call quoted,OUT))

## reset LAB=3 | start that lab anew: asks, and keeps a backup
.PHONY: reset
reset: .venv/.forklab-stamp
	@$(FORKLAB) reset lab$(NUMBER)

## run LAB=3 PORT=9190 | build that lab's server and run it, to try by hand
.PHONY: run
run: build/common/libcommon.a
	@mkdir -p build/run/lab$(NUMBER)
	@source=$(or $(call quoted,SUBMISSION),$(LAB_DIR)); [ ! -d "$$source" ] || source=$$source/server.c; \
	[ -e "$$source" ] || { echo "There is no file or folder $$source." >&2; exit 2; }; \
	set -x; $(CC) $(CFLAGS) $(CPPFLAGS) -o build/run/lab$(NUMBER)/server "$$source" build/common/libcommon.a -Wl,--allow-multiple-definition
	@exec build/run/lab$(NUMBER)/server $(call quoted,PORT)

## client PORT=9190 | talk to a server: a line in, its echo out
.PHONY: client
client: build/client
	@exec build/client $(call quoted,HOST) $(call quoted,PORT)

##@ For instructors
## grade SUBMISSIONS=dir | grade all that was handed in, into OUT=grades
##   LAB=3 JOBS=2 | ... as lab 3 only; two programs at a time
##   ROSTER=file DUE=time | ... and say who is missing, and who is late
##   TRUST=1 | ... where nothing would keep the programs apart
##   GRADEARGS=... | ... what else forklab batch --help lists
.PHONY: grade
grade: .venv/.forklab-stamp
	@$(FORKLAB) batch $(call quoted,SUBMISSIONS) $(if $(OUT),--out $(call quoted,OUT)) $(if $(LAB),--lab $(call quoted,LAB)) \
		$(if $(JOBS),--jobs $(call quoted,JOBS)) $(if $(ROSTER),--roster $(call quoted,ROSTER)) \
		$(if $(DUE),--due $(call quoted,DUE)) $(if $(TRUST),--trust-submissions) \
		$(EXTRA) $(if $(WEIGHTS),--weights $(call quoted,WEIGHTS)) $(GRADEARGS)

## gradescope LAB=3 | the autograder of that lab as a zip (OUT=file)
##   EXTRA_CHECKS=dir | ... with checks of your own (WEIGHTS=file: points)
.PHONY: gradescope
gradescope: .venv/.forklab-stamp
	@$(FORKLAB) bundle gradescope $(call quoted,LAB) $(BUNDLE)

## classroom50 [LAB=3] | the same for Classroom 50, as a folder (OUT=dir)
.PHONY: classroom50
classroom50: .venv/.forklab-stamp
	@$(FORKLAB) bundle classroom50 $(call quoted,LAB) $(BUNDLE)

## handout [LABS=1-3] | the students' copy of the kit (OUT=file)
.PHONY: handout
handout: .venv/.forklab-stamp
	@$(FORKLAB) bundle handout $(call quoted,LABS) $(BUNDLE)

##@ For maintainers
## solutions | grade the reference servers: 100 points each
.PHONY: solutions
solutions: .venv/.forklab-stamp
	@$(FORKLAB) solutions

## test | test the harness (TESTARGS='-k reap -x' goes to pytest)
.PHONY: test
test: .venv/.forklab-dev-stamp
	@workers=$$($(PYTHON) -c 'import os, xdist; print("-n", 1 + len(os.sched_getaffinity(0)))' 2>&-); \
	$(PYTHON) -m pytest -q harness/tests $$workers $(TESTARGS)

## mutants | grade the gallery of wrong servers and right ones
##   MUTANTARGS='lab4' | ... those of lab 4 alone (or --only TEXT, --tier uid)
.PHONY: mutants
mutants: .venv/.forklab-stamp
	@$(FORKLAB) mutants $(MUTANTARGS)

## soak RUNS=200 | look for a wrong verdict on a machine under load
.PHONY: soak
soak: .venv/.forklab-stamp
	@$(FORKLAB) soak $(if $(RUNS),--runs $(call quoted,RUNS))

## bench | how long grading takes (PROFILE=1: on what)
.PHONY: bench
bench: .venv/.forklab-stamp
	@$(FORKLAB) bench $(if $(PROFILE),--profile)

## lint | compilers' warnings, style and types of all code
.PHONY: lint
lint: .venv/.forklab-dev-stamp
	@bash harness/lint.sh

## format | lay out all C and Python code in the kit's style
.PHONY: format
format: .venv/.forklab-dev-stamp
	@bash harness/lint.sh --format

## figures | draw the pictures of the docs anew
##   RECORD=1 | ... and record the runs that some of them show
.PHONY: figures
figures: .venv/.forklab-stamp
	@$(FORKLAB) figures $(if $(RECORD),--record)

## docs | build the site into build/docs/index.html
.PHONY: docs
docs: .venv/.forklab-docs-stamp
	@$(PYTHON) -m sphinx -q -a -E -W --keep-going -n -b html -d build/docs.cache docs build/docs
	@echo "The site is in build/docs/index.html."

## docs-serve | ... and show it to this machine's browsers (PORT=8000)
.PHONY: docs-serve
docs-serve: docs
	@exec $(PYTHON) docs/_ext/serve.py $(call quoted,PORT)

## clean | remove build/ and caches; your progress stays
.PHONY: clean
clean:
	@rm -rf build .ruff_cache .mypy_cache .pytest_cache
	@find . \( -name .git -o -name .venv \) -prune -o -type d \
		\( -name __pycache__ -o -name .ruff_cache -o -name .mypy_cache -o -name .pytest_cache \) \
		-prune -exec rm -rf {} +

## distclean | clean, and remove .venv as well
.PHONY: distclean
distclean: clean
	@rm -rf .venv

# ---- set-up: nothing to do costs a few stat calls ----------------------------------------------------------

# The stamp holds the folder that .venv was made in: in a moved or copied checkout it is another one.
ifneq ($(file <.venv/.forklab-stamp),$(CURDIR))
.PHONY: .venv/.forklab-stamp
endif
.venv/.forklab-stamp: harness/bootstrap.sh harness/requirements.lock .venv/bin/python
	@sh harness/bootstrap.sh

# Testing must work without these tools: bootstrap.sh makes no stamp then, and does not fail.
.venv/.forklab-dev-stamp: .venv/.forklab-stamp harness/requirements-dev.lock
	@sh harness/bootstrap.sh dev

.venv/.forklab-docs-stamp: .venv/.forklab-stamp harness/requirements-docs.lock
	@sh harness/bootstrap.sh docs

# No recipe: where the Python behind .venv is gone (upgraded, removed), the stamp counts as old.
.venv/bin/python:

# ---- C: into build/, never beside the source ---------------------------------------------------------------

build/common/%.o: labs/common/%.c $(wildcard labs/common/*.h)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

# An archive, so that a server with a helper of its own by the same name links all the same.
build/common/libcommon.a: $(patsubst labs/%.c,build/%.o,$(wildcard labs/common/*.c))
	@rm -f $@
	@ar rcs $@ $^

build/client: labs/client/client.c build/common/libcommon.a
	@$(CC) $(CFLAGS) $(CPPFLAGS) -o $@ $^
