"""The jobs of a bucket: found, listed, awaited, cancelled, deleted, requeued."""
