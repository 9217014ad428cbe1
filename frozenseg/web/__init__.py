"""The web page of `frozenseg app`."""
