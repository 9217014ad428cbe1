"""Datasets: one row for each split of a benchmark, the user's own, and their registration."""
