"""The systems of a bucket: what their agents publish, and what that means for a job."""
