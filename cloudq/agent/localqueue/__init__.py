"""A small batch system for one host: jobs are processes, records are files, no daemon is installed.

Each command looks at the records below one directory (mode 0700) and ends. As long as jobs wait or run,
one supervisor process starts them in order, at most so many at once. Every task runs under a process of
its own (`task`) that enforces the walltime and writes down how the task ended. So nothing is lost when
the supervisor or the agent is killed: the next command starts a supervisor again, which goes by the
records. All of these processes have sessions of their own and outlive a logout.
"""
