"""CloudQ: run jobs on every computer you have an account on, through one object storage bucket."""

__version__ = "2.0.0.dev0"
