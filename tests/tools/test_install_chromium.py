"""tools/install_chromium.sh: takes what is there, says what to do where nothing is."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "install_chromium.sh"


def call(folder, *words):
    return subprocess.run(
        ["/bin/bash", str(SCRIPT), *words],
        env={"PATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def user(tmp_path):
    """A PATH of its own, where nobody is root."""
    program(tmp_path, "id", "echo 1000")
    return tmp_path


def test_a_browser_that_is_there_is_kept(user):
    program(user, "apt-get", "echo must not run; exit 9")
    browser = program(user, "google-chrome", "")
    done = call(user)
    assert (done.returncode, done.stdout) == (0, f"{browser}\n")


def test_without_root_it_says_how(user):
    program(user, "apt-get", "echo must not run >&2; exit 9")
    done = call(user)
    assert done.returncode == 1
    assert "apt-get install chromium" in done.stderr
    assert "must not run" not in done.stderr


def test_root_installs_it_after_an_update(user):
    program(user, "id", "echo 0")
    log, made = user / "log", user / "chromium"
    program(
        user,
        "apt-get",
        f'echo "$1" >> {log}; if [ "$1" = install ]; then printf "#!/bin/bash\\n" > {made}; '
        f"/bin/chmod +x {made}; fi",
    )
    done = call(user)
    assert (done.returncode, done.stdout) == (0, f"{made}\n")
    assert log.read_text().split() == ["update", "install"]


def test_a_failed_installation_is_said(user):
    program(user, "id", "echo 0")
    program(user, "apt-get", "exit 100")
    done = call(user)
    assert done.returncode == 1
    assert "skipped" in done.stderr


def test_unknown_arguments_are_refused(user):
    assert call(user, "--force").returncode == 2
