"""Frozen text encoders, and the text classifier that is made with them."""
