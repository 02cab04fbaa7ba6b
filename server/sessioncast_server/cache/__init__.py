"""Answers that are kept for a while: in this process, and in Redis where there is one."""
