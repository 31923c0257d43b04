"""Files of a run: checkpoints, weights, exports."""
