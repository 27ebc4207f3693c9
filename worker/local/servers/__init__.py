"""The embedded servers, one module each."""
