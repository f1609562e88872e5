"""A trained model: draw, score, classify, transform, save, load and publish."""
