"""Discs and squares for `coupling`: an example of a plugin."""
