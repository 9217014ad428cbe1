"""Who may import whom: the arrows of the architecture, checked on every import of frozenseg/.

Besides: no circle of modules, and no package whose `__init__` imports something heavy.

Counted are imports anywhere in a file (in functions, under TYPE_CHECKING, in try blocks), relative
ones, and importlib.import_module and __import__ with a literal name. A dynamic import whose name is
no literal cannot be checked and is refused, except in `frozenseg/__init__.py`, the lazy public API,
and in `cli`, which imports the command that is asked for.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "frozenseg"

GROUND = {"errors", "files", "progress", "device", "resize", "structures", "versions"}
FAMILY = {"encoders", "inference", "layers", "vocab"} | GROUND
BELOW_BUILD = {"config", "checkpoints", "data"} | FAMILY
MODELS = {"build", "mask_classification", "fusioner"} | BELOW_BUILD
ARROWS: dict[str, set[str]] = {
    **{room: set() for room in GROUND},
    "config": GROUND,
    "vocab": GROUND,
    "layers": GROUND,
    "data": {"vocab", "config"} | GROUND,
    "checkpoints": {"config"} | GROUND,
    "encoders": {"checkpoints", "layers", "vocab"} | GROUND,
    "inference": {"structures", "resize"},
    "mask_classification": FAMILY,
    "fusioner": FAMILY,
    "build": {"mask_classification", "fusioner"} | BELOW_BUILD,
    "evaluation": {"data", "vocab"} | GROUND,
    "visualization": {"data", "vocab"} | GROUND,
    "predict": {"visualization"} | MODELS,
    "engine": {"evaluation"} | MODELS,
    "detectron2_setup": GROUND,
}
ARROWS["reporting"] = {"evaluation", "visualization", "data", "vocab", "__init__"} | GROUND
ARROWS["exporting"] = {"predict"} | MODELS
ARROWS["loading"] = {"predict", "exporting", "checkpoints"} | GROUND
ARROWS["labelling"] = {"predict", "loading", "visualization"} | MODELS
ARROWS["web"] = {"labelling", "predict", "visualization"} | MODELS
ARROWS["benchmarking"] = {"engine"} | MODELS
ARROWS["cli"] = set(ARROWS) | {"__init__"}
ARROWS["__init__"] = {"loading", "exporting", "predict", "config", "vocab"} | GROUND
ARROWS["__main__"] = {"cli"}
SCRIPTS = {"train_net", "demo", "tools", "datasets", "tests", "configs"}
# Importing one of these costs from a tenth of a second to seconds.
HEAVY = {
    *("torch", "torchvision", "detectron2", "fvcore", "open_clip", "timm", "transformers", "cv2"),
    *("numpy", "scipy", "PIL", "pycocotools", "segment_anything", "matplotlib", "gradio"),
}


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module given by its path inside the package, () being the package itself."""
    return parts[0] if parts else "__init__"


