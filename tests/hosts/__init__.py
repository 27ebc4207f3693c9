"""Hosts of their own on one machine: what partitions, slow lines and failovers must not do."""
