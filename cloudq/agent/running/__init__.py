"""The way of a job that was taken: prepared, submitted, followed, finished."""
