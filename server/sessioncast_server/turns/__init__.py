"""Turns: one after another, in order of arrival, across nodes."""
