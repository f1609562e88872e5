"""Placeholder until the owner of this file writes it (overwrite me)."""
