"""A trained model: draw, score, classify, invert, save."""
