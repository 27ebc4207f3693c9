"""Embedded servers, sample data and the demonstration; not needed in production."""
