"""Training batches that are changed: samples mixed with each other."""
