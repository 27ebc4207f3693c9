"""Read-only views of the collection: plan, explain, status."""
