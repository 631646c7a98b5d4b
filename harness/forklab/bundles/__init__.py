"""Copies of the kit to give away: for students, and for platforms that grade."""
