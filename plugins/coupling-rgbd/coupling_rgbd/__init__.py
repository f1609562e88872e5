"""Colour and depth domains for `coupling`: rendered objects and the paper's colour + depth networks."""
