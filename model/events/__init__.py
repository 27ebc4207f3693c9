"""Events: rows written with a change, the outbox that the relay publishes, webhooks, and the trigger."""
