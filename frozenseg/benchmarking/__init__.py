"""Time, memory and agreement of a model, measured (the command `frozenseg benchmark`)."""
