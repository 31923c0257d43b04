"""Averages of weights: kept while training, used where the model is judged."""
