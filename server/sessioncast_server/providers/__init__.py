"""Provider sessions: uses of an AI provider within a session, what they cost, and what may be resumed."""
