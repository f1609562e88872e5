"""The sharing graph: which layers of which domains are one, as data and as a picture. Without torch."""
