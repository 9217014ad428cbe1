"""Checks files of weights: digest, format and content.

    frozenseg weights verify                        all that the cache has
    frozenseg weights verify fcclip-r50 model.pth   some of them, or other files

A digest is compared with the published one, or else with that of the first download or use, which
is kept beside the file (FILE.sha256). Files are read as for loading: nothing in them is run. Exit
code 1: a file differs or cannot be read.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="of `frozenseg weights list`, or a file; default: all files in the cache",
    )


def main(args: argparse.Namespace) -> int:
    """Prints a line for each file; 1 if one is not as it should be."""
    from frozenseg.checkpoints.lookup import path_of
    from frozenseg.checkpoints.table import WEIGHTS
    from frozenseg.files import cache_folder

    paths = [_path(name) for name in args.names]
    if not paths:
        folder = cache_folder("weights")
        rows = [path_of(row) for row in WEIGHTS.values() if row.file and not row.packaged]
        noted = [note.with_suffix("") for note in sorted(folder.glob("*.sha256"))]
        paths = [path for path in dict.fromkeys((*rows, *noted)) if path.is_file()]
        if not paths:
            print(f"{folder} has no weights; `frozenseg weights get NAME` downloads some")
    sound = []
    for path in paths:
        is_sound, line = check(path)
        sound.append(is_sound)
        print(f"{path}: {line}", flush=True)
    return 0 if all(sound) else 1


def check(path: Path) -> tuple[bool, str]:
    """Whether a file is what it should be, and a line about it.

    The digest of a file in the cache that has none yet is stored.
    """
    from frozenseg.checkpoints.lookup import path_of
    from frozenseg.checkpoints.reading import read_state_dict
    from frozenseg.checkpoints.table import WEIGHTS
    from frozenseg.files import file_sha256, record_digest, recorded_digest

    found = file_sha256(path)
    named = [row for row in WEIGHTS.values() if row.file and row.file == path.name]
    equal = [row for row in WEIGHTS.values() if row.sha256 == found]
    row = next(iter((*equal, *named)), None)
    size = f"{path.stat().st_size:,} bytes, sha256 {found}"
    about = f"{row.name}, {size}" if row else size
    published = row.sha256 if row else ""
    stored = recorded_digest(path) or (recorded_digest(path_of(row)) if row else "")
    expected = published or stored or found
    if expected != found:
        whose = "published" if published else "that of the first download or use"
        return False, f"DIFFERS: {about}; {whose} is {expected}: delete it and get it again"
    try:
        state = read_state_dict(path)
    except (ValueError, OSError) as error:
        return False, f"UNREADABLE: {about}; {error}"
    values = sum(tensor.numel() for tensor in state.values()) / 1e6
    about += f", {len(state)} tensors ({values:.1f} M values)"
    if row and row.packaged:
        return True, f"ok: {about}; part of the package"
    compared = "as published" if published else "as at its first download or use"
    if not (published or stored):
        compared = "no digest is published or stored"
        if row and path == path_of(row):
            record_digest(path, found)
            compared = "no digest is published; this one is stored from now on"
    return True, f"ok: {about}; {compared}{f'; from {row.source}' if row else ''}"


def _path(name: str) -> Path:
    from frozenseg.checkpoints.lookup import path_of
    from frozenseg.checkpoints.table import find_weights

    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"{name}: there is no such file")
    row = find_weights(name)
    if not row.file:
        raise ValueError(f"{name!r} is a tag of open_clip, which checks its files when they load")
    path = path_of(row)
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is not on this machine ({path}); `frozenseg weights get {name}` downloads it"
        )
    return path
