"""The frozen SAM: image encoder, automatic masks, weights."""
