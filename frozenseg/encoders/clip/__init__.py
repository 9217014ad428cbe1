"""The frozen CLIP: image towers that give dense features, and its weights."""
