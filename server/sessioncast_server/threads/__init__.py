"""Threads: chat histories that last, stay apart, stay small, and are seen live."""
