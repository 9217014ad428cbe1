"""`python -m frozenseg` is the console command `frozenseg`."""

from frozenseg.cli.main import main

if __name__ == "__main__":
    main()
