"""Measures of a trained model, and what they measure with."""
