"""Weights: by name, downloaded, read without pickle, loaded strictly, told apart by digests."""
