"""The page in a real browser: what a visitor does, by mouse and by finger, and does wrong.

Skipped where playwright or a Chromium is not installed (tools/install_chromium.sh).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.miniature.classes import CLASSES
from frozenseg.data.miniature.scenes import draw_scene

pytestmark = pytest.mark.slow

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCENE = draw_scene(13, 1)  # a purple and a red heart, a yellow cross, on water and sand
WAIT = 30_000  # milliseconds; a crowded machine is slow


@pytest.fixture(scope="module")
def server(running_page):
    """The address of a running page."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    with running_page("--max-upload-mb", "2") as page:
        yield page.url


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed (tools/install_chromium.sh)")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, server):
    """Opens the page; afterwards every request must have gone to the server, without an error."""
    requests, errors, contexts = [], [], []

    def open_page(**options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(WAIT)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("websocket", lambda socket: requests.append(socket.url))
        page.goto(server)
        page.locator("#fs-segment").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    others = [u for u in requests if not u.startswith((f"{server}/", "data:", "blob:"))]
    assert requests
    assert others == []
    assert errors == []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A scene, and files that are none."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(SCENE.image).save(folder / "scene.png")
    Image.fromarray(SCENE.image).save(folder / "cut.jpg")
    content = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture")
    (folder / "heavy.png").write_bytes(bytes(3 * 2**20))
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")
    return folder


def choose_image(page, path):
    page.locator("#fs-image input[type=file]").set_input_files(path)
    page.locator("#fs-image img").wait_for(state="attached")


def press_segment(page, words):
    if words is not None:
        page.get_by_label("Words").fill(words)
    page.get_by_role("button", name="Segment", exact=True).click()


def segment(page, words=None):
    """The status line of a new result."""
    page.evaluate("document.querySelectorAll('.fs-status').forEach(each => each.remove())")
    press_segment(page, words)
    return page.locator(".fs-status").inner_text()


def refused(page, message, words=None):
    """Waits for a message instead of a result."""
    press_segment(page, words)
    page.get_by_role("alert").filter(has_text=message).wait_for()
    sync_api.expect(page.locator(".fs-result")).to_have_count(0)
    sync_api.expect(page.get_by_text("↓ JSON")).to_be_hidden()


def names(page):
    """The legend's names, without the row of what is no segment."""
    texts = page.locator(".fs-legend button .fs-name").all_inner_texts()
    return {text.removesuffix("stuff").strip() for text in texts}


def center(name):
    """(x, y) in 0..1 of the pixel of a class that lies deepest in it."""
    from frozenseg.visualization.segment_geometry import label_anchors

    number = next(s["id"] for s in SCENE.segments if CLASSES[s["category"]].name == name)
    x, y, _ = label_anchors((0, 0), number == SCENE.ids)[0]
    return (x + 0.5) / 256, (y + 0.5) / 256


def place(page, name):
    """Where the pointer must be to point at a class of the scene."""
    stage = page.locator(".fs-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    x, y = center(name)
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_overlay_and_legend_change_with_the_words(open_page, files):
    page = open_page()
    choose_image(page, files / "scene.png")
    status = segment(page, "purple heart; yellow cross; water:stuff; sand:stuff")
    assert status.startswith("4 segments in ")
    assert status.endswith("4 new words")
    assert names(page) == {"purple heart", "yellow cross", "water", "sand"}
    first = page.locator(".fs-overlay").get_attribute("src")
    status = segment(page, "red heart; desert, sand:stuff")
    assert status.endswith("2 new words")  # "sand" was met before
    assert names(page) == {"red heart", "desert"}
    assert page.locator(".fs-overlay").get_attribute("src") != first
    assert not segment(page).endswith("words")  # none is new


def test_pointing_and_pressing_name_and_light_up_segments(open_page, files):
    page = open_page()
    choose_image(page, files / "scene.png")
    segment(page, "purple heart; yellow cross; water:stuff; sand:stuff")
    tip = page.locator(".fs-tip")
    for name in ("yellow cross", "purple heart"):
        page.mouse.move(*place(page, name))
        assert tip.inner_text().startswith(name)
        assert page.locator("button.fs-lit").get_attribute("aria-label").startswith(name)
    page.mouse.move(1, 1)
    assert tip.is_hidden()
    assert page.locator("button.fs-lit").count() == 0
    row = page.get_by_role("button", name="water, score")
    row.focus()
    row.press("Enter")
    assert row.get_attribute("aria-pressed") == "true"
    darkness = """([x, y]) => { const c = document.querySelector(".fs-light");
        return c.getContext("2d").getImageData(x * c.width, y * c.height, 1, 1).data[3]; }"""
    alpha = {name: page.evaluate(darkness, list(center(name))) for name in ("water", "sand")}
    assert alpha["water"] == 0
    assert alpha["sand"] > 100


def test_results_can_be_downloaded(open_page, files):
    page = open_page()
    choose_image(page, files / "scene.png")
    segment(page, "yellow cross; sand:stuff")
    saved = {}
    for label in ("Overlay", "Label map", "JSON"):
        with page.expect_download() as waiting:
            page.get_by_text(f"↓ {label}").click()
        saved[waiting.value.suggested_filename] = waiting.value.path()
    assert set(saved) == {"scene_overlay.png", "scene_labels.png", "scene.json"}
    found = json.loads(Path(saved["scene.json"]).read_text(encoding="utf-8"))
    assert {each["category_name"] for each in found["segments"]} == {"yellow cross", "sand"}
    assert found["model"]["weights"] == "miniature_fcclip.safetensors"  # and no folder
    with Image.open(saved["scene_labels.png"]) as labels:
        assert np.asarray(labels).shape == (256, 256)
        assert set(np.unique(labels)) - {0} == {each["id"] for each in found["segments"]}


def test_bad_images_are_messages(open_page, files):
    page = open_page()
    refused(page, "Choose an image first", "red heart")
    for name, message in {
        "empty.png": "empty.png is empty (0 bytes)",
        "text.png": "text.png is not an image",
        "huge.png": "huge.png has 100 megapixels (10,000 x 10,000); at most 25",
        "cut.jpg": "cut.jpg: cannot be read, damaged or incomplete",
    }.items():
        choose_image(page, files / name)
        if name == "cut.jpg":  # its header is fine; of others it is said at once
            press_segment(page, None)
        page.get_by_role("alert").filter(has_text=message).wait_for()
        page.get_by_label("Remove Image").click()
        page.locator("#fs-image img").wait_for(state="detached")
    for name, message in {
        "notes.txt": "Only image/* allowed",
        "heavy.png": "maximum allowed size of 2",
    }.items():
        page.locator("#fs-image input[type=file]").set_input_files(files / name)
        page.get_by_text(message).first.wait_for()
    refused(page, "Choose an image first")


def test_bad_words_are_messages_and_a_good_request_follows(open_page, files):
    page = open_page()
    choose_image(page, files / "scene.png")
    for words, message in {
        "": "Type at least one word",
        " ; ": "empty",
        "cat;; dog": "class 2: empty class name",
        "cat:staff": "':staff'",
        "🐱; 🐶": "no letter or digit",
        "; ".join(f"word {i}" for i in range(5000)): "5,000 words were given; at most 1,000",
    }.items():
        refused(page, message, words)
    status = segment(page, "🟨 yellow cross; 猫; <img src=x onerror=alert(1)>; sand:stuff")
    assert "new words" in status
    assert "🟨 yellow cross" in names(page)
    sync_api.expect(page.locator(".fs-message")).to_have_count(0)


def test_an_example_fills_the_page_and_tasks_change_the_threshold(open_page):
    page = open_page()
    page.get_by_role("button", name="Example 1").click()
    page.locator(".fs-result").wait_for()
    assert "violet heart" in page.get_by_label("Words").input_value()
    assert names(page) == {"purple heart", "red heart", "yellow cross", "water", "sand"}
    threshold = page.locator("#fs-threshold input[type=number]")
    page.get_by_label("semantic").check()
    threshold.wait_for(state="hidden")
    assert "segment" in segment(page)
    page.get_by_label("instance").check()
    threshold.wait_for()
    assert float(threshold.input_value()) == 0.5
    assert "segment" in segment(page)
    assert names(page) <= {"purple heart", "red heart", "yellow cross"}


def test_a_model_of_one_task_is_chosen_and_left_again(open_page):
    page = open_page()
    tasks = page.locator("#fs-task label")

    def choose_model(name, number):
        page.locator("#fs-model input").click()
        page.get_by_role("option", name=name).click()
        sync_api.expect(tasks).to_have_count(number)

    page.get_by_role("button", name="Example 1").click()
    page.locator(".fs-result").wait_for()
    choose_model("miniature-fusioner", 1)
    assert page.get_by_label("semantic").is_checked()
    page.locator("#fs-threshold").wait_for(state="hidden")
    assert "segment" in segment(page)
    choose_model("miniature-fcclip", 3)  # no message of an error lies over the choice
    page.get_by_label("instance").check()
    page.locator("#fs-threshold").wait_for()
    assert "segment" in segment(page)
    sync_api.expect(page.locator(".toast-body")).to_have_count(0)


def test_a_phone_takes_a_photograph_and_taps_a_segment(open_page, files):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    with page.expect_file_chooser() as waiting:
        page.get_by_role("button", name="Take a photograph").tap()
    waiting.value.set_files(files / "scene.png")
    page.locator("#fs-image img").wait_for(state="attached")
    segment(page, "yellow cross; water:stuff; sand:stuff")
    page.wait_for_function("document.querySelector('.fs-status').getBoundingClientRect().top < 400")
    page.touchscreen.tap(*place(page, "yellow cross"))
    assert page.locator(".fs-tip").inner_text().startswith("yellow cross")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in (page.locator("#fs-segment"), page.get_by_text("↓ JSON")):
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["height"] >= 32
