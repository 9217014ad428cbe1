"""The service over HTTP, with a model that takes no time: answers, limits, refusals, leaving."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx

from frozenseg.predict.segmentation import from_label_map
from frozenseg.vocab import Vocabulary
from frozenseg.web.hosts import Hosts
from frozenseg.web.http_server import make_server, read_tokens
from frozenseg.web.limits import Limits
from frozenseg.web.service import Service
from frozenseg.web.service_schema import Found, Model
from tests.web.test_limits import png_header

TOKEN = "a-token-of-some-length"
BROKEN = 13  # images that begin with this value make the model fail


class Stripes:
    """Takes the first pixel of an image as the height of its one segment, of the first word."""

    name, task, about = "/models/stripes", "panoptic", {"name": "/models/stripes"}
    tasks = ("panoptic", "semantic", "instance")
    vocabulary = Vocabulary.parse("cat; sky:stuff")

    def __init__(self):
        self.free, self.sizes, self.asked = threading.Event(), [], []
        self.free.set()

    def batch(self, images, words, task, *, background, score_threshold):
        self.asked.append((words.names, task, background, score_threshold))
        self.free.wait(20)
        if any(image[0, 0, 0] == BROKEN for image in images):
            raise ZeroDivisionError("secret")
        self.sizes.append(len(images))
        return [from_label_map(stripe(image), {1: 0}, words, task) for image in images]


def stripe(image):
    labels = np.zeros(image.shape[:2], dtype=int)
    labels[: image[0, 0, 0]] = 1
    return labels


def png(height=9, size=(20, 30)):
    content = io.BytesIO()
    Image.new("RGB", size, (height, 0, 0)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def serving(tmp_path):
    """A context manager: a service with some options; its client and model."""

    @contextlib.contextmanager
    def serving(limits=None, seconds=20.0, **options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        model = Stripes()
        limits = limits or Limits(megabytes=1, words=20, seconds=20)
        service = Service(model, limits, tmp_path, hosts=Hosts("127.0.0.1"), **options)
        server = make_server(service.app, "127.0.0.1", port, public=False, seconds=seconds)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
                yield SimpleNamespace(client=client, model=model, port=port, server=server)
        finally:
            model.free.set()
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()
        assert list(tmp_path.iterdir()) == []  # no image stays

    return serving


@pytest.fixture
def service(serving):
    with serving() as service:
        yield service


def post(client, image=None, **fields):
    file = ("a.png", png() if image is None else image, "image/png")
    return client.post("/segment", files={"image": file}, data=fields)


def post_raw(client, image, kind="image/png", **params):
    return client.post("/segment", content=image, headers={"content-type": kind}, params=params)


def health(service):
    return service.client.get("/health").json()


def until(true):
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen")


def test_a_form_and_a_body_have_the_same_answer_as_the_model(service):
    words = "red cat, kitten; sea:stuff"
    form = post(service.client, words=words, task="instance", score_threshold="0.25")
    body = post_raw(
        service.client, png(), words=words, task="instance", score_threshold=0.25, label_map=True
    )
    expected = from_label_map(stripe(np.full((30, 20, 3), 9)), {1: 0}, Vocabulary.parse(words), "")
    assert (form.status_code, body.status_code) == (200, 200)
    assert form.json() == {
        "model": {"name": "stripes"}, **expected.to_json(), "task": "instance"
    }  # fmt: skip
    answer = body.json()
    labels = Image.open(io.BytesIO(base64.b64decode(answer.pop("label_map_png"))))
    assert answer == form.json()
    assert np.array_equal(np.asarray(labels), expected.label_map_HW)
    assert service.model.asked[0] == (("red cat", "sea"), "instance", None, 0.25)
    assert service.model.asked == service.model.asked[:1] * 2
    for each in (form, body):  # what OpenAPI says is true
        Found.model_validate_json(each.content, strict=True)
    assert Found.model_json_schema()["properties"].keys() == body.json().keys()


def test_what_a_request_leaves_out_is_the_models(service):
    assert post_raw(service.client, png(), "application/octet-stream").status_code == 200
    assert service.model.asked == [(("cat", "sky"), "panoptic", None, None)]
    (model,) = service.client.get("/models").json()
    Model.model_validate(model)
    assert (model["name"], model["tasks"]) == ("stripes", list(Stripes.tasks))
    assert [word["name"] for word in model["vocabulary"]] == ["cat", "sky"]
    assert service.client.get("/health").json() == {
        "status": "ok", "requests": 0, "waiting": 0, "computed": 1, "batches": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"words": ""}, 422, "Type at least one word"),
        ({"words": "cat; Cat"}, 422, "given twice"),
        ({"words": "a\x00"}, 422, "control characters"),
        ({"words": "a;" * 21}, 413, "21 words were given; at most 20"),
        ({"words": "x" * 10_000}, 413, "characters: remove some"),
        ({"words": "; ".join(f"w{i}" for i in range(10**6))}, 413, "more than|too long"),
        ({"words": "ade20k_150"}, 413, "words were given; at most 20"),
        ({"task": "../x"}, 422, "unknown task '../x': use one of panoptic, semantic, instance"),
        ({"score_threshold": "NaN"}, 422, "number from 0 to 1, got nan"),
        ({"score_threshold": "1e400"}, 422, "number from 0 to 1, got inf"),
        ({"score_threshold": "half"}, 422, "score_threshold: .* got 'half'"),
        ({"score_threshold": "0.5", "task": "semantic"}, 422, "no meaning for semantic"),
        ({"background": "a; b"}, 422, "commas separate its names"),
        ({"background": "Cat"}, 422, "is a word of the vocabulary too"),
        ({"background": "x," * 50}, 413, "50 words"),
        ({"label_map": "maybe"}, 422, "label_map: .* got 'maybe'"),
        ({"image_url": "http://127.0.0.1/"}, 422, "no 'image_url': did you mean image?"),
        ({f"x{i}": "1" for i in range(100)}, 422, "form cannot be read: Too many fields"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(service, fields, status, said):
    answer = post(service.client, **fields)
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert re.search(said, detail)
    assert "\n" not in detail
    assert service.model.asked == []


@pytest.mark.parametrize(
    ("image", "status", "said"),
    [
        (b"", 422, "empty (0 bytes)"),
        (b"not a picture", 422, "not an image"),
        (b"http://127.0.0.1/a.png", 422, "not an image"),
        (png()[:60], 422, "damaged or incomplete"),
        (png_header(10_000, 10_000), 413, "100 megapixels"),
        (png_header(60_000, 60_000), 413, "far too many pixels"),
        (bytes(2**20 + 1), 413, "more than 1,048,576 bytes"),
    ],
)
def test_bad_images_are_refused_in_both_forms(service, tmp_path, image, status, said):
    raw, form = post_raw(service.client, image), post(service.client, image)
    assert [answer.status_code for answer in (raw, form)] == [status] * 2
    assert said in raw.json()["detail"]
    assert said in form.json()["detail"] or status == 413
    assert str(tmp_path) not in raw.text + form.text


def test_bodies_that_are_none(service):
    ask, image = service.client.post, png()
    kinds = ("application/json", "application/x-www-form-urlencoded", "text/plain", "")
    for kind in (*kinds, "multipart/form-data; boundary=a; charset=punycode"):
        answer = post_raw(service.client, b'{"words": ', kind)
        assert (answer.status_code, "Send a form" in answer.text) == (415, True)
    forms = [
        ask("/segment", content=image, headers={"content-type": "multipart/form-data"}),
        ask("/segment", content=image, headers={"content-type": "multipart/form-data; boundary=a"}),
        ask("/segment", files={"words": (None, "cat")}),
        ask("/segment", files={"image": (None, "http://127.0.0.1/a.png")}),
        ask("/segment", files={"picture": ("a.png", image)}),
        ask("/segment", files=[("image", ("a.png", image)), ("image", ("b.png", image))]),
        ask("/segment", files={"words": (None, "cat"), "image": image}, params={"words": "dog"}),
    ]
    assert [answer.status_code for answer in forms] == [422] * 7
    assert "'words' is given twice" in forms[-1].text
    chunks = (bytes(2**16) for _ in range(40))
    assert post_raw(service.client, chunks).status_code == 413
    assert service.model.asked == []


@pytest.mark.parametrize("words", ["/etc/passwd", "../words.txt", "coco_2017_val_panoptic"])
def test_words_are_never_a_file(service, words):
    assert post(service.client, words=words).status_code == 200
    assert service.model.asked[0][0] == (words,)


def test_names_and_pages_of_other_servers_are_refused(service):
    for headers, status in (({"host": "evil.example"}, 400), ({"origin": "http://evil.x"}, 403)):
        assert service.client.get("/models", headers=headers).status_code == status
        answer = service.client.post("/segment", content=png(), headers=headers)
        assert (answer.status_code, list(answer.json())) == (status, ["detail"])


def test_a_token_is_asked_for(serving):
    with serving(tokens=["another-token-of-a-client", TOKEN]) as service:
        for header in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ä", TOKEN):
            headers = {"authorization": header.encode("latin-1")}
            for answer in (
                service.client.post("/segment", content=png(), headers=headers),
                service.client.get("/models", headers=headers),
            ):
                assert answer.status_code == 401
                assert "Authorization: Bearer" in answer.json()["detail"]
        headers = {"authorization": f"bearer {TOKEN}", "content-type": "image/png"}
        assert service.client.post("/segment", content=png(), headers=headers).status_code == 200
        assert service.client.get("/health").status_code == 200


def test_tokens_of_a_file():
    assert read_tokens(f"\n {TOKEN} \r\nanother-token-of-a-client\n") == [
        TOKEN, "another-token-of-a-client"
    ]  # fmt: skip
    for text in ("", "short", f"{TOKEN}\nshort", f"{TOKEN}ä", f"{TOKEN}\x7f"):
        with pytest.raises(ValueError, match="token") as caught:
            read_tokens(text)
        assert TOKEN not in str(caught.value)


def test_requests_that_wait_with_the_same_wish_are_computed_together(serving):
    with serving(most_together=4) as service, ThreadPoolExecutor(9) as threads:
        service.model.free.clear()
        first = threads.submit(post, service.client, words="wait")
        until(lambda: service.model.asked)
        heights = range(1, 7)
        same = [threads.submit(post, service.client, png(each), words="a") for each in heights]
        other = threads.submit(post, service.client, png(7, (8, 8)), words="a")
        until(lambda: health(service)["waiting"] == 7)
        service.model.free.set()
        answers = [each.result() for each in (first, *same, other)]
    assert [answer.status_code for answer in answers] == [200] * 8
    areas = [answer.json()["segments"][0]["area"] for answer in answers]
    assert areas == [9 * 20, *(20 * each for each in heights), 7 * 8]
    assert sorted(service.model.sizes) == [1, 1, 2, 4]


def test_a_bad_image_fails_alone(serving, caplog):
    with serving() as service, ThreadPoolExecutor(5) as threads:
        service.model.free.clear()
        first = threads.submit(post, service.client, words="wait")
        until(lambda: service.model.asked)
        images = [png(3), png(BROKEN), png()[:60], png(4)]
        asked = [threads.submit(post, service.client, image) for image in images]
        until(lambda: health(service)["waiting"] == 4)
        service.model.free.set()
        answers = [each.result() for each in asked]
        assert first.result().status_code == 200
    assert [answer.status_code for answer in answers] == [200, 500, 422, 200]
    assert [answers[i].json()["segments"][0]["area"] for i in (0, 3)] == [60, 80]
    assert "ZeroDivisionError" in answers[1].json()["detail"]
    assert "secret" not in answers[1].text
    assert "secret" in caplog.text


def test_further_requests_are_refused_and_who_leaves_makes_room(serving):
    with serving(most_requests=2) as service:
        service.model.free.clear()
        with contextlib.ExitStack() as leaving:
            for word in "ab":
                leaving.enter_context(asking(service, word))
            until(lambda: health(service)["requests"] == 2)
            until(lambda: health(service)["waiting"] == 1)
            answer = post(service.client)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "Too many requests are waiting" in answer.json()["detail"]
        until(lambda: health(service)["requests"] == 0)
        service.model.free.set()
        assert post(service.client, words="c").status_code == 200
    assert [names for names, *_ in service.model.asked] in ([("a",), ("c",)], [("b",), ("c",)])


def asking(service, words):
    """A connection that has sent a request, and leaves when it is closed."""
    connection, image = socket.create_connection(("127.0.0.1", service.port)), png()
    connection.sendall(
        f"POST /segment?words={words} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(image)}\r\n\r\n".encode()
        + image
    )
    return connection


@pytest.mark.slow
def test_what_takes_too_long_ends_in_a_sentence(serving):
    with serving(Limits(seconds=1), seconds=1) as service:
        service.model.free.clear()
        answer = post(service.client)
        assert (answer.status_code, "within 1 s" in answer.json()["detail"]) == (503, True)
        head = b"POST /segment HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        body = b"Content-Type: image/png\r\nContent-Length: 1000\r\n\r\nx"
        for sent, said in ((head, b""), (head + body, b"408")):
            with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
                connection.sendall(sent)
                assert said in connection.recv(100)


@pytest.mark.parametrize("length", [b"9" * 30, b"9" * 19, b"-5", b"1e9", b"x"])
def test_lengths_that_are_none(service, length):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(
            b"POST /segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            b"Content-Length: " + length + b"\r\n\r\n"
        )
        assert connection.recv(100)[9:12] in (b"400", b"413")
    assert service.client.get("/health").status_code == 200


def test_running_requests_end_before_the_service_does(serving):
    with serving() as service, ThreadPoolExecutor(4) as threads:
        service.model.free.clear()
        asked = [threads.submit(post, service.client, words=word) for word in "abcd"]
        until(lambda: health(service)["waiting"] == 3)
        service.server.should_exit = True
        until(lambda: not service.server.servers[0].is_serving())
        service.model.free.set()
        assert [each.result().status_code for each in asked] == [200] * 4


def test_the_log_has_a_line_for_each_request_without_contents(service, caplog):
    with caplog.at_level(logging.INFO, "frozenseg.web.http_server"):
        post(service.client, words="secret cat")
        post_raw(service.client, png(), words="secret dog", task="nothing")
        service.client.get("/secret%0aline?words=secret")
        until(lambda: len(caplog.messages) == 3)
    lines = [message.rsplit(" ", 2)[0] for message in caplog.messages]
    assert lines == [
        "127.0.0.1 POST /segment 200",
        "127.0.0.1 POST /segment 422",
        "127.0.0.1 GET (another address) 404",
    ]


def test_the_api_is_described_without_another_host(service):
    schema = service.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/segment", "/models", "/health"}
    asked = schema["paths"]["/segment"]["post"]
    form = asked["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {"image", *(each["name"] for each in asked["parameters"])}
    assert json.dumps(schema).count('"enum": ["panoptic", "semantic", "instance"]') >= 2
    page = service.client.get("/docs")
    assert "POST /segment" in page.text
    assert "//" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
