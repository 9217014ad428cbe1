"""The part of the documentation site (`make docs`, mkdocs.yml) that no page on disk has.

The pages outside docs/ (installation, datasets, ...), the reference of the command line from the
parsers' help, and that of the Python API from `frozenseg.__all__`. Links between pages are those
of the checkout; here they lead to the site's pages, and links to code become plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Page of the site -> file of the checkout, for those outside docs/.
OUTSIDE = {
    "overview.md": "README.md",
    "install.md": "INSTALL.md",
    "datasets.md": "datasets/README.md",
    "changelog.md": "CHANGELOG.md",
    "getting_started.md": "GETTING_STARTED.md",
}
SITE_PAGE = {path: name for name, path in OUTSIDE.items()}
# Public classes that calls return and that are not names of the package itself.
RETURNED = (
    "frozenseg.predict.segmenter.Results",
    "frozenseg.predict.segmented_image.Segment",
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that docs/ does not have."""
    pages = {name: (ROOT / path).read_text(encoding="utf-8") for name, path in OUTSIDE.items()}
    pages |= {"commands.md": command_page(), "api.md": api_page()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the checkout become those of the site."""
    name = page.file.src_uri
    folder = PurePosixPath(OUTSIDE.get(name, f"docs/{name}")).parent

    def link(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        if not target or "://" in target:
            return match[0]
        path = os.path.normpath(folder / target).replace(os.sep, "/")
        there = SITE_PAGE.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(there) is None:
            return text
        return f"{picture}[{text}]({there}{anchor or ''})"

    return _LINK.sub(link, markdown)


def command_page() -> str:
    """The help of every command, as a terminal of 90 columns shows it."""
    os.environ["COLUMNS"] = "90"  # what argparse asks for
    from frozenseg.cli.main import COMMANDS, overview, parser_of

    text = f"# Command line\n\n```text\n{overview()}\n```\n"
    for name in COMMANDS:
        text += f"\n## frozenseg {name}\n\n```text\n{parser_of(name).format_help().rstrip()}\n```\n"
    return text.replace(os.path.expanduser("~"), "~")


def api_page() -> str:
    """One entry for each public name; mkdocstrings fills them in from the sources."""
    import frozenseg

    names = [f"frozenseg.{name}" for name in sorted(frozenseg.__all__, key=str.swapcase)]
    names = [name for name in names if not name.endswith("__")]
    entries = "\n".join(f"::: {name}\n" for name in (*names, *RETURNED))
    return f"# Python API\n\nThe public names of the package `frozenseg`.\n\n{entries}"
