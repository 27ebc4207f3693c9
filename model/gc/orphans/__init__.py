"""Garbage that no tag leads to: two passes find it, with at least a delay between them."""
