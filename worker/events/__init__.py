"""Events on their way: CloudEvents from the outbox to the topic exchange, and the worker's own queue."""
