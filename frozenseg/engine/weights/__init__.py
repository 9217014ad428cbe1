"""Weights by name: one table, a cache folder, resumable downloads."""

from frozenseg.engine.weights.lookup import cache_folder, locate, resolve, resolve_names
from frozenseg.engine.weights.table import WEIGHTS, WeightFile, find_weights

__all__ = [
    "WEIGHTS",
    "WeightFile",
    "cache_folder",
    "find_weights",
    "locate",
    "resolve",
    "resolve_names",
]
