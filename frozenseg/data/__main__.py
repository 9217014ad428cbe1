"""`python -m frozenseg.data list | verify` is `frozenseg data list | verify`."""

import sys

from frozenseg.cli.main import main

if __name__ == "__main__":
    main(["data", *sys.argv[1:]])
