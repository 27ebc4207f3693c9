"""Garbage that no tag leads to: found in two passes, at least a delay apart."""
