"""Benchmarks: `python -m bench [NAME…]`.  They report ratios within one run, because machines are noisy."""
