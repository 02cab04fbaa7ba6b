"""Models: which ones a project's sessions may run with, and how two of them compare."""
