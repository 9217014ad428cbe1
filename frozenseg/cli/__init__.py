"""The command line: `frozenseg SUBCOMMAND`, a module for each (imports nothing heavy)."""
