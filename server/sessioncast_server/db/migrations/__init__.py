"""Migrations. They only add, so that the previous release runs on the new schema."""
