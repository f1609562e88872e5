"""A run as one HTML page, with its curves."""
