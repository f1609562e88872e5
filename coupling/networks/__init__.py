"""The coupled generators and discriminators, built from architectures along a sharing graph."""
