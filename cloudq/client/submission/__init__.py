"""The way of a job into the bucket: script, inputs, options; nothing is stored before all is checked."""
