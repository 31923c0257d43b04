"""What changes in the course of training: rates, settings, limits, which layers learn."""
