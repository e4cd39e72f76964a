"""The names of the targets, for who must not import what they import."""

NAMES = (
    "manifest",
    "presence",
    "statement",
    "metascript",
    "definitions",
    "configuration",
    "slurm",
    "gridengine",
    "pbs",
    "localqueue",
    "archive",
    "agentfiles",
    "log",
)
