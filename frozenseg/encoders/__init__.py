"""Frozen foundation models: CLIP, SAM, and the text and visual encoders of Fusioner."""