def imported_names(tree: ast.AST, module: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of all imports of a file; "?" for one that cannot be read.

    `module` is the dotted name of the file's package (the folder it lies in).
    """
    importers = {"__import__", "import_module"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "importlib":
            importers |= {name.asname or name.name for name in node.names if "im" in name.name}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, module)
            yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in importers:
                yield node.lineno, dynamic_name(node, module)


def dynamic_name(node: ast.Call, module: tuple[str, ...]) -> str:
    """The module that a call of import_module or __import__ asks for."""
    given = [*node.args, *(word.value for word in node.keywords if word.arg == "name")]
    if not given or not isinstance(given[0], ast.Constant) or not isinstance(given[0].value, str):
        return "?"
    name = given[0].value
    level = len(name) - len(name.lstrip("."))
    return absolute(name.lstrip("."), level, module)


def absolute(name: str, level: int, module: tuple[str, ...]) -> str:
    base = module[: len(module) - level + 1] if level else ()
    return ".".join((*base, name) if name else base)


def violations(package: Path) -> list[str]:
    """One line per import that no arrow allows, and per room that the table does not know."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).with_suffix("").parts
        room = room_of(() if place == ("__init__",) else place)
        if room not in ARROWS:
            found.append(f"{path}: room {room} has no row in ARROWS")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        is_program = place[-1] == "__main__"  # run by `python -m`: it needs the command line's room
        for line, name in imported_names(tree, (package.name, *place[:-1])):
            if is_program and name.startswith(f"{package.name}.cli"):
                continue
            complaint = judge(room, name, package)
            if complaint:
                found.append(f"{path}:{line}: {complaint}")
    return found


Graph = dict[str, set[str]]


def module_graph(package: Path, *, at_import: bool = False) -> tuple[Graph, Graph]:
    """Module -> modules of the package that it imports, and -> top names of others.

    Args: at_import: only what is imported when the module is, not in functions nor for annotations.
    """
    files = {
        ".".join((package.name, *path.relative_to(package).with_suffix("").parts)): path
        for path in package.rglob("*.py")
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    own: Graph = {}
    others: Graph = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = (package.name, *path.relative_to(package).parts[:-1])
        nodes = ast.Module(list(run_at_import(tree.body)), []) if at_import else tree
        names = {name for _, name in imported_names(nodes, place)}
        targets = {n if n in files else n.rpartition(".")[0] for n in names}
        own[module] = {target for target in targets if target in files} - {module}
        if at_import:  # `import a.b.c` imports a and a.b, too
            parents = {".".join(t.split(".")[:i]) for t in own[module] for i in range(1, 9)}
            own[module] |= (parents & files.keys()) - {module}
        others[module] = {name.split(".")[0] for name in names}
    return own, others


def run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that are run when it is imported, those in functions left out."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from run_at_import([*node.body, *node.orelse])
        elif isinstance(node, (ast.ClassDef, ast.With)):
            yield from run_at_import(node.body)
        elif isinstance(node, ast.Try):
            yield from run_at_import([*node.body, *node.orelse, *node.finalbody])
        else:
            yield node


def circles(package: Path) -> list[str]:
    """Modules that reach themselves by imports, wherever those stand."""
    graph, _ = module_graph(package)
    return sorted(m for m in graph if m in closure(graph, m) and not m.endswith("__main__"))


def closure(graph: Graph, start: str) -> set[str]:
    """All that can be reached from `start`, itself only by a circle."""
    reached: set[str] = set()
    todo = list(graph[start])
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo += graph[module]
    return reached


def heavy_packages(package: Path) -> dict[str, list[str]]:
    """Package -> what of `HEAVY` importing it alone imports."""
    graph, others = module_graph(package, at_import=True)
    packages = {
        ".".join((package.name, *path.parent.relative_to(package).parts))
        for path in package.rglob("__init__.py")
    }
    found = {
        name: sorted(HEAVY & set().union(*(others[m] for m in {name} | closure(graph, name))))
        for name in packages
    }
    return {name: heavy for name, heavy in sorted(found.items()) if heavy}


def judge(room: str, name: str, package: Path) -> str | None:
    top, *rest = name.split(".")
    if name == "?":
        return (
            None if room in ("__init__", "cli") else "a dynamic import whose name is not a literal"
        )
    if top in SCRIPTS:
        return f"{room} imports {name}, a script"
    if top != package.name:
        return None
    target = room_of(tuple(rest))
    if not (package / target).is_dir() and not (package / f"{target}.py").is_file():
        target = "__init__"  # a name of the public API, not a module
    if target == room or target in ARROWS[room]:
        return None
    return f"{room} may not import {target} ({name})"


def test_every_import_of_the_package_follows_an_arrow():
    assert violations(PACKAGE) == []


def test_no_module_reaches_itself():
    assert circles(PACKAGE) == []


def test_no_package_imports_anything_heavy():
    assert heavy_packages(PACKAGE) == {}


def test_the_package_was_read_at_all():
    rooms = {
        path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")
    }
    assert rooms >= {"structures", "config", "cli", "layers", "vocab", "encoders", "inference"}
    structures = ast.parse((PACKAGE / "structures.py").read_text(encoding="utf-8"))
    assert "torch" in {name for _, name in imported_names(structures, ("frozenseg",))}


def test_no_arrow_leads_back():
    """The table itself has an order: no room can reach itself."""
    for room in ARROWS:
        assert room not in closure(ARROWS, room)
    assert "fusioner" not in closure(ARROWS, "mask_classification")
    assert "mask_classification" not in closure(ARROWS, "fusioner")
    assert "predict" not in closure(ARROWS, "engine")
    assert "engine" not in closure(ARROWS, "predict")
    below = closure(ARROWS, "evaluation") | closure(ARROWS, "visualization")
    assert not {"mask_classification", "fusioner", "build"} & below


STYLES = {
    "import": "import frozenseg.{room}.part",
    "import as": "import frozenseg.{room} as other",
    "one of several": "import os, frozenseg.{room}.part",
    "from package": "from frozenseg import {room}",
    "from room": "from frozenseg.{room} import part",
    "from module": "from frozenseg.{room}.part import Thing as Other",
    "star": "from frozenseg.{room}.part import *",
    "relative module": "from ..{room} import part",
    "relative room": "from .. import {room}",
    "relative deep": "from ..{room}.part import Thing",
    "in a function": "def f():\n    from frozenseg.{room} import part\n    return part",
    "in a method": "class A:\n    def f(self):\n        import frozenseg.{room}",
    "type checking": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
    "    from frozenseg.{room}.part import Thing",
    "in try": "try:\n    import frozenseg.{room}\nexcept ImportError:\n    pass",
    "importlib": "import importlib\nimportlib.import_module('frozenseg.{room}.part')",
    "importlib alias": "import importlib as il\nil.import_module('frozenseg.{room}')",
    "import_module": "from importlib import import_module as load\nload('frozenseg.{room}')",
    "importlib keyword": "import importlib\nimportlib.import_module(name='frozenseg.{room}')",
    "importlib relative": "import importlib\nimportlib.import_module('..{room}', __package__)",
    "dunder import": "__import__('frozenseg.{room}')",
}


FILES = {"__init__", "__main__", "build", "loading"} | GROUND


def make_tree(root: Path, code: str, place: str) -> Path:
    package = root / "frozenseg"
    for room in set(ARROWS) - FILES:
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
        (package / room / "part.py").write_text("Thing = 1\n", encoding="utf-8")
    for room in FILES:
        (package / f"{room}.py").touch()
    (package / place).parent.mkdir(exist_ok=True)
    (package / place).write_text(code, encoding="utf-8")
    return package


@pytest.mark.parametrize("style", STYLES)
def test_a_forbidden_import_is_found_however_it_is_written(style, tmp_path):
    package = make_tree(tmp_path, STYLES[style].format(room="engine"), "layers/mlp.py")
    [line] = violations(package)
    assert "layers/mlp.py:" in line
    assert "layers may not import engine" in line


@pytest.mark.parametrize("style", STYLES)
def test_an_allowed_import_passes_however_it_is_written(style, tmp_path):
    package = make_tree(tmp_path, STYLES[style].format(room="vocab"), "data/mapper.py")
    assert violations(package) == []


@pytest.mark.parametrize(
    ("place", "code", "expected"),
    [
        ("mask_classification/a.py", "import frozenseg.fusioner", "may not import fusioner"),
        ("fusioner/a.py", "from frozenseg import mask_classification", "may not import mask_c"),
        ("structures.py", "from .vocab import part", "structures may not import vocab"),
        ("files.py", "import frozenseg.structures", "files may not import structures"),
        ("config/a.py", "import frozenseg.vocab", "config may not import vocab"),
        ("predict/a.py", "from frozenseg.engine import part", "predict may not import engine"),
        ("engine/a.py", "from frozenseg.predict import part", "engine may not import predict"),
        ("web/a.py", "import frozenseg.engine", "web may not import engine"),
        ("engine/a.py", "import frozenseg.cli", "engine may not import cli"),
        ("data/__main__.py", "import frozenseg.engine", "data may not import engine"),
        ("engine/a.py", "from frozenseg import segment", "engine may not import __init__"),
        ("inference/a.py", "import frozenseg.vocab.part", "inference may not import vocab"),
        ("encoders/deep/a.py", "from ...engine import part", "encoders may not import engine"),
        ("engine/a.py", "import train_net", "engine imports train_net, a script"),
        ("visualization/a.py", "from demo.demo import main", "imports demo.demo.main, a script"),
        ("vocab/a.py", "from tools import benchmark", "vocab imports tools.benchmark, a script"),
        ("layers/a.py", "import importlib\nimportlib.import_module(x)", "not a literal"),
        ("attic/a.py", "import os", "room attic has no row"),
    ],
)
def test_each_kind_of_violation_is_named(place, code, expected, tmp_path):
    package = make_tree(tmp_path, code, place)
    [line] = violations(package)
    assert expected in line


@pytest.mark.parametrize(("place", "found"), [("data/__main__.py", 0), ("data/main.py", 1)])
def test_only_a_program_of_a_room_may_import_the_command_line(place, found, tmp_path):
    assert len(violations(make_tree(tmp_path, "from frozenseg import cli", place))) == found


def test_the_public_api_may_look_up_modules_by_a_computed_name(tmp_path):
    package = make_tree(tmp_path, "import importlib\nimportlib.import_module(x)", "__init__.py")
    assert violations(package) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from frozenseg.predict.b import x", "import frozenseg.predict.a"),
        ("def f():\n    from frozenseg.predict import b", "from frozenseg.predict import a"),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import frozenseg.predict.b",
            "from frozenseg.predict.a import Thing",
        ),
    ],
)
def test_a_circle_is_found_however_it_is_closed(first, second, tmp_path):
    package = make_tree(tmp_path, first, "predict/a.py")
    assert circles(package) == []
    (package / "predict" / "b.py").write_text(second, encoding="utf-8")
    assert circles(package) == ["frozenseg.predict.a", "frozenseg.predict.b"]


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import torch", ["torch"]),
        ("from detectron2.config import CfgNode", ["detectron2"]),
        ("from frozenseg.engine.part import Thing", ["numpy"]),  # by another module
        ("def f():\n    import torch", None),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", None),
    ],
)
def test_a_heavy_import_of_a_package_is_found(code, heavy, tmp_path):
    package = make_tree(tmp_path, code, "predict/__init__.py")
    (package / "engine" / "part.py").write_text("import numpy as np\nThing = 1\n")
    assert heavy_packages(package) == ({"frozenseg.predict": heavy} if heavy else {})


def test_importing_the_package_imports_neither_torch_nor_detectron2():
    code = (
        "import sys, frozenseg, frozenseg.cli, frozenseg.config, frozenseg.predict.words\n"
        "heavy = {'torch', 'detectron2', 'open_clip', 'timm', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
