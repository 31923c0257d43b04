"""Gradients and weights: limited, measured, shown."""
