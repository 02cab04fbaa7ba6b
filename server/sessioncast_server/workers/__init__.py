"""Several nodes on one port of one machine, a process each."""
