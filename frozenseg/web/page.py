"""The layout of the web page and the wires from its controls to actions.py.

The module imports gradio, so it is imported only when a page is served.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from frozenseg.web.actions import DOWNLOADS, EMPTY, Actions, model_note
from frozenseg.web.models import usual_thresholds
from frozenseg.web.turns import MODEL

FOLDER = Path(__file__).parent
_TITLE = (
    '<header class="fs-title"><h1>FrozenSeg</h1>'
    "<p>Open-vocabulary segmentation: your image, your words.</p></header>"
)
_HINT = (
    "`;` between classes, `,` between synonyms, `:stuff` for what cannot be counted: "
    "`cat, kitten; dog; sky:stuff`"
)
# Phones offer the camera directly only to an input that asks for it; its file goes to the image's.
_CAMERA = """() => {
  const camera = document.createElement("input");
  Object.assign(camera, {type: "file", accept: "image/*", capture: "environment"});
  camera.onchange = () => {
    const input = document.querySelector("#fs-image input[type=file]");
    if (!input || !camera.files.length) return;
    input.files = camera.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  };
  camera.click();
}"""
# gradio gives the buttons around the thumbnails no name that could be read out.
_NAME_THUMBNAILS = """() => document.querySelectorAll("#fs-examples button").forEach(
  (button, index) => button.setAttribute("aria-label", `Example ${index + 1}`))"""


def build_page(
    actions: Actions, examples: list[tuple[str, str]], words: str, task: str | None
) -> gr.Blocks:
    """The page, ready to be launched.

    Args:
        examples: (image file, words).
        words: what the field of words holds at first.
        task: what is chosen at first; None: the first model's own.
    Raises: ValueError for a task that the first model does not compute.
    """
    # Served where they lie, not from a copy among the uploads.
    gr.set_static_paths([actions.results.folder, *(Path(file).parent for file, _ in examples)])
    with gr.Blocks(title="FrozenSeg", analytics_enabled=False) as page:
        gr.HTML(_TITLE)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                image, field = _image(), _words(words)
                button = gr.Button("Segment", variant="primary", elem_id="fs-segment")
                message = gr.HTML(visible=False, elem_id="fs-message")
                thumbnails = _thumbnails(examples, image)
                controls = [image, field, *_settings(actions, task)]
            with gr.Column(scale=7, min_width=300):
                script = (FOLDER / "viewer.js").read_text(encoding="utf-8")
                viewer = gr.HTML(EMPTY, js_on_load=script, elem_id="fs-view")
                with gr.Row(elem_id="fs-downloads"):
                    downloads = [
                        gr.DownloadButton(label, visible=False, size="md", min_width=90)
                        for label in DOWNLOADS
                    ]
        outputs = [message, viewer, *downloads]
        requests = [button.click, controls[1].submit]
        chosen = thumbnails.click(
            lambda number: examples[number] if number in range(len(examples)) else (None, ""),
            inputs=thumbnails,
            outputs=controls[:2],
            show_progress="hidden",
            api_visibility="private",
            preprocess=False,
        )
        _wire(actions, controls, [*requests, chosen.success], outputs)
        page.load(None, js=_NAME_THUMBNAILS)
    return page


def _image() -> Any:
    """The place for the image, and a button for the camera where there is a touch screen."""
    image = gr.Image(
        label="Image",
        type="filepath",
        image_mode=None,
        sources=["upload", "webcam", "clipboard"],
        height=280,
        buttons=["fullscreen"],
        elem_id="fs-image",
        alt_text="the chosen image",
        placeholder="Drop an image here, or choose one",
    )
    camera = gr.Button("Take a photograph", elem_id="fs-camera", size="md")
    camera.click(None, js=_CAMERA)
    return image


def _words(words: str) -> Any:
    return gr.Textbox(
        words,
        label="Words",
        info=_HINT,
        lines=2,
        max_lines=8,
        placeholder="cat, kitten; dog; sky:stuff",
        elem_id="fs-words",
    )


def _settings(actions: Actions, task: str | None) -> list[Any]:
    """Model, task and threshold, in the order of the arguments of `Actions.segment`."""
    name = actions.models.names[0]
    segmenter = actions.models.get(name).segmenter
    tasks, task = segmenter.tasks, task or segmenter.task
    if task not in tasks:
        raise ValueError(f"--task {task}: {name} computes only {', '.join(tasks)}")
    usual = usual_thresholds(segmenter).get(task)
    chosen = gr.Radio(list(tasks), value=task, label="Task", elem_id="fs-task")
    threshold = gr.Slider(
        0,
        1,
        value=usual or 0.0,
        step=0.01,
        label="Lowest score of a segment",
        visible=usual is not None,
        elem_id="fs-threshold",
    )
    model = gr.Dropdown(
        list(actions.models.names),
        value=name,
        label="Model",
        info=model_note(name),
        filterable=False,
        elem_id="fs-model",
    )
    return [model, chosen, threshold]


def _thumbnails(examples: list[tuple[str, str]], image: Any) -> Any:
    """The pictures of the examples in a row."""
    return gr.Dataset(
        components=[image],
        samples=[[file] for file, _ in examples],
        label="Examples",
        type="index",
        elem_id="fs-examples",
    )


def _wire(actions: Actions, controls: list[Any], requests: list[Any], outputs: list[Any]) -> None:
    """Connects the controls; requests are computed one at a time, in their order."""
    one_at_a_time: dict[str, Any] = {
        "concurrency_limit": 1,
        "concurrency_id": MODEL,
        "api_visibility": "private",
        # Values come as the browser sends them, and actions.py says what is wrong. gradio would
        # open the image; and its dropdown sends a choice twice, the second time with the task of
        # the model before, which may be none of the new one's.
        "preprocess": False,
    }
    image, _, model, task, threshold = controls
    message, viewer, *_ = outputs
    # In the same queue, so that no later answer is overtaken by it.
    image.upload(
        actions.look, inputs=image, outputs=message, show_progress="hidden", **one_at_a_time
    )
    for request in requests:
        request(
            actions.segment,
            inputs=controls,
            outputs=outputs,
            show_progress_on=viewer,
            **one_at_a_time,
        )
    for choice in (model.input, task.input):
        choice(
            actions.choose,
            inputs=[model, task],
            outputs=[message, model, task, threshold],
            show_progress_on=model,
            **one_at_a_time,
        )
