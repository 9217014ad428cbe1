"""Shows the classes that words stand for: what a model is asked for.

    frozenseg data words "cat, kitten; dog; sky:stuff"
    frozenseg data words ade20k_150
    frozenseg data words words.txt --output words.json
    frozenseg data words ade20k_150 --words fcclip
    frozenseg data words get fcclip

WORDS are what every `--vocabulary` takes: the words, a .txt, .tsv or .json file, a class table, or
the name of a benchmark. --words shows a benchmark under the names of a released set or of a file,
as `frozenseg evaluate --words` asks for it. --output writes them as a file that every
`--vocabulary` reads.

`get fcclip` downloads the lists that the published scores of FC-CLIP and FrozenSeg were measured
with (their repository's, Apache-2.0) into the cache; checksums are checked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from frozenseg.checkpoints.download import download
from frozenseg.cli.options import WORDS_HELP
from frozenseg.data.catalog.lookup import find_split, row_vocabulary, splits_of
from frozenseg.data.catalog.word_sets import (
    OWN,
    WORD_SETS,
    WordList,
    check_words,
    list_path,
    with_words,
)
from frozenseg.predict.words import read_words
from frozenseg.vocab import Vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="WORDS",
        help="words, file, class table or benchmark; or get SET, to download a released set",
    )
    parser.add_argument("--words", dest="word_set", default=OWN, metavar="SET", help=WORDS_HELP)
    parser.add_argument("--output", type=Path, metavar="FILE", help="a .json file to write")


def main(args: argparse.Namespace) -> None:
    """Prints a table, and writes --output; or downloads a set."""
    from tabulate import tabulate

    if args.words[0] == "get" and args.words[1:]:
        for name in args.words[1:]:
            _get(name)
        return
    vocabulary = _vocabulary(" ".join(args.words), args.word_set)
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


def _vocabulary(text: str, word_set: str) -> Vocabulary:
    if word_set == OWN:
        return read_words(text)
    check_words(word_set)
    row = (splits_of(text, "val") or [find_split(text)])[0]
    return with_words(row_vocabulary(row), row, word_set)


def _get(name: str) -> None:
    if name not in WORD_SETS:
        raise ValueError(f"no released set of words {name!r}; there is {', '.join(WORD_SETS)}")
    for word_list in dict.fromkeys(WORD_SETS[name][0].values()):
        fetch(name, word_list)


def fetch(name: str, word_list: WordList) -> None:
    """Downloads a list of the set `name` unless it is there, and prints where it is."""
    path, source = list_path(name, word_list), WORD_SETS[name][1]
    download(f"{source}/{word_list.file}", path, sha256=word_list.sha256, source=source)
    print(path, flush=True)
