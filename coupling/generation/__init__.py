"""Files that a trained model draws: samples, traversals, translated images."""
