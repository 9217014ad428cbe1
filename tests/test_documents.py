"""The documents name links, files, config keys, programs and options that exist."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from frozenseg.cli.main import COMMANDS, command_of, parser_of
from frozenseg.config import get_config

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "datasets" / "README.md"])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_KEY = re.compile(
    r"\b(?:MODEL|DATASETS|TEST|INPUT|SOLVER|DATALOADER)(?:\.[A-Z][A-Z0-9_]*)+(?![\w*])"
)
_COMMAND = re.compile(r"^\s*(?:\$ )?python ((?:-m )?[\w./]+)([^\n`]*)", re.MULTILINE)
_OPTION = re.compile(r"(?<=\s)(--[a-z][\w-]*)")
# At the beginning of a line or of inline code, also as `torchrun ... -m frozenseg train`.
_FROZENSEG = re.compile(r"(?:^\s*|`|-m )frozenseg ([a-z][^\n`#]*)", re.MULTILINE)
_FILE = re.compile(r"\b(?:configs|frozenseg|tests|tools|demo)/[\w/.-]+\.(?:py|yaml|json|md)\b")
_PLACEHOLDER = re.compile(r"[A-Z]{4,}")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def slugs(path):
    """The anchors that a Markdown page offers, as GitHub makes them from its headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def dead_links(path):
    dead = []
    for link in _LINK.findall(path.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        file = path.parent / target if target else path
        if not file.exists() or (anchor and anchor not in slugs(file)):
            dead.append(link)
    return dead


def unknown_keys(text):
    config, unknown = get_config(), []
    for key in sorted(set(_KEY.findall(text))):
        node = config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            unknown.append(key)
    return unknown


def commands(text):
    """(program, its options) of every line that runs Python; continued lines are joined.

    A program's command ("tools/pretrain_miniature.py clip") belongs to its name.
    """
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    found = []
    for match in _COMMAND.finditer(joined):
        command = re.match(r" ([a-z]+)(?= |$)", match[2])
        found.append((match[1] + (command[0] if command else ""), _OPTION.findall(match[2])))
    return found


@lru_cache
def options_of(command):
    """The options of a command of the console program, those of its own commands included."""
    known, parsers = set(), [parser_of(command)]
    while parsers:
        for action in parsers.pop()._actions:
            known.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    return known


def unknown_commands(text):
    """What `frozenseg` does not know: commands, and their options."""
    unknown = []
    for line in _FROZENSEG.findall(re.sub(r"\s*\\\n\s*", " ", text)):
        command = command_of(line.split())
        if not command:
            unknown.append(line.split()[0])
            continue
        options = set(_OPTION.findall(f" {line}"))
        unknown += [f"{command} {option}" for option in sorted(options - options_of(command))]
    return unknown


def missing_files(text):
    """Files of the checkout that a page names and that are not there."""
    written = set(re.findall(r"^# ([\w/.]+)$", text, re.MULTILINE))
    named = {name for name in _FILE.findall(text) if not _PLACEHOLDER.search(Path(name).stem)}
    return sorted(name for name in named - written if not (ROOT / name).exists())


@lru_cache
def help_of(program):
    words = program.split()
    if words[0] != "-m":
        words[0] = str(ROOT / words[0])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""


def unknown_options(text):
    unknown = []
    for program, options in commands(text):
        if program.startswith("-m ") and not program.startswith(("-m frozenseg", "-m tools")):
            continue
        if f"# {program}\n" in text:  # a file that the page has the reader write
            continue
        known = re.findall(r"--[a-z][\w-]*", help_of(program))
        if not known:
            unknown.append(program)
        unknown += [f"{program} {option}" for option in options if option not in known]
    return unknown


@each_document
def test_links_lead_somewhere(path):
    assert dead_links(path) == []


@each_document
def test_config_keys_exist(path):
    assert unknown_keys(path.read_text(encoding="utf-8")) == []


@pytest.mark.slow
@each_document
def test_programs_and_their_options_exist(path):
    assert unknown_options(path.read_text(encoding="utf-8")) == []


@each_document
def test_commands_of_the_console_program_exist(path):
    text = path.read_text(encoding="utf-8")
    groups = {name.split()[0] for name in COMMANDS if " " in name}  # "`frozenseg data`"
    assert [name for name in unknown_commands(text) if name not in groups] == []


@each_document
def test_files_exist(path):
    assert missing_files(path.read_text(encoding="utf-8")) == []


def test_mistakes_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title: yes\n[a](gone.md) [b](#a-title-yes) [c](#no) [d](https://x.y)\n")
    assert dead_links(page) == ["gone.md", "#no"]
    assert unknown_keys("`MODEL.WEIGHTS`, SOLVER.MAX_ITER 3, MODEL.NOT_THERE, TEST.SAM_*") == [
        "MODEL.NOT_THERE"
    ]
    text = (
        "    python train_net.py --config-file a \\\n        --no-such 3\npython gone.py --help\n"
    )
    assert unknown_options(text) == ["train_net.py --no-such", "gone.py", "gone.py --help"]
    text = "`frozenseg gone` and\n    frozenseg train --config-file a \\\n      --no-such\n"
    text += "frozenseg data prepare ade20k --parts semantic --nor-this\n"
    assert unknown_commands(text) == ["gone", "train --no-such", "data prepare --nor-this"]
    assert missing_files(
        "`configs/gone.yaml`, frozenseg/files.py, configs/evaluation/NAME.yaml"
    ) == ["configs/gone.yaml"]
