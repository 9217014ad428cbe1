"""Attacks on a running page, over HTTP: what docs/page_safety.md promises."""

from __future__ import annotations

import concurrent.futures
import http.server
import io
import json
import socket
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from frozenseg.data.miniature.scenes import draw_scene

pytestmark = pytest.mark.slow

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("gradio", reason="gradio is not installed")

UPLOAD_MB, DISK_MB = 2, 32  # so that 4 MB are for each visitor
WORDS = "purple heart; yellow cross; water:stuff; sand:stuff"
# Of a proxy that does not answer.
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def page(running_page):
    """Its own address is exempt from the proxy."""
    limits = ["--max-upload-mb", str(UPLOAD_MB), "--max-disk-mb", str(DISK_MB)]
    with running_page(*limits, "--max-words", "20", **PROXIES) as page:
        yield page


@pytest.fixture(scope="module")
def scene():
    content = io.BytesIO()
    Image.fromarray(draw_scene(13, 1).image).save(content, "PNG")
    return content.getvalue()


class Visitor(httpx.Client):
    """A visitor with an address of its own (all of 127/8 is this machine)."""

    def __init__(self, page, address="127.0.0.1", **options):
        transport = httpx.HTTPTransport(local_address=address)
        super().__init__(
            base_url=page.url, transport=transport, timeout=120, trust_env=False, **options
        )

        self.config = None

    def upload(self, content, name="a.png", field="files"):
        return self.post("/gradio_api/upload", files={field: (name, content, "image/png")})

    def join(self, values, name="segment", session=None, **more):
        if self.config is None:
            self.config = self.get("/config").json()
        function = next(each for each in self.config["dependencies"] if each["api_name"] == name)
        body = {"data": values, "fn_index": function["id"], "session_hash": session or new_id()}
        return self.post("/gradio_api/queue/join", json={**body, **more})

    def answer(self, session):
        """The values of the next answer of a session."""
        with self.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": session}
        ) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    return message["output"]["data"]
        raise AssertionError("no answer")

    def segment(self, image, session=None):
        session = session or new_id()
        assert self.join(controls(image), session=session).status_code == 200
        return self.answer(session)


def new_id():
    return uuid.uuid4().hex[:11]


def file_data(path, **more):
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def controls(image, words=WORDS, model="miniature-fcclip", task="panoptic", threshold=0.3):
    return [image, words, model, task, threshold]


@pytest.fixture
def visitor(page):
    with Visitor(page) as visitor:
        yield visitor


@pytest.fixture
def path(visitor, scene):
    return visitor.upload(scene).json()[0]


@pytest.fixture
def trap():
    """(address, requests): a server that nobody must ask."""
    asked = []

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trap) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/x.png", asked
        server.shutdown()


def test_normal_use(visitor, path):
    message, shown, *files = visitor.segment(file_data(path))
    assert "4 segments in " in shown
    assert not message["visible"]
    answers = [visitor.get(f"/gradio_api/file={file['value']['path']}") for file in files]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {each["category_name"] for each in answers[2].json()["segments"]} == {
        "purple heart", "yellow cross", "water", "sand",
    }  # fmt: skip


def test_no_address_is_fetched(visitor, path, trap):
    address, asked = trap
    images = [
        file_data(address),
        file_data(path, url=address),
        file_data(path, url=f"http://evil.example/gradio_api/file={path}"),
        {"url": address, "meta": {"_type": "gradio.FileData"}},
        address,
        [file_data(address)],
        {"a": file_data(address)},
    ]
    for image in images:
        answer = visitor.join(controls(image))
        assert answer.status_code in (400, 403), image
        assert answer.json()["detail"]
        if image != address:  # a text is no file elsewhere
            assert visitor.join([None, image, None, None, None]).status_code in (400, 403)
    for method in ("GET", "HEAD"):
        for route in ("file=", "file/", "proxy=", "file=/", "FILE="):
            answer = visitor.request(method, f"/gradio_api/{route}{address}")
            assert answer.status_code in (403, 404), route
    assert asked == []


