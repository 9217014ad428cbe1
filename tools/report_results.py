#!/usr/bin/env python
"""`frozenseg report` in a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli.main import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
