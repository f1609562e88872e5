"""The configuration: read from YAML and checked; and the registry of the components that it may name."""
