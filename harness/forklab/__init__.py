"""Forklab: labs on multi-process TCP servers in C, and the grader that looks at them from outside."""

__version__ = "0.1.0"
