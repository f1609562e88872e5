"""Demo models: coupling sample demo:digits."""
