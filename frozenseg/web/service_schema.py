"""What a request of the service may say and what its answer says; pydantic checks and describes it.

`frozenseg.predict` writes the answers: here they are described for OpenAPI.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from frozenseg.errors import did_you_mean
from frozenseg.predict.tasks import TASKS

_SHOWN = 60  # characters of a value that an error repeats
RAW = ("image/*", "application/octet-stream")

Task = Annotated[str, Field(json_schema_extra={"enum": list(TASKS)})]


class Ask(BaseModel, extra="forbid"):
    """What to look for in an image."""

    words: str | None = Field(
        None,
        description="the words, `cat, kitten; dog; sky:stuff`, or the name of a built-in table "
        "such as `ade20k_150`; default: those of `/models`",
    )
    task: Task | None = Field(None, description="default: the first of `/models`")
    background: str | None = Field(
        None, description="a word for everything else: where it fits best there is no segment"
    )
    score_threshold: float | None = Field(
        None, description="lowest score of a segment, 0 to 1 (not semantic)"
    )
    label_map: bool = Field(False, description="whether the answer has `label_map_png`")


class Size(BaseModel):
    """Of an image, in pixels."""

    height: int
    width: int


class Word(BaseModel):
    """A class of the vocabulary."""

    category_id: int
    name: str
    synonyms: list[str]
    is_thing: bool


class Rle(BaseModel):
    """A mask in COCO's compressed run-length form, as pycocotools reads it."""

    size: tuple[int, int] = Field(description="height, width")
    counts: str


class FoundSegment(BaseModel):
    """A segment."""

    id: int = Field(description="its value in the label map")
    category_id: int
    category_name: str
    is_thing: bool
    score: float | None
    area: int = Field(description="pixels")
    bbox: tuple[int, int, int, int] = Field(description="x, y, width, height")
    segmentation: Rle


class Found(BaseModel):
    """The segments of an image."""

    model: dict[str, Any]
    format_version: int
    task: Task
    image_size: Size
    vocabulary: list[Word]
    segments: list[FoundSegment]
    label_map_png: str | None = Field(
        None, description="with `label_map`: a PNG of segment ids, base64"
    )


class Model(BaseModel):
    """A model that is served."""

    name: str
    tasks: list[Task]
    vocabulary: list[Word] = Field(description="the words where a request has none")


class Health(BaseModel):
    """The state of the service."""

    status: Literal["ok"]
    requests: int = Field(description="that arrive, wait or are computed now")
    waiting: int = Field(description="of these, those that wait for the model")
    computed: int = Field(description="images since the start")
    batches: int = Field(description="computations since the start, of one or more images")


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str


def read_ask(pairs: Sequence[tuple[str, object]]) -> Ask:
    """The request of names and values, of the address or of a form.

    Raises: ValueError, in one sentence, for a value or name that is none.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)[:_SHOWN]!r} is given twice: give it once.")
    try:
        return Ask.model_validate(values)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """About the first thing that is wrong."""
    first = error.errors()[0]
    name, said = str(first["loc"][0])[:_SHOWN], first["msg"]
    if first["type"] == "extra_forbidden":
        known = [*Ask.model_fields, "image"]
        return f"There is no {name!r}: {did_you_mean(name, known)}known are {', '.join(known)}."
    value = str(first["input"])
    shown = repr(value[:_SHOWN]) + ("..." if len(value) > _SHOWN else "")
    return f"{name}: {said[:1].lower()}{said[1:]}, got {shown}."


def describe_segment() -> dict[str, Any]:
    """Parameters and bodies of /segment for OpenAPI, whose handler reads them itself."""
    fields = Ask.model_json_schema()["properties"]
    image = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {**image, "description": "the image's file"}, **fields},
    }
    bodies = {"multipart/form-data": form, **dict.fromkeys(RAW, image)}
    return {
        "parameters": [
            {"name": name, "in": "query", "description": each["description"], "schema": each}
            for name, each in fields.items()
        ],
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in bodies.items()},
        },
    }


def describe_refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers of these statuses for OpenAPI."""
    return {status: {"model": Refusal} for status in statuses}


def page_of(schema: dict[str, Any]) -> str:
    """An OpenAPI document as a page to read, which asks nobody else for anything."""
    title = html.escape(schema["info"]["title"])
    parts = [f"<h1>{title}</h1>", f"<p>{html.escape(schema['info']['description'])}</p>"]
    for path, methods in schema["paths"].items():
        for method, each in methods.items():
            parts += [
                f"<h2><code>{method.upper()} {path}</code></h2>",
                f"<p>{html.escape(each['description'])}</p>",
                _table((p["name"], p["description"]) for p in each.get("parameters", ())),
                _table((status, a["description"]) for status, a in each["responses"].items()),
            ]
    return _PAGE.format(title=title, content="\n".join(parts))


def _table(rows: Any) -> str:
    cells = [f"<tr><td><code>{a}</code></td><td>{html.escape(b)}</td></tr>" for a, b in rows]
    return f"<table>{''.join(cells)}</table>" if cells else ""


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: auto; padding: 1rem }}
td {{ padding: .1rem 1rem .1rem 0; vertical-align: top }}
</style>
{content}
<p>The same for programs: <a href="openapi.json">openapi.json</a></p>
</html>
"""
