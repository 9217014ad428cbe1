"""Serves the page: its look, its limits, nothing from other hosts."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from frozenseg.web.guard import Guard
from frozenseg.web.hosts import Hosts
from frozenseg.web.limits import Limits
from frozenseg.web.offline import Offline
from frozenseg.web.results import ResultFolder
from frozenseg.web.turns import Turns
from frozenseg.web.uploads import Uploads

FOLDER = Path(__file__).parent
_SANS = ["ui-sans-serif", "system-ui", "sans-serif"]
_MONO = ["ui-monospace", "monospace"]
# Not in page.css: gradio rewrites its selectors so that they do not reach the outer frame.
_FRAME = """<style>
.gradio-container .main.fillable.app { max-width: 1360px !important; margin: 0 auto !important; }
@media (max-width: 640px) {
  .gradio-container .main.fillable.app { padding: .7rem .9rem 1.5rem !important; }
}
</style>"""


# Uploads and results are deleted when they are older; looked for every five minutes. In seconds.
DELETE_EVERY, DELETE_AFTER = 300, 3300
MOST_CONNECTIONS = 800  # most systems give a process 1024 files
_SHARED = "*.gradio.live"  # names that gradio's relay gives


@contextlib.contextmanager
def served(
    page: gr.Blocks,
    limits: Limits,
    folder: Path,
    results: ResultFolder,
    host: str,
    port: int,
    *,
    public_hosts: Sequence[str] = (),
    auth: list[tuple[str, str]] | None = None,
    share: bool = False,
) -> Iterator[str]:
    """A context in which the page is served; its address.

    Args:
        folder: of all files that visitors send or get; uploads go to its folder "uploads", where
            GRADIO_TEMP_DIR must point before gradio is imported.
        public_hosts: names of a reverse proxy, which is then believed who asks (uvicorn's
            FORWARDED_ALLOW_IPS: from which addresses; default: this machine).
        auth: (user, password) of all who may use the page; None: everybody.
        share: by gradio's relay too.
    Raises: OSError if the host or port cannot be had; `check_port` says it before.
    """
    public = (*public_hosts, _SHARED) if share else tuple(public_hosts)
    turns = Turns(page)
    uploads = Uploads(folder / "uploads", limits, turns.files_in_use)
    app = _application(page, limits, uploads, results, auth)
    guard = Guard(app, Hosts(host, public), limits, folder, turns, uploads)
    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            host=host,
            port=port,
            log_level="warning",
            proxy_headers=bool(public),
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise OSError(f"--host {host} --port {port} cannot be had: choose another one")
        time.sleep(0.01)
    try:
        name = f"[{host}]" if ":" in host else host
        yield _public_address(host, port) if share else f"http://{name}:{port}/"
    finally:
        server.should_exit = True
        thread.join(10)


def _application(
    page: gr.Blocks,
    limits: Limits,
    uploads: Uploads,
    results: ResultFolder,
    auth: list[tuple[str, str]] | None,
) -> FastAPI:
    """The application behind the guard, and what is deleted meanwhile."""

    async def delete() -> None:
        while True:
            await asyncio.sleep(DELETE_EVERY)
            uploads.remove_older(DELETE_AFTER)
            results.remove_older(DELETE_AFTER)
            for paths in page.temp_file_sets:  # gradio would remember them for good
                paths.clear()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(delete())
        yield
        task.cancel()

    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO, radius_size="md"
    ).set(  # hints in a grey that is readable
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color_dark="*neutral_400",
    )
    no_documents: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    page.has_launched = True  # gradio checks the paths of requests only then
    return gr.mount_gradio_app(
        # gradio allows other origins unless its parent has a rule; this one allows none.
        FastAPI(lifespan=lifespan, middleware=[Middleware(CORSMiddleware)], **no_documents),
        page,
        "/",
        auth=auth,
        theme=theme,
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        head=_FRAME,
        max_file_size=limits.file_bytes,
        show_error=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        app_kwargs={"middleware": [Middleware(Offline)], **no_documents},
    )


def _public_address(host: str, port: int) -> str:
    from gradio.networking import setup_tunnel

    try:
        return setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)
    except Exception as error:  # of any kind: of the network, of the relay's program
        raise OSError(f"--share: gradio's relay gave no address ({error})") from error
