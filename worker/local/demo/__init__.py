"""The demonstration: fill a registry, collect its garbage with the whole system, verify the result."""
