"""Pure functions from logits to segments: ensembles, panoptic, instance and semantic results."""
