"""Where the values of a config come from, YAML files with their bases and command-line pairs, and
their types.

Nothing here knows which keys exist; `frozenseg.config.load` does. fvcore's `load_yaml_with_base`
and yacs' merging would be shorter, but they join the files of a chain before a value is checked, so
that no error could name the file at fault; of two values of one key they keep the last silently;
a file that is its own base is read until Python's stack ends; and `BASE_LR: 1` is a wrong type.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from frozenseg.files import PACKAGE, flatten

_TREES = (list, tuple, dict)
DEEPEST, MOST_VALUES = 30, 1_000_000  # of a YAML file


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

    A base lies beside the file that names it, or is a packaged config (`packaged_config`).

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
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return value


def coerce(value: Any, default: Any, key: str, source: str, expected: str = "") -> Any:
    """`value` in the type of the key's default; strings are read as Python literals first.

    Args: expected: what the key takes, for the message; by default the type.
    Raises: ValueError naming the source and the key.
    """
    decoded = decode(value)
    if isinstance(default, str) and decoded is None:
        value = ""
    elif not (isinstance(default, str) and isinstance(value, str) and _is_number(decoded)):
        value = decoded  # for a text key "12" is a name, as of a folder; "[12]" and "True" are not
    if isinstance(default, float) and type(value) is int:
        with contextlib.suppress(OverflowError):
            return float(value)
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)):
        if all(_alike(item, default[0]) for item in value if default):
            nested = default and isinstance(default[0], (list, tuple))
            return type(default)(map(type(default[0]), value) if nested else value)
        kind = f"list of {type(default[0]).__name__}"
    elif type(value) is type(default) or (default is None and not isinstance(value, _TREES)):
        return value
    else:
        kind = "list" if isinstance(default, tuple) else type(default).__name__
    if expected and isinstance(default, (list, tuple)):
        expected = f"a list, each entry {expected}"
    needed = expected or f"a value of type {kind}"
    raise wrong_value(source, key, value, needed, f"such as {shorten(default)}")


def wrong_value(source: str, key: str, value: Any, needed: str, remark: str) -> ValueError:
    """The one message about a value that a key cannot have."""
    return ValueError(f"{source}: {key} expects {needed}, got {shorten(value)} ({remark})")


def beside(folder: Path, value: Any) -> Any:
    """The absolute path if `value` names a file relative to the folder of its YAML file.

    Of a list, each entry. A folder counts if it holds a model, that is a config.json.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(beside(folder, item) for item in value)
    if isinstance(value, str) and value:
        path = folder / value
        if path.is_file() or (path / "config.json").is_file():
            return str(path.parent.resolve() / path.name)  # a link has a name of its own
    return value


def shorten(value: Any, width: int = 60) -> str:
    """A value as it appears in a message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= width else text[: width - 3] + "..."


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _alike(item: Any, example: Any) -> bool:
    """Both numbers, both texts, both truth values or both lists."""
    groups: tuple[tuple[type, ...], ...] = ((bool,), (int, float), (list, tuple), (str,))
    group = next(group for group in groups if isinstance(example, group))
    return isinstance(item, group) and isinstance(item, bool) == isinstance(example, bool)


class _Loader(yaml.SafeLoader):
    """Safe YAML, bounded, that refuses two values of a key (plain YAML keeps the last silently).

    The same value twice is fine: the released files have some keys twice.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The document. Raises: ConstructorError for one that is too deep or large, see `_size`."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _size(node, {}, 0)
        return node

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


def _size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Nodes below and with `node`, every alias written out.

    A few lines of nested aliases can stand for billions of values, or for themselves.
    Args: known: node's id -> size; of nodes that are being counted 0.
    Raises: ConstructorError beyond `MOST_VALUES` or `DEEPEST`, with the line.
    """
    size = known.get(id(node))
    problem = ""
    if size == 0:
        problem = "an alias (*) stands inside what it names"
    elif depth > DEEPEST:
        problem = f"nested more than {DEEPEST} levels deep"
    elif size is None:
        known[id(node)] = 0
        parts = () if isinstance(node, yaml.ScalarNode) else node.value
        children = chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
        size = 1 + sum(_size(child, known, depth + 1) for child in children)
        known[id(node)] = size
        if size > MOST_VALUES:
            problem = f"more than {MOST_VALUES} values, with all aliases (*) written out"
    if problem:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return size or 1


def _read_chain(path: Path, children: tuple[Path, ...]) -> Iterator[Source]:
    wanted_by = f" (a _BASE_ of {children[-1]})" if children else ""
    if not path.is_file():
        raise FileNotFoundError(
            f"config file {path}{wanted_by} does not exist: give the path of a YAML file, or the "
            "name of a packaged one, such as configs/fcclip/r50.yaml"
        )
    if path.resolve() in [child.resolve() for child in children]:
        raise ValueError(f"{path}{wanted_by}: a file cannot be its own _BASE_; remove this entry")
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected sections such as 'MODEL:', got {shorten(tree)}")
    bases = tree.pop("_BASE_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: _BASE_ expects a file or a list of files, got {shorten(bases)}")
    for base in bases:
        beside_it = path.parent / Path(base).expanduser()
        found = beside_it if beside_it.exists() else packaged_config(base) or beside_it
        yield from _read_chain(found, (*children, path))
    yield Source(str(path), path.parent, list(flatten(tree)))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, with the checks of `_Loader`.

    Raises: ValueError that names file and line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path}{line}: not valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested more than {DEEPEST} levels deep") from error
    except (yaml.YAMLError, ValueError) as error:  # also of text that is not UTF-8, dates, numbers
        raise ValueError(f"{path}: not a YAML text file: {error}") from error
