"""The console command `frozenseg`: a table of subcommands, each a module of this package.

`frozenseg data list` is `frozenseg/cli/data_list.py`: its docstring is the help, `add_arguments`
adds the options, `main` does the work. Only the module of the command that is asked for is
imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from frozenseg import __version__
from frozenseg.cli import program
from frozenseg.errors import nearest

COMMANDS = {
    "train": "train a decoder from a YAML config, or evaluate its weights",
    "evaluate": "score one model zero-shot on many benchmarks",
    "reproduce": "score a released model as published, beside the authors' figures",
    "segment": "segment images, videos or a webcam with your own words",
    "app": "the same as a web page",
    "serve": "the same as a service for programs, over HTTP",
    "label": "segment millions of images into Parquet files; resumes, also on a Ray cluster",
    "review": "a page to accept or reject the segments of a labelling job",
    "export": "write a model as ONNX or torch.export files that run without this code",
    "data list": "the datasets, and which of them are on disk",
    "data verify": "whether datasets on disk are complete and consistent",
    "data prepare": "convert a benchmark's published files, or write the miniature world",
    "data words": "the classes that a text, file, table or benchmark stands for",
    "weights list": "the weights that have a name, and which of them are here",
    "weights get": "download weights by name",
    "weights verify": "whether files of weights are whole and the ones that they should be",
    "weights convert": "rewrite a weights file as .safetensors",
    "weights join": "join a Mask-Adapter's weights and a model's",
    "draw": "image, ground truth and prediction side by side",
    "compare": "set results beside published scores",
    "report": "results as a page with charts, worst images, and what differences say",
    "sam-masks": "export SAM's automatic masks of a dataset or folder",
    "pairings": "train and score a grid of Fusioner pairings",
    "benchmark": "where the time and the memory of one image go",
    "benchmark classes": "memory and time against the number of classes",
    "benchmark fusioner": "the same for a Fusioner pairing, training included",
    "setup detectron2": "install detectron2 without a compiler",
    "completion": "code for the completion of commands in your shell",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command that `argv` (default: the program's arguments) names; exits with its code.

    Exit codes: see `frozenseg.cli.program`.
    """
    if "_ARGCOMPLETE" in os.environ:
        complete()
    with program.console():
        _run(argv)


def _run(argv: Sequence[str] | None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    name = command_of(words)
    if name:
        args = parser_of(name).parse_args(words[len(name.split()) :])
        program.run(module_of(name).main, args)
    if words[:1] == ["--version"]:
        print(f"frozenseg {__version__}")
    elif not words or words[0] in ("-h", "--help"):
        print(overview())
    elif any(known.startswith(f"{words[0]} ") for known in COMMANDS):
        print(overview(words[0]))
        sys.exit(0 if words[1:] in (["-h"], ["--help"]) else program.EXIT_USER_ERROR)
    else:
        near = nearest(" ".join(words[:2]), COMMANDS)[0]
        print(f"error: no command {words[0]!r}; did you mean '{near}'?", file=sys.stderr)
        sys.exit(program.EXIT_USER_ERROR)
    sys.exit(0)


def command_of(words: Sequence[str]) -> str:
    """The command that a command line begins with, the longest one; "" if there is none."""
    return next((name for n in (2, 1) if (name := " ".join(words[:n])) in COMMANDS), "")


def overview(group: str = "") -> str:
    """The usage line and the commands, or those of a group such as "data"."""
    shown = {n: s for n, s in COMMANDS.items() if not group or n.startswith(f"{group} ")}
    width = max(map(len, shown))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in shown.items()]
    return "\n".join(
        [
            f"usage: frozenseg {group + ' ' if group else ''}COMMAND ...",
            "",
            "Open-vocabulary segmentation with frozen foundation models.",
            "",
            *lines,
            "",
            "`frozenseg COMMAND --help` explains a command.",
        ]
    )


def module_of(name: str) -> Any:
    """The module of a command."""
    return import_module(f"frozenseg.cli.{name.replace(' ', '_').replace('-', '_')}")


def parser_of(name: str, parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The parser of a command, or `parser` with what that one has."""
    module = module_of(name)
    description, _, epilog = module.__doc__.partition("\n\n")
    if parser is None:
        parser = argparse.ArgumentParser(
            prog=f"frozenseg {name}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    program.add_debug_flag(parser)
    module.add_arguments(parser)
    return parser


def complete() -> None:
    """Answers the shell's question for completions, and exits."""
    import argcomplete

    root = argparse.ArgumentParser(prog="frozenseg")
    groups: dict[str, Any] = {"": root.add_subparsers()}
    for name in sorted(COMMANDS):
        group, _, last = name.rpartition(" ")
        if group not in groups:  # "data"; "benchmark" is a command, too, and comes first
            groups[group] = groups[""].add_parser(group).add_subparsers()
        parser = parser_of(name, groups[group].add_parser(last))
        if any(known.startswith(f"{name} ") for known in COMMANDS):
            groups[name] = parser.add_subparsers()
    argcomplete.autocomplete(root)
