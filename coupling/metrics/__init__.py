"""Metrics of a trained model, and the probes and feature networks that they use."""
