"""The console command: its table, help, mistakes, version and completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import frozenseg
from frozenseg.cli import main as module
from frozenseg.cli.main import COMMANDS, command_of, main, module_of, parser_of

FOLDER = Path(module.__file__).parent
# A None in sys.modules makes every import of that name fail.
RUN = """
import sys
sys.modules.update(dict.fromkeys(("torch", "detectron2", "open_clip", "cv2", "numpy")))
from frozenseg.cli.main import main
main(sys.argv[1:])
"""


def said(*words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    output = capsys.readouterr()
    return ended.value.code, output.out, output.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_with_help_options_and_work(name):
    found = module_of(name)
    assert found.__doc__.partition("\n\n")[0].endswith((".", ":", "prediction."))
    parser = parser_of(name)
    assert parser.prog == f"frozenseg {name}"
    assert "--debug" in parser.format_help()
    assert callable(found.main)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_needs_no_heavy_package(name, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parents[1])}
    command = [sys.executable, "-c", RUN, *name.split(), "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: frozenseg {name}")


def test_the_longest_command_counts():
    assert command_of(["benchmark", "classes", "--runs"]) == "benchmark classes"
    assert command_of(["benchmark", "--runs"]) == "benchmark"
    assert command_of(["data"]) == ""
    assert command_of([]) == ""


def test_without_a_command_there_is_an_overview(capsys):
    code, out, _ = said(capsys=capsys)
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    assert said("--help", capsys=capsys)[1] == out


def test_a_group_shows_its_commands(capsys):
    code, out, _ = said("data", capsys=capsys)
    assert code == 2
    assert "data verify" in out
    assert "train" not in out.replace("training", "")
    assert said("data", "--help", capsys=capsys)[0] == 0
    assert said("data", "verfy", capsys=capsys)[0] == 2


def test_a_misspelt_command_is_named_with_the_nearest(capsys):
    code, _, err = said("segmnt", "--input", "a.png", capsys=capsys)
    assert code == 2
    assert err == "error: no command 'segmnt'; did you mean 'segment'?\n"


def test_the_version(capsys):
    assert said("--version", capsys=capsys)[:2] == (0, f"frozenseg {frozenseg.__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_code_for_the_shell(shell, capsys):
    code, out, _ = said("completion", shell, capsys=capsys)
    assert code == 0
    assert "frozenseg" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("frozenseg da", {"data"}),
        ("frozenseg data ", {"list", "verify", "prepare", "words"}),
        ("frozenseg data prepare pascal_", {"pascal_5i", "pascal_context", "pascal_voc"}),
        ("frozenseg segment --task ", {"panoptic", "semantic", "instance"}),
        ("frozenseg train --eval", {"--eval-only"}),
    ],
)
def test_the_shell_gets_completions(line, expected, tmp_path):
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        **{"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))},
        **{"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)},
    }
    command = [sys.executable, "-m", "frozenseg"]
    subprocess.run(command, env=environment, cwd=FOLDER.parents[1], check=False)
    found = {word.strip() for word in answer.read_text().split("\n")}
    assert expected <= found


@pytest.mark.slow
def test_a_missing_detectron2_is_named_with_the_remedy(tmp_path):
    code = "import sys; sys.modules['detectron2'] = None; import frozenseg; frozenseg.load()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER.parents[1], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: detectron2 is not installed; run: frozenseg setup detectron2"
    )
