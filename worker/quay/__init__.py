"""Neighbours of a live Quay: its lock and its security scanner."""
