"""Pictures of what a model does: predictions, samples, feature maps, attention, and its history."""
