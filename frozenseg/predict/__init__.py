"""The public API: images and words in, segmentations out."""
