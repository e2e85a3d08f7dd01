"""The server: a socket, the application behind it, and an orderly end."""

import signal
import socket
import sys
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from recall_lightning.errors import InputError

GRACE_S = 30  # that running requests have to end


def bound(host: str, port: int) -> socket.socket:
    """A socket that holds the address, but takes no connections yet.

    Raises:
        InputError: if there is no such address, or it is taken.
    """
    where = f"--host {host} --port {port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError(
            f"{where}: no such address ({error.strerror}). Give one of this machine, such as 127.0.0.1"
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise InputError(
            f"{where}: can't be had ({error.strerror}). Give another port, 0 for a free one, or another host"
        ) from error
    return listener


class Announcing(uvicorn.Server):
    """Tells its address once it takes connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            sys.stderr.write(f"serving at {address}, described at {address}/docs\n")
            if not ip_address(host).is_loopback:
                sys.stderr.write("note: other machines reach this address, and the service asks nobody who they are\n")
            sys.stderr.flush()


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was asked already, and return."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the server catches them, and raises them again at its end
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=GRACE_S
    )
    Announcing(config).run(sockets=[listener])
