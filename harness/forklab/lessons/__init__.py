"""What the labs teach, as judgements that the checks of several labs share.

Each function looks at one thing, and fails the check through ``forklab.rubric.expect`` with what it
saw. Names that begin with an underscore are a module's own.
"""
