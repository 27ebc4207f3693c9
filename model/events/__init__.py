"""Events: rows written with a change, the outbox that publishes them, and the trigger."""
