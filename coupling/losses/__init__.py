"""Terms of the two teams' objectives."""
