"""What a trained model makes, as files: samples, traversals, transformed images."""
