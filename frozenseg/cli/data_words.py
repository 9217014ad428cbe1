"""Shows the classes that words stand for: what a model is asked for.

    frozenseg data words "cat, kitten; dog; sky:stuff"
    frozenseg data words ade20k_150
    frozenseg data words words.txt --output words.json

WORDS are what every `--vocabulary` takes: the words, a .txt, .tsv or .json file, a class table, or
the name of a benchmark. --output writes them as a file that every `--vocabulary` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from frozenseg.predict.words import read_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("words", metavar="WORDS", help="words, file, class table or benchmark")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a .json file to write")


def main(args: argparse.Namespace) -> None:
    """Prints a table, and writes --output."""
    from tabulate import tabulate

    vocabulary = read_words(args.words)
    rows = [
        (index, each.name, ", ".join(each.synonyms[1:]), "thing" if thing else "stuff")
        for index, (each, thing) in enumerate(
            zip(vocabulary.classes, vocabulary.thing_mask, strict=True)
        )
    ]
    print(tabulate(rows, headers=("class", "name", "further names", "kind")))
    print(f"{len(rows)} classes, digest {vocabulary.digest[:16]}")
    if args.output:
        vocabulary.save(args.output)
