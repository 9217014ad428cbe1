"""Serves the page: its look, its limits, nothing from other hosts."""

from __future__ import annotations

import socket
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from frozenseg.web.limits import Limits
from frozenseg.web.offline import Offline

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


def serve(page: gr.Blocks, limits: Limits, host: str, port: int, *, share: bool = False) -> str:
    """Starts the server in the background; its address.

    Raises: OSError if the host or port cannot be had; `check_port` says it before.
    """
    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO, radius_size="md"
    ).set(  # hints in a grey that is readable
        body_text_color_subdued="*neutral_500",
        block_info_text_color="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color_dark="*neutral_400",
    )
    _, local, public = page.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        theme=theme,
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        head=_FRAME,
        max_file_size=round(limits.megabytes * 2**20),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        app_kwargs={
            "middleware": [Middleware(Offline)],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
    )
    return str(public or local)


def check_port(host: str, port: int) -> None:
    """Before gradio, whose message speaks of its own settings.

    Raises: ValueError or OSError if the host or port cannot be had.
    """
    if not 0 < port < 2**16:
        raise ValueError(f"--port {port}: choose one of 1 to 65535")
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(
            f"--host {host} --port {port} cannot be had ({error}): choose another one"
        ) from error