@pytest.mark.parametrize(
    "stolen",
    ["/etc/passwd", "{folder}/../../../../../../etc/passwd", "file:///etc/passwd", "\0", "", "~"],
)
def test_only_files_of_the_page_are_read(visitor, path, stolen):
    stolen = stolen.format(folder=Path(path).parent)
    assert visitor.join(controls(file_data(stolen))).status_code == 403
    if stolen:
        route = "/gradio_api/file=" + quote(stolen, safe="")
        assert visitor.get(route).status_code in (403, 404)


def test_a_file_that_has_gone_is_said(visitor, path):
    gone = str(Path(path).with_name("gone.png"))
    answer = visitor.join(controls(file_data(gone)))
    assert (answer.status_code, answer.json()["detail"]) == (
        410, "The image is no longer here: choose it again.",
    )  # fmt: skip


@pytest.mark.parametrize(
    "route",
    ["run", "api", "call", "call/v2", "component_server", "cancel", "reset", "stream", "queue"],
)
def test_nothing_is_computed_outside_the_queue(visitor, path, route):
    body = {"data": controls(file_data(path)), "fn_index": 3, "session_hash": "a"}
    for suffix in ("", "/segment", "/segment/", "/predict", "/join/../../run/segment"):
        assert visitor.post(f"/gradio_api/{route}{suffix}", json=body).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data": ' + b"[" * 50_000,
        b'{"data": [], "fn_index": 99, "session_hash": "a"}',
        b'{"data": [], "fn_index": 3, "session_hash": "a"}',
        b'{"data": [], "fn_index": 3, "session_hash": "%s"}' % (b"a" * 65),
        b'{"data": [], "fn_index": 3, "session_hash": "../a"}',
        b'{"data": [null, null, null, null], "fn_index": 3}',
        b'{"data": [1, 2, 3, 4, 5], "fn_index": 3, "session_hash": "a"}',
    ],
)
def test_what_no_page_would_ask_is_refused(visitor, body):
    headers = {"content-type": "application/json"}
    answer = visitor.post("/gradio_api/queue/join", content=body, headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a", "m", "panoptic", float("nan")], "no model"),  # NaN comes as null
        ([7, "miniature-fcclip", "panoptic", 0.5], "no request of the page"),
        (["a", "../m", "panoptic", 0.5], "no model"),
        (["a", "miniature-fcclip", "x", 0.5], "unknown task"),
        (["a", "miniature-fcclip", "panoptic", 7], "choose one from 0 to 1"),
        (["a", "miniature-fcclip", "panoptic", "b"], "no request of the page"),
        (["a;" * 21, "miniature-fcclip", "panoptic", 0.5], "21 words were given; at most 20"),
    ],
)
def test_values_that_no_control_gives_are_sentences(visitor, path, values, said):
    session = new_id()
    content = json.dumps(
        {"data": [file_data(path), *values], "fn_index": 3, "session_hash": session}
    )
    headers = {"content-type": "application/json"}
    answer = visitor.post("/gradio_api/queue/join", content=content, headers=headers)
    assert answer.status_code == 200
    assert said in visitor.answer(session)[0]["value"]


def test_too_many_bytes_are_refused(visitor, page):
    answer = visitor.upload(bytes(UPLOAD_MB * 2**20 + 2**15))
    assert answer.status_code == 413
    for where in ("upload", "queue/join"):  # and without a length in the header
        chunks = (bytes(2**16) for _ in range(16 * UPLOAD_MB + 1))
        answer = visitor.post(f"/gradio_api/{where}", content=chunks)
        assert answer.status_code == 413
    assert visitor.get("/gradio_api/queue/data?session_hash=unknown").status_code == 404


