"""Packs detectron2 so that it installs without a compiler (the command `frozenseg setup`)."""
