"""The settings by subject: groups of fields, and what their values may be."""
