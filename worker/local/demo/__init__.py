"""The whole system from nothing to a verified, reclaimed registry."""
