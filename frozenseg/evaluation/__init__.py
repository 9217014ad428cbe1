"""Scores by task, for seen and unseen classes apart, and the files that keep them."""
