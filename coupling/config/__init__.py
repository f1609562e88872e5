"""From YAML to a checked configuration, and the registry of the components that it may name."""
