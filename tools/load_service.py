"""Asks a running `frozenseg serve` as many clients would, and compares its answers.

    frozenseg serve --model miniature-fcclip &
    python tools/load_service.py --clients 1 20 --requests 200

The images are scenes of the miniature world of one size, all different. Every answer must be that
of `frozenseg.load(--model)` for its own image: the same segments on 99.9 % of the pixels.
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WORDS = "purple heart; red heart; yellow cross; blue star; water:stuff; sand:stuff; grass:stuff"
IMAGES = 20
EQUAL = 0.999  # of the pixels


class Load(NamedTuple):
    """What some clients together saw."""

    clients: int
    answers: list[dict[str, Any] | None]  # None: lost
    seconds: list[float]  # of each request
    total: float  # seconds of all
    together: float  # images that went through the model at a time, on average


def scenes() -> list[bytes]:
    """PNG files of one size."""
    from PIL import Image

    from frozenseg.data.miniature.scenes import draw_scene

    files = []
    for number in range(IMAGES):
        content = io.BytesIO()
        Image.fromarray(draw_scene(16, number).image).save(content, "PNG")
        files.append(content.getvalue())
    return files


def ask_all(
    url: str, images: Sequence[bytes], clients: int, requests: int, token: str = ""
) -> Load:
    """`requests` requests, image after image, by clients of which each asks one after another."""
    import httpx

    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, timeout=300, trust_env=False) as client:

        def ask(number: int) -> tuple[dict[str, Any] | None, float]:
            begun = time.perf_counter()
            answer = client.post(
                "/segment",
                files={"image": ("scene.png", images[number % len(images)], "image/png")},
                data={"words": WORDS, "label_map": "true"},
            )
            seconds = time.perf_counter() - begun
            return (answer.json() if answer.status_code == 200 else None), seconds

        before, begun = client.get("/health").json(), time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            answered = list(threads.map(ask, range(requests)))
        total, after = time.perf_counter() - begun, client.get("/health").json()
    computed, batches = (after[name] - before[name] for name in ("computed", "batches"))
    answers, seconds = zip(*answered, strict=True)
    return Load(clients, list(answers), list(seconds), total, computed / max(1, batches))


def is_equal(answer: dict[str, Any] | None, expected: Any) -> bool:
    """Whether an answer is a `Segmentation`: the same segments, of `EQUAL` of the pixels."""
    import numpy as np
    from PIL import Image

    if answer is None:
        return False
    labels = Image.open(io.BytesIO(base64.b64decode(answer["label_map_png"])))
    same = float(np.mean(np.asarray(labels) == expected.label_map_HW))
    names = [segment["category_name"] for segment in answer["segments"]]
    return names == [segment.name for segment in expected.segments] and same >= EQUAL


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token", default="")
    parser.add_argument("--model", default="miniature-fcclip", help="that is served there")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--requests", type=int, default=200, help="of all clients together")
    args = parser.parse_args()

    import frozenseg

    images = scenes()
    expected = frozenseg.load(args.model).batch([io.BytesIO(image) for image in images], WORDS)
    ask_all(args.url, images, 1, 3, args.token)  # the words become known
    print("| clients | requests | lost | equal | per second | median | p95 | together |")
    print("|---|---|---|---|---|---|---|---|")
    for clients in args.clients:
        load = ask_all(args.url, images, clients, args.requests, args.token)
        equal = sum(
            is_equal(answer, expected[number % IMAGES])
            for number, answer in enumerate(load.answers)
        )
        median = statistics.median(load.seconds)
        p95 = sorted(load.seconds)[int(0.95 * len(load.seconds))]
        print(
            f"| {clients} | {args.requests} | {load.answers.count(None)} | {equal} | "
            f"{args.requests / load.total:.1f} | {median:.2f} s | {p95:.2f} s | "
            f"{load.together:.1f} |"
        )


if __name__ == "__main__":
    main()
