"""Sessions: the one live attempt at each phase of a task, and what it prints."""
