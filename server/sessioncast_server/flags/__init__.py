"""Flags: behaviour that is switched at run time, for all projects or for a share of them."""
