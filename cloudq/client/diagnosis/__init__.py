"""Why a job is as it is."""
