"""Losses: the terms of the generators' and the discriminators' objectives."""
