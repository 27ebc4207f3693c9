"""Purges of deleted repositories and namespaces: after the grace period all of their rows are deleted."""
