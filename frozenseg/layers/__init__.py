"""Layers that the models share: attention, samplers, mask pooling, position encoding."""
