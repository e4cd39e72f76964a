"""Fuzzing of everything that reads what others wrote: `make fuzz`; the unit tests replay the seeds."""
