"""What follows from what. Values in, values out; no I/O."""
