"""The invariants of the registry as queries.  Only reads; repairs nothing."""
