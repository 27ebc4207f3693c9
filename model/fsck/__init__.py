"""Every invariant of the registry as a query: reads only, repairs nothing."""
