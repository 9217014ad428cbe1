"""Where the values of a config come from, YAML files with their bases and command-line pairs, and
their types.

Nothing here knows which keys exist; `frozenseg.config.load` does. fvcore's `load_yaml_with_base`
and yacs' merging would be shorter, but they join the files of a chain before a value is checked, so
that no error could name the file at fault; of two values of one key they keep the last silently;
a file that is its own base is read until Python's stack ends; and `BASE_LR: 1` is a wrong type.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from frozenseg.files import PACKAGE, flatten


class Source(NamedTuple):
    """Values from one place, in the order in which they were written.

    Attributes:
        name: for messages: the file's path, or "command line".
        folder: the file's folder; None for the command line.
        leaves: (dotted key, value) pairs.
    """

    name: str
    folder: Path | None
    leaves: list[tuple[str, Any]]


def read_files(path: Path) -> Iterator[Source]:
    """The `_BASE_` files of a YAML file, outermost first, then the file itself: later ones win.

    Raises: FileNotFoundError; ValueError with the line for YAML that is not a tree of sections.
    """
    yield from _read_chain(find_config(path), ())


def find_config(name: str | Path) -> Path:
    """The file of a config: `name` itself, or the packaged one of that name.

    A path that leads nowhere is returned as it is.
    """
    path = Path(name).expanduser()
    return path if path.exists() else packaged_config(path) or path


def packaged_config(name: str | Path) -> Path | None:
    """A file of `configs/`, of the package or of a checkout; None where there is none.

    "configs/miniature/fcclip.yaml" and "miniature/fcclip.yaml" are the same file, whatever the
    working folder is.
    """
    parts = Path(name).parts
    parts = parts[1:] if parts[:1] == ("configs",) else parts
    for folder in (PACKAGE / "configs", PACKAGE.parent / "configs"):
        if not Path(name).is_absolute() and folder.joinpath(*parts).is_file():
            return folder.joinpath(*parts)
    return None


def read_opts(opts: Sequence[str]) -> Source:
    """The flat pairs KEY VALUE KEY VALUE ... of a command line. Raises: ValueError if odd."""
    if len(opts) % 2:
        raise ValueError(
            f"command line: expected pairs KEY VALUE, got an odd number of words: {' '.join(opts)} "
            "(write 'KEY VALUE', not 'KEY=VALUE'; quote values that contain spaces)"
        )
    return Source("command line", None, list(zip(opts[::2], opts[1::2], strict=True)))


def decode(value: Any) -> Any:
    """Strings that are Python literals ("1e-4", "(1, 2)", "True") as their value, as yacs does."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError):
        return value


def coerce(value: Any, default: Any, key: str, source: str) -> Any:
    """`value` in the type of the key's default; strings are read as Python literals first.

    Raises: ValueError naming the source and the key.
    """
    decoded = decode(value)
    if isinstance(default, str):
        value = "" if value is None else decoded if isinstance(decoded, str) else value
    else:
        value = decoded
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)):
        if all(_alike(item, default[0]) for item in value if default):
            nested = default and isinstance(default[0], (list, tuple))
            return type(default)(map(type(default[0]), value) if nested else value)
        kind = f"list of {type(default[0]).__name__}"
    elif default is None or type(value) is type(default):
        return value
    else:
        kind = "list" if isinstance(default, tuple) else type(default).__name__
    raise ValueError(
        f"{source}: {key} expects a value of type {kind} (such as {shorten(default)}), "
        f"got {shorten(value)}"
    )


def beside(folder: Path, value: Any) -> Any:
    """The absolute path if `value` names a file relative to the folder of its YAML file.

    Of a list, each entry. A folder counts if it holds a model, that is a config.json.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(beside(folder, item) for item in value)
    if isinstance(value, str) and value:
        path = folder / value
        if path.is_file() or (path / "config.json").is_file():
            return str(path.resolve())
    return value


def shorten(value: Any, width: int = 60) -> str:
    """A value as it appears in a message."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def _alike(item: Any, example: Any) -> bool:
    """Both numbers, both texts, both truth values or both lists."""
    groups: tuple[tuple[type, ...], ...] = ((bool,), (int, float), (list, tuple), (str,))
    group = next(group for group in groups if isinstance(example, group))
    return isinstance(item, group) and isinstance(item, bool) == isinstance(example, bool)


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses two values of a key (plain YAML keeps the last one silently).

    The same value twice is fine: the released files have some keys twice.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. Raises: ConstructorError naming the key and both lines."""
        first: dict[str, yaml.Node] = {}
        for child, content in node.value:
            if not isinstance(child, yaml.ScalarNode) or child.value == "<<":
                continue
            earlier = first.setdefault(child.value, content)
            if earlier is not content and yaml.serialize(earlier) != yaml.serialize(content):
                lines = f"lines {earlier.start_mark.line + 1} and {content.start_mark.line + 1}"
                problem = f"the key {child.value!r} has two values in one section ({lines})"
                raise yaml.constructor.ConstructorError(None, None, problem, child.start_mark)
        return super().construct_mapping(node, deep)


def _read_chain(path: Path, children: tuple[Path, ...]) -> Iterator[Source]:
    wanted_by = f" (a _BASE_ of {children[-1]})" if children else ""
    if not path.is_file():
        raise FileNotFoundError(
            f"config file {path}{wanted_by} does not exist: give the path of a YAML file, or the "
            "name of a packaged one, such as configs/fcclip/r50.yaml"
        )
    if path.resolve() in [child.resolve() for child in children]:
        raise ValueError(f"{path}{wanted_by}: a file cannot be its own _BASE_; remove this entry")
    tree = _read_yaml(path)
    bases = tree.pop("_BASE_", [])
    for base in [bases] if isinstance(bases, str) else bases:
        yield from _read_chain(path.parent / Path(str(base)).expanduser(), (*children, path))
    yield Source(str(path), path.parent, list(flatten(tree)))


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML text file: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected sections such as 'MODEL:', got {shorten(tree)}")
    return tree
