"""The command line of the researcher: submit, stat, log, cancel, stageout, delete, list, history."""
