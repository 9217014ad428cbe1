import hashlib
import logging
import socket
import subprocess
import sys
import threading

import pytest

from frozenseg.checkpoints import transfer
from frozenseg.checkpoints.download import check_hub_file, download
from frozenseg.files import recorded_digest

STEP = 8 * 65536  # parts are written in blocks of 65536 bytes

SCAN_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="ROOT/file" method="get">
<input type="hidden" name="id" value="1x"><input type="hidden" name="confirm" value="t">
</form></body></html>"""
QUOTA_PAGE = """<html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please
try accessing the file again <a href="/later">later</a>.</p></body></html>"""
SIGN_IN_PAGE = "<html><head><title>Google Drive: Sign-in</title></head><body>Sign in</body></html>"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0.0)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def left_in(folder):
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def refusal(url, folder):
    """The one line about a download that fails and leaves nothing."""
    with pytest.raises(ConnectionError) as caught:
        download(url, folder / "w.pth", source="their README")
    message = str(caught.value)
    assert left_in(folder) == []
    assert "\n" not in message
    assert message.startswith(f"cannot download {url} (")
    way_out = "with a browser or on another machine from their README and put it at"
    assert message.endswith(f"). Otherwise fetch it {way_out} {folder / 'w.pth'}")
    return message.removeprefix(f"cannot download {url} (").partition("). Otherwise")[0]


def test_a_whole_file(server, content, tmp_path):
    target = tmp_path / "cache" / "w.pth"
    download(server.url, target, sha256=digest(content), size=len(content))
    assert target.read_bytes() == content
    assert left_in(target.parent) == ["w.pth"]
    download(server.url, target)
    assert len(server.requests) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(server, content, tmp_path):
    server.cut_after = [STEP + 1000, STEP]
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert server.requests == [None, f"bytes={STEP}-", f"bytes={2 * STEP}-"]
    assert (tmp_path / "w.pth").read_bytes() == content


def break_off(server, folder):
    """A download that ends after STEP bytes."""
    server.cut_after = [STEP, 0, 0, 0, 0]
    with pytest.raises(ConnectionError, match=rf"broke.*{STEP:,} bytes are kept") as caught:
        download(server.url, folder / "w.pth")
    assert "\n" not in str(caught.value)
    assert not (folder / "w.pth").exists()
    assert server.cut_after == []
    server.requests.clear()


@pytest.mark.parametrize("version", ['"1"', ""])
def test_a_later_call_goes_on(server, content, tmp_path, version):
    server.version = version
    break_off(server, tmp_path)
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert server.requests == [f"bytes={STEP}-"]
    assert (tmp_path / "w.pth").read_bytes() == content
    assert left_in(tmp_path) == ["w.pth"]


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_file_that_changed_in_between_is_not_joined(
    server, content, tmp_path, monkeypatch, knows_if_range
):
    break_off(server, tmp_path)
    server.content, server.version = content[::-1], '"2"'
    if not knows_if_range:
        monkeypatch.setattr(server.RequestHandlerClass, "_first_byte", lambda self: asked(self))
    download(server.url, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == content[::-1]
    assert len(server.requests) == (1 if knows_if_range else 2)


def asked(handler):
    return int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))


@pytest.mark.parametrize("length", [STEP - 1, STEP, STEP + 1, 2 * STEP])
def test_a_file_of_another_length_is_not_joined(server, content, tmp_path, length):
    server.version = ""
    break_off(server, tmp_path)
    server.content = content[1 : length + 1]
    download(server.url, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == content[1 : length + 1]


def test_a_server_without_ranges_sends_everything_again(server, content, tmp_path):
    server.ranges, server.cut_after = False, [STEP, STEP // 2]
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert (tmp_path / "w.pth").read_bytes() == content
    server.cut_after = [STEP] * 9
    with pytest.raises(ConnectionError, match="broke"):  # it has an end
        download(server.url, tmp_path / "other.pth")


@pytest.mark.parametrize("more", [b"", b"x"])
def test_a_part_that_is_complete_or_too_long_is_fetched_again(server, content, tmp_path, more):
    break_off(server, tmp_path)
    (tmp_path / "w.pth.download" / "w.pth").write_bytes(content + more)
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert (tmp_path / "w.pth").read_bytes() == content


@pytest.mark.parametrize("note", ["", "{}", '["1", "two"]'])
def test_a_part_of_which_nothing_is_known_is_fetched_again(server, content, tmp_path, note):
    break_off(server, tmp_path)
    (tmp_path / "w.pth.download" / "server.json").write_text(note)
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert server.requests == [None]
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=r"sha256 is .*expected 0123"):
        download(server.url, tmp_path / "w.pth", sha256="0123")
    assert left_in(tmp_path) == []


def test_a_wrong_size_is_said_before_the_file_is_fetched(server, content, tmp_path):
    server.cut_after = [0]
    with pytest.raises(ConnectionError, match=r"has 2,048,000 bytes, the published one 5\)"):
        download(server.url, tmp_path / "w.pth", size=5)
    assert left_in(tmp_path) == []


def test_a_wrong_size_of_a_server_that_tells_none(server, content, tmp_path):
    server.headers = {"Content-Length": ""}  # the end of the connection is that of the file
    server.cut_after = [STEP]
    with pytest.raises(ValueError, match=r"has 524,288 bytes .*expected 2,048,000 bytes"):
        download(server.url, tmp_path / "w.pth", size=len(content))
    assert left_in(tmp_path) == []
    download(server.url, tmp_path / "w.pth", size=len(content))
    assert (tmp_path / "w.pth").read_bytes() == content


def test_without_a_published_checksum_the_files_own_is_logged(server, content, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="frozenseg"):
        download(server.url, tmp_path / "w.pth")
    (record,) = caplog.records
    assert "no checksum is published" in record.getMessage()
    assert digest(content) in record.getMessage()
    assert recorded_digest(tmp_path / "w.pth") == digest(content)


def test_a_file_of_the_hub_is_compared_with_the_name_of_its_blob(content, tmp_path):
    blob, path = tmp_path / digest(content), tmp_path / "model.safetensors"
    blob.write_bytes(content)
    path.symlink_to(blob)
    assert check_hub_file(path) == path
    assert not recorded_digest(path)
    blob.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"{digest(content)} is published"):
        check_hub_file(path)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(server, status, tmp_path):
    server.status = status
    assert refusal(server.url, tmp_path).startswith(f"HTTP {status} ")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_server_is_asked_again(server, content, status, tmp_path):
    server.statuses = [status, status]
    download(server.url, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == content
    server.status = status
    (tmp_path / "other").mkdir()
    assert refusal(server.url, tmp_path / "other").startswith(f"HTTP {status} ")


def test_a_redirect(server, content, tmp_path):
    server.redirect = "/file"
    server.cut_after = [0, STEP]
    download(server.url, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == content
    assert server.requests[-1] == f"bytes={STEP}-"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/round", "Exceeded 30 redirects."),
        ("ftp://127.0.0.1/w.pth", "it leads to an address that is not http: .*'ftp://127"),
        ("file:///etc/hostname", "it leads to an address that is not http: .*'file:///etc"),
    ],
)
def test_a_redirect_that_leads_nowhere(server, target, reason, tmp_path, assert_matches):
    server.redirect = target
    assert_matches(reason, refusal(server.url, tmp_path))


def test_a_redirect_out_of_encryption():
    class Session:
        def get(self, url, **options):
            return type("Answer", (), {"url": "http://elsewhere/w.pth", "status_code": 200})

    with pytest.raises(transfer.RefusedError, match=r"elsewhere/w\.pth, which is not encrypted"):
        transfer._get(Session(), "https://somewhere/w.pth", {})


def test_google_drives_virus_scan_page_is_passed(server, content, tmp_path):
    server.page = SCAN_PAGE.replace("ROOT", server.root)
    server.cut_after = [10**6, STEP]
    download(server.url, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == content
    assert server.requests[-1] == f"bytes={STEP}-"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (SCAN_PAGE.replace("ROOT/file", "ROOT/again"), " 'Google Drive - Virus scan warning'"),
        (QUOTA_PAGE, " 'Google Drive - Quota exceeded' .*: Too many users have viewed .* later .$"),
        (SIGN_IN_PAGE, " 'Google Drive: Sign-in' in place of the file"),
        ("<html>no title</html>", "in place of the file"),
        ("<title>\n a &amp;\n b</title>" * 10**5, " 'a & b' in place"),
    ],
)
@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_web_page_is_not_kept_as_weights(server, page, said, kind, tmp_path, assert_matches):
    server.page = page.replace("ROOT", server.root)
    if kind != "text/html":
        server.page = "\n<!DOCTYPE html>" + server.page
        server.headers = {"Content-Type": kind}
    assert_matches(f"the server sends a web page.*{said}", refusal(server.url, tmp_path))


@pytest.fixture
def assert_matches():
    import re

    def check(pattern, text):
        assert re.search(pattern, text, re.DOTALL), text

    return check


def test_a_compressed_answer_is_written_as_the_file_it_is(server, content, tmp_path):
    server.gzipped = True
    server.cut_after = [5000]
    download(server.url, tmp_path / "w.pth", sha256=digest(content), size=len(content))
    assert (tmp_path / "w.pth").read_bytes() == content
    assert server.requests == [None, None]  # the bytes of a part could not be counted


def test_no_server(tmp_path):
    assert refusal("http://127.0.0.1:9/w.pth", tmp_path) == "Connection refused"


def test_no_name_service(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert refusal("http://far.example/w.pth", tmp_path) == "Temporary failure in name resolution"


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        assert refusal(url, tmp_path) == "no answer in time"


def test_several_threads_fetch_it_once(server, content, tmp_path):
    calls = [
        threading.Thread(target=download, args=(server.url, tmp_path / "w.pth")) for _ in range(3)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert (tmp_path / "w.pth").read_bytes() == content
    assert len(server.requests) == 1


@pytest.mark.slow
def test_two_processes_fetch_it_once(server, content, tmp_path):
    code = (
        "import sys; from pathlib import Path; from frozenseg.checkpoints.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, server.url, str(tmp_path / "w.pth")]
    programs = [subprocess.Popen(command) for _ in range(2)]
    assert [program.wait() for program in programs] == [0, 0]
    assert (tmp_path / "w.pth").read_bytes() == content
    assert len(server.requests) == 1


def test_a_full_disk_is_said_before_the_file_is_fetched(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"needs 2,048,000 more bytes and there is room for 1,000"):
        download(server.url, tmp_path / "w.pth")


def test_something_in_the_way_is_not_a_network_error(server, tmp_path):
    (tmp_path / "w.pth.download").write_bytes(b"in the way")
    with pytest.raises(FileExistsError):
        download(server.url, tmp_path / "w.pth")


def test_addresses_of_the_hub_follow_its_mirror(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.root)
    url = "https://huggingface.co/owner/model/resolve/main/model.pth"
    download(url, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == content
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        download(url, tmp_path / "other.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 404}, "404"),
        ({"page": "<html>"}, "Error: "),
        ({}, ""),
    ],
)
def test_the_hubs_own_client_fails_with_one_line(server, tmp_path, monkeypatch, fault, said):
    for name, value in fault.items():
        setattr(server, name, value)
    monkeypatch.setenv("HF_ENDPOINT", server.root if fault else "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    code = (
        "from frozenseg.checkpoints.download import hub_access\n"
        "from huggingface_hub import hf_hub_download\n"
        "try:\n"
        "    with hub_access('weights of x', 'give a file'):\n"
        "        hf_hub_download('owner/model', 'model.safetensors')\n"
        "except ConnectionError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("weights of x: download failed (")
    assert (said or "http://127.0.0.1:9 cannot be reached") in line
    remedies = "Try again with a network; or give a file; or take a checkpoint that holds these"
    assert remedies in line
