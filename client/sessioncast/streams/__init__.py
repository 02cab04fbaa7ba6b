"""Subscriptions and what carries them: frames, positions, transports."""
