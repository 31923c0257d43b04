"""A run without the trainer: the engine around a loop that its author writes."""
