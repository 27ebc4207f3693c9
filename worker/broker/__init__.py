"""Celery and the broker: connections, routes, queues, beat and worker signals."""
