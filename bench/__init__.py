"""Benchmarks: `python -m bench [NAME…]`; ratios in one run, since machines are noisy."""
