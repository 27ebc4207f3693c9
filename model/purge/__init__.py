"""Purges of deleted repositories and namespaces: after their grace, everything of them goes."""
