"""A project's ordered log of events, and what carries it to subscribers."""
