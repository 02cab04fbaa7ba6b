"""Tasks: pieces of work in a project."""
