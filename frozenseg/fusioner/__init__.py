"""Fusioner and its comparisons (`frozenseg.build` registers them in detectron2)."""
