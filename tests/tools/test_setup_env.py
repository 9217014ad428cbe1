"""tools/setup_env.sh with stand-ins for Python, pip and df: its order, its checks, its recovery."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("tools/setup_env.sh", "tools/install_detectron2.py", "requirements.lock")
COPIED += ("requirements.txt", "pyproject.toml", "frozenseg/cli/setup_detectron2.py")

# Answers like a Python 3.11, notes its arguments, makes venvs that hold itself. `fail_if_called`
# may name a part of the arguments at which it fails.
FAKE_PYTHON = """#!/bin/bash
here=$(dirname "$0")
case "$1 $2" in
    "-c import sys; print"*) echo "${FAKE_VERSION:-3.11}"; exit 0 ;;
    "-c import venv"*) exit "${FAKE_NO_VENV:-0}" ;;
    "-c "*) exit 0 ;;
    "--version "*) echo "Python 3.11.9"; exit 0 ;;
esac
echo "$*" >> "$LOG"
if [ -n "$FAIL_AT" ] && [[ "$*" == *"$FAIL_AT"* ]]; then exit 1; fi
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
"""


class Tree:
    """A copy of what the script reads, and the stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        self.bin = folder / "bin"
        self.log = folder / "log"
        for name in COPIED:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        shutil.copytree(
            ROOT / "frozenseg/detectron2_setup", self.root / "frozenseg/detectron2_setup"
        )
        self.bin.mkdir()
        self.python = self.executable("python3", FAKE_PYTHON)
        self.executable(
            "df", "#!/bin/bash\necho head\necho disk 0 0 $((${FREE_GB:-99} * 1048576))\n"
        )

    def executable(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Calls the script with only the stand-ins and the system's tools on the path."""
        environment = {"PATH": f"{self.bin}:/usr/bin:/bin", "LOG": str(self.log), **variables}
        script = self.root / "tools/setup_env.sh"
        return subprocess.run(
            ["bash", str(script)], env=environment, capture_output=True, text=True, cwd="/"
        )

    def calls(self) -> list[str]:
        """What was called since the last time; without options and temporary names."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split()[-1] if "pip" in line else line for line in lines]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


INSTALL = [".venv/.setuptools.lock", "requirements.lock"]
FINISH = ["tools/install_detectron2.py", "."]
ALL = ["-m venv .venv", *INSTALL, *FINISH]


def test_first_call_does_everything_in_order_and_the_second_nothing(tree: Tree) -> None:
    first = tree.run()
    assert first.returncode == 0, first.stderr
    assert tree.calls() == ALL
    assert "setup: making .venv with Python 3.11.9" in first.stdout
    second = tree.run()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert tree.calls() == []


def test_lock_is_installed_without_resolver_isolation_or_dependencies(tree: Tree) -> None:
    tree.run()
    line = next(x for x in tree.log.read_text().splitlines() if x.endswith("-r requirements.lock"))
    assert "--no-deps --require-hashes --no-build-isolation" in line
    assert "-q" not in line.split()
    first = (tree.root / ".venv/.setuptools.lock").read_text().splitlines()
    assert first[0].startswith("setuptools==")
    assert [part.split("=")[0].strip() for part in first[1:]] == ["--hash"] * (len(first) - 1)
    assert len(first) > 1


def test_another_lock_goes_into_another_folder(tree: Tree) -> None:
    shutil.copy(ROOT / "requirements-lowest.lock", tree.root)
    assert tree.run(VENV=".venv-lowest", LOCK="requirements-lowest.lock").returncode == 0
    assert tree.calls() == [
        "-m venv .venv-lowest",
        *(".venv-lowest/.setuptools.lock", "requirements-lowest.lock"),
        *FINISH,
    ]
    assert not (tree.root / ".venv").exists()


@pytest.mark.parametrize("step", ["-m venv", ".setuptools.lock", "-r requirements.lock"])
def test_an_interrupted_installation_starts_again(tree: Tree, step: str) -> None:
    assert tree.run(FAIL_AT=step).returncode != 0
    tree.calls()
    again = tree.run()
    assert again.returncode == 0, again.stderr
    assert "interrupted; starting again" in again.stdout
    assert tree.calls() == ALL


@pytest.mark.parametrize("step", ["tools/install_detectron2.py", "--editable ."])
def test_a_later_failure_keeps_the_installed_packages(tree: Tree, step: str) -> None:
    assert tree.run(FAIL_AT=step).returncode != 0
    tree.calls()
    assert tree.run().returncode == 0
    assert tree.calls() == FINISH


def test_a_changed_lock_is_installed_into_the_same_venv(tree: Tree) -> None:
    tree.run()
    tree.calls()
    with (tree.root / "requirements.lock").open("a") as file:
        file.write("another==1.0\n")
    assert tree.run().returncode == 0
    assert tree.calls() == [*INSTALL, *FINISH]


def test_changed_rules_only_repeat_the_last_steps(tree: Tree) -> None:
    tree.run()
    tree.calls()
    (tree.root / "frozenseg/detectron2_setup/rules.py").write_text("")
    assert tree.run().returncode == 0
    assert tree.calls() == FINISH


def test_a_moved_tree_gets_a_new_venv(tree: Tree) -> None:
    tree.run()
    tree.calls()
    tree.root = tree.root.rename(tree.root.with_name("moved"))
    assert tree.run().returncode == 0
    assert tree.calls() == ALL


def test_a_venv_of_the_user_is_not_touched(tree: Tree) -> None:
    (tree.root / ".venv/lib").mkdir(parents=True)
    result = tree.run()
    assert result.returncode == 2
    assert "was not made by this script" in result.stderr
    assert (tree.root / ".venv/lib").is_dir()
    assert tree.calls() == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PYTHON": "/nowhere/python"}, "PYTHON=/nowhere/python is not an executable"),
        ({"FAKE_NO_VENV": "1"}, "python3 has no venv module; install it"),
        ({"FREE_GB": "6"}, "about 7 GB of disk space are needed and 6 GB are free"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    tree: Tree, variables: dict[str, str], message: str
) -> None:
    result = tree.run(**variables)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert tree.calls() == []


def test_disk_check_can_be_stepped_over(tree: Tree) -> None:
    assert tree.run(FREE_GB="1", MIN_DISK_GB="0").returncode == 0


def test_an_old_python_is_refused_or_passed_over(tree: Tree) -> None:
    old = '#!/bin/bash\n[ "$1" = --version ] && echo "Python 3.8.18"; [ "$1" = --version ]\n'
    path = tree.executable("python3.12", old)  # a shim that answers with another version
    result = tree.run(PYTHON=str(path))
    assert result.returncode == 2
    assert "is Python 3.8.18; Python 3.10 to 3.13 is needed" in result.stderr
    assert tree.run().returncode == 0  # finds python3
    tree.python.write_text(old)
    shutil.rmtree(tree.root / ".venv")
    environment_path = os.pathsep.join([str(tree.bin), str(make_tools(tree.bin.parent))])
    result = tree.run(PATH=environment_path)
    assert result.returncode == 2
    assert "no Python 3.10 to 3.13 found (tried python3 python3.12" in result.stderr


def make_tools(folder: Path) -> Path:
    """A folder with the system's tools that the script uses, and no Python of the system."""
    tools = folder / "tools"
    tools.mkdir()
    for name in "bash cat cksum dirname tr sed awk mkdir rm touch grep head du cut cp".split():
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    return tools


def test_another_python_for_an_existing_venv_is_refused(tree: Tree) -> None:
    tree.run()
    tree.calls()
    same = tree.run(PYTHON=str(tree.python))
    assert same.returncode == 0
    other = tree.executable("other", FAKE_PYTHON.replace("${FAKE_VERSION:-3.11}", "3.12"))
    result = tree.run(PYTHON=str(other))
    assert result.returncode == 2
    assert ".venv has Python 3.11" in result.stderr
    assert "make clean" in result.stderr
