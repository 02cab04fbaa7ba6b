"""The audit trail: what was decided, tried and refused, and for whom."""
