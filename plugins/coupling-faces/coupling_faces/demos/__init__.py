"""Demo models: coupling sample demo:faces."""