def test_a_form_that_is_not_one_file_leaves_nothing(visitor, page, scene):
    there = files_in(page, "uploads")
    many = [("files", (f"{i}.png", bytes(i + 1), "image/png")) for i in range(30)]
    answers = [
        visitor.upload(scene, field="evil"),
        visitor.upload(scene, name="a" * 300 + ".png"),
        visitor.post("/gradio_api/upload", files=many),
        visitor.post("/gradio_api/upload", data={"files": "text"}),
        visitor.post("/gradio_api/upload", content=scene),
        visitor.post(
            "/gradio_api/upload",
            content=b'--a\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\ncut',
            headers={"content-type": "multipart/form-data; boundary=a"},
        ),
    ]
    assert [answer.status_code for answer in answers] == [400] * 6
    assert files_in(page, "uploads") == there


def test_a_visitor_who_leaves_during_an_upload_leaves_nothing(visitor, page):
    there = files_in(page, "uploads")
    host, port = page.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Content-Type: multipart/form-data; boundary=a\r\nContent-Length: 1000000\r\n\r\n"
            '--a\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'.encode()
            + bytes(200_000)
        )
    assert visitor.get("/config").status_code == 200
    assert files_in(page, "uploads") == there


def test_uploads_of_a_visitor_make_room_for_each_other_and_for_nobody_else(page, scene):
    with Visitor(page, "127.0.0.2") as one, Visitor(page, "127.0.0.3") as other:
        kept = other.upload(scene).json()[0]
        paths = [one.upload(bytes([i]) + bytes(2**20)).json()[0] for i in range(6)]
        assert [Path(path).is_file() for path in paths] == [False] * 3 + [True] * 3
        small = [one.upload(scene + bytes(i)).json()[0] for i in range(1, 20)]
        assert [Path(path).is_file() for path in small] == [False] * 3 + [True] * 16
        assert Path(kept).is_file()
        assert not [path for path in Path(kept).parents[1].iterdir() if path.is_file()]


def test_a_request_that_waits_keeps_its_image(page, scene):
    with Visitor(page, "127.0.0.4") as one:
        path, sessions = one.upload(scene).json()[0], [new_id() for _ in range(4)]
        for session in sessions:
            assert one.join(controls(file_data(path)), session=session).status_code == 200
        for i in range(1, 20):
            one.upload(scene + bytes(i))
        assert ["segments in" in one.answer(session)[1] for session in sessions] == [True] * 4


def test_all_uploads_together_are_bounded(page):
    statuses, before = [], sum(sizes_in(page, "uploads"))
    for number in range(5, 25):
        with Visitor(page, f"127.0.0.{number}") as visitor:
            content = bytes([number]) + bytes(UPLOAD_MB * 2**20 - 1)
            statuses.append(visitor.upload(content).status_code)
    room = (DISK_MB * 2**20 - before) // (UPLOAD_MB * 2**20)
    assert statuses == [200] * room + [429] * (20 - room)
    assert sum(sizes_in(page, "uploads")) <= DISK_MB * 2**20
    for path in Path(folder_of(page), "uploads").glob("*/*"):  # for the tests that follow
        path.unlink()


def test_results_are_bounded_and_cannot_be_guessed(visitor, page, path):
    values = [visitor.segment(file_data(path)) for _ in range(18)]
    paths = [Path(value[2]["value"]["path"]) for value in values]
    assert [path.is_file() for path in paths] == [False] * 2 + [True] * 16
    assert len({path.parent for path in paths}) == 18
    assert all(len(path.parent.name) >= 20 for path in paths)


def folder_of(page):
    (folder,) = page.folder.glob("frozenseg-app-*")
    return folder


def sizes_in(page, name):
    return [each.stat().st_size for each in (folder_of(page) / name).rglob("*") if each.is_file()]


def files_in(page, name):
    return len(sizes_in(page, name))


