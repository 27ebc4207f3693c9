"""A live Quay's services: its lock and its security scanner."""
