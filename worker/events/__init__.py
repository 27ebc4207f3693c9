"""Events: CloudEvents from the outbox to the topic exchange, and from there to the workers' own queues."""
