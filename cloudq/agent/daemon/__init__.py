"""The agent as a process: one of a name, started, stopped, alive for all to see."""
