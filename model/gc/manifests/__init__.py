"""Manifests: which of them are dead, and the deletion of their rows."""
