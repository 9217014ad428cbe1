"""Frozen visual encoders that give one feature per patch (Fusioner)."""
