"""Prometheus metrics of a worker, over all processes of its pool; nothing at all where the port is 0."""
