"""From YAML to a checked configuration: what is wanted, and the registry of components it may name."""
