"""Which jobs of the bucket an agent takes."""