def test_few_requests_of_a_visitor_wait(page, scene):
    with Visitor(page, "127.0.0.30") as flood, Visitor(page, "127.0.0.31") as other:
        image = controls(file_data(flood.upload(scene).json()[0]))
        session = new_id()
        answers = [flood.join(image, session=session) for _ in range(40)]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert "still waiting" in answers[-1].json()["detail"]
        with concurrent.futures.ThreadPoolExecutor(40) as pool:  # all at once
            answers = list(pool.map(lambda _: flood.join(image), range(150)))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert "Too many requests of yours" in [a for a in answers if a.status_code == 429][-1].text
        assert "segments in" in other.segment(image[0])[1]


def test_a_visitor_is_not_somebody_else_by_a_header(page, scene):
    with Visitor(page, "127.0.0.32") as flood:
        image = controls(file_data(flood.upload(scene).json()[0]))
        statuses = set()
        for number in range(100):
            flood.headers["x-forwarded-for"] = f"10.0.0.{number}"
            statuses.add(flood.join(image).status_code)
        assert statuses == {200, 429}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "127.0.0.1.evil.example"}, 400),
        ({"host": "user@127.0.0.1"}, 400),
        ({"host": ""}, 400),
        ({"host": "192.168.0.1"}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"host": "localhost", "origin": "http://localhost"}, 200),
        ({"host": "[::1]:7860"}, 200),
    ],
)
def test_host_and_origin(visitor, headers, status):
    for method in ("GET", "OPTIONS", "POST"):
        answer = visitor.request(method, "/config", headers=headers)
        assert answer.status_code == (status if method == "GET" or status != 200 else 404)
        assert "access-control-allow-origin" not in answer.headers


def test_addresses_of_the_page_are_not_taken_from_a_visitor(visitor):
    for name in ("x-forwarded-host", "x-gradio-server"):
        assert "evil.example" not in visitor.get("/", headers={name: "evil.example"}).text


def test_no_other_page_may_frame_it(visitor, path):
    for route in ("/", "/config", f"/gradio_api/file={path}", "/nowhere"):
        answer = visitor.get(route)
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in visitor.get("/").headers["content-security-policy"]


@pytest.mark.parametrize(
    "route",
    ["docs", "openapi.json", "monitoring", "gradio_api/queue/status", "dev/reload",
     "assets/" + "a" * 300, "assets/%00", "static/..%2f..%2fx", "gradio_api/runs",
     "gradio_api/heartbeat/" + "a" * 65],
)  # fmt: skip
def test_other_routes_are_refused(visitor, route):
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        assert 400 <= visitor.request(method, f"/{route}").status_code < 500


def test_the_page_behind_a_reverse_proxy_with_passwords(running_page, tmp_path):
    (tmp_path / "users").write_text("ann:one:two\nbob:three\n")
    options = ["--auth", f"@{tmp_path / 'users'}", "--public-host", "seg.example.org"]
    with running_page(*options) as page, Visitor(page, follow_redirects=False) as visitor:
        command = Path(f"/proc/{page.pid}/cmdline")
        assert not command.exists() or b"three" not in command.read_bytes()
        for route in ("config", "gradio_api/info", "gradio_api/file=/etc/passwd"):
            assert visitor.get(f"/{route}").status_code in (401, 403)
        assert visitor.upload(b"x").status_code == 401
        body = {"data": [[12], None], "fn_index": 6, "session_hash": "a"}
        assert visitor.post("/gradio_api/queue/join", json=body).status_code in (400, 401)
        start = time.monotonic()
        for user, password, status in [
            ("ann", "three", 400), ("bob", "", 422), ("eve", "x", 400), ("ann", "one:two", 200),
        ]:  # fmt: skip
            answer = visitor.post("/login", data={"username": user, "password": password})
            assert answer.status_code == status
        assert time.monotonic() - start >= 3  # a pause after each wrong one
        public = {
            "host": "seg.example.org",
            "origin": "https://seg.example.org",
            "x-forwarded-proto": "https",
            "x-forwarded-for": "203.0.113.7",
        }
        answer = visitor.get("/config", headers=public)
        assert answer.status_code == 200
        assert answer.json()["root"] == "https://seg.example.org"
        assert visitor.get("/config", headers={"host": "other.example.org"}).status_code == 400
