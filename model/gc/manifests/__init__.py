"""Manifests: which of them are dead, and the rows that go with them."""
