"""The store: one function, one transaction, on SQLite or PostgreSQL."""
