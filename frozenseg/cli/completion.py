"""Prints the code by which a shell completes `frozenseg` commands and their options.

eval "$(frozenseg completion bash)"          in ~/.bashrc; zsh in ~/.zshrc
frozenseg completion fish > ~/.config/fish/completions/frozenseg.fish
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def main(args: argparse.Namespace) -> None:
    """Prints it."""
    import argcomplete

    print(argcomplete.shellcode(["frozenseg"], shell=args.shell))
