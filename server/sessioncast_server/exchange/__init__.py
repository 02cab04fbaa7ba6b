"""How a request meets the store: one conditional read, or one idempotent change."""
