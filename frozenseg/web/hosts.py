"""Who may ask: under which names the server answers, and from which pages.

A page of another site can send a visitor's browser here: openly (the Origin header says so), or
under a DNS name of its own that suddenly means this machine (DNS rebinding; the Host header does).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

_NETLOC = re.compile(r"(\[[\da-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """The names of a server."""

    def __init__(self, host: str, public: Sequence[str] = ()) -> None:
        """
        Args:
            host: where the server listens. If not on this machine only, it may be asked under
                any IP address too: that is never another site's DNS name.
            public: further names, of a reverse proxy; "*.example.org" for all below.
        """
        self.public = tuple(name.lower() for name in public)
        self._names = {*_LOOPBACK, host.lower()}
        self._any_address = host not in _LOOPBACK
        if self._any_address:
            machine = socket.gethostname().lower()
            self._names |= {machine, f"{machine}.local"}

    def serves(self, host: str) -> bool:
        """Whether a Host header, NAME or NAME:PORT, names this server."""
        name = _name(host)
        own = name in self._names or (self._any_address and _is_address(name))
        return bool(name) and (own or self._is_public(name))

    def trusts(self, origin: str | None, host: str) -> bool:
        """Whether an Origin header is that of this server's page, asked under a Host header."""
        if origin is None:  # no browser, or a request of the page itself that changes nothing
            return True
        netloc = origin.lower().partition("://")[2]
        return netloc == host.lower() or self._is_public(_name(netloc))

    def _is_public(self, name: str) -> bool:
        return any(
            name.endswith(each[1:]) if each.startswith("*.") else name == each
            for each in self.public
        )


def _name(netloc: str) -> str:
    """The name in NAME:PORT, "" if it is malformed."""
    match = _NETLOC.fullmatch(netloc)
    return match[1].strip("[]").lower() if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_port(host: str, port: int) -> None:
    """Before a server is made, whose message speaks of its own settings.

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
