"""What jobs leave in the bucket: logs and outputs, whole or as they grow."""
