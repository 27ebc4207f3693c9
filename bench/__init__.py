"""Benchmarks: `python -m bench [NAME…]`.  They report ratios within one run, since machines are noisy."""
