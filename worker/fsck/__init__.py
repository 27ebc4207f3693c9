"""Consistency checks between rows and objects."""
