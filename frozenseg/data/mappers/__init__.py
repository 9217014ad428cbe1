"""From a record of a dataset to what the models take."""
