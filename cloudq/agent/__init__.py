"""The agent: takes jobs from the bucket, runs them on a scheduler, writes states, logs and outputs back."""
