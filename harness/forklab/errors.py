"""The two ways in which grading ends without a verdict on the program."""


class GraderError(Exception):
    """The grader could not do its part. Never the student's fault, never a zero: exit status 4."""


class UsageError(Exception):
    """The request makes no sense (no such file, no such lab): exit status 2."""
