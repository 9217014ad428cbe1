"""Pictures: overlays, sheets of comparisons, plots."""
