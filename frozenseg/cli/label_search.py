"""`frozenseg label --search`: the nearest segments as a table and a contact sheet."""

from __future__ import annotations

import argparse
from pathlib import Path

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def main(args: argparse.Namespace) -> int:
    """Searches the job's folder INPUT, writes the sheet to --output; the exit code."""
    from PIL import Image

    from frozenseg.files import write_atomically
    from frozenseg.labelling.parts import required_manifest
    from frozenseg.labelling.search import Hit, search, text_vectors
    from frozenseg.labelling.segment_batch import model_digest
    from frozenseg.labelling.tiles import tile
    from frozenseg.loading import load
    from frozenseg.predict.words import read_words
    from frozenseg.visualization.contact_sheet import contact_sheet

    folder, sheet = Path(args.input).expanduser(), args.output.expanduser()
    if sheet.suffix.lower() not in PICTURES or sheet.is_dir():
        raise ValueError(f"--output {sheet}: name a picture, ending in {', '.join(PICTURES)}")
    manifest = required_manifest(folder)
    if not manifest.settings.get("embeddings"):
        raise ValueError(
            f"{folder}: its segments have no embeddings: label with --embeddings into another "
            "--output"
        )
    words = read_words(args.search).all_synonyms
    name = args.model or args.config_file or manifest.model["name"]
    segmenter = load(name, args.weights, args.device, opts=args.opts)
    if model_digest(segmenter) != manifest.model["digest"]:
        raise ValueError(
            f"{folder}: its embeddings are of another model or other weights "
            f"({manifest.model['name']}, {manifest.model['digest']}): give the --model, --weights "
            "and --opts of that job"
        )
    hits = search(folder, text_vectors(segmenter, list(words)), args.top)
    tiles = [
        tile(folder, manifest, hit.row, f"{number}. similarity {hit.similarity:.3f}")
        for number, hit in enumerate(hits, 1)
    ]
    picture = Image.fromarray(contact_sheet(tiles))
    write_atomically(sheet, lambda part: picture.save(part))

    def line(number: int, hit: Hit) -> str:
        row = hit.row
        score = "" if row["score"] is None else f"{row['score']:.2f}"
        place = f"{row['path']} segment {row['segment_id']}"
        return f"{number:4} {hit.similarity:10.3f}  {score:>5}  {row['class_name']:<20} {place}"

    print(f"{'':4} similarity  score  {'class':<20} image")
    print("\n".join(line(number, hit) for number, hit in enumerate(hits, 1)))
    print(f"contact sheet: {sheet}")
    return 0
