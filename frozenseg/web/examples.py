"""Examples from the miniature world, drawn when the server starts."""

from __future__ import annotations

from pathlib import Path

# World and number of a scene, and words that fit it with some that do not.
_SCENES = (
    (13, 1, "purple heart, violet heart; red heart; yellow cross; water:stuff; sand:stuff"),
    (13, 3, "blue ring; purple ring; yellow square; white star; red circle; gravel, pebbles:stuff"),
    (13, 5, "white disk; yellow circle; emerald box; purple square; gravel:stuff; planks:stuff"),
    (
        13,
        13,
        "black heart; red heart; yellow ring; purple square; blue cross; sea:stuff; desert:stuff",
    ),
)
_SIDE = 768


def write_examples(folder: Path) -> list[tuple[str, str]]:
    """(image file, words) of each example; the pictures are written into `folder`."""
    import cv2
    from PIL import Image

    from frozenseg.data.miniature.scenes import draw_scene

    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for world, number, words in _SCENES:
        image_HW3 = draw_scene(world, number).image
        # Three times as large: the same to the model, and its outlines come out smooth.
        large_HW3 = cv2.resize(image_HW3, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
        path = folder / f"scene-{number}.png"
        Image.fromarray(large_HW3).save(path)
        examples.append((str(path), words))
    return examples
