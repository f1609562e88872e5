"""Which layers of which domains are one: the graph, and its picture. No torch."""
