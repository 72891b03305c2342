"""Compiled inner loops. They release the GIL, take ranges of rows and leave the threads to their callers."""
