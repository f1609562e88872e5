"""What the framework relies on in a component, a module a kind; :mod:`coupling.testing` is the door."""
