"""Algorithm 1, and the run around it."""
