"""Whether a dataset on disk is complete and consistent, and what repairs it."""
