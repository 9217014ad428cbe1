"""Datasets: catalog, mappers, proposals, preparation, verification, the miniature world."""
