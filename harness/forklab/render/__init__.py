"""Reports made from the record of a grading, a file each. The record is their only input."""
