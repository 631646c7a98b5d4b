"""Forklab: labs on multi-process TCP servers in C, and a grader that looks from outside."""

__version__ = "0.1.0"
