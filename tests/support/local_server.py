"""An HTTP server on this machine that runs while a context is open."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HTTPServer(ThreadingHTTPServer):
    """What handlers have as `server`; its `owner` is the context."""

    daemon_threads = True
    request_queue_size = 64
    owner: Any


class LocalServer:
    """The context; those that inherit say which handler answers."""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        raise NotImplementedError

    def __enter__(self):
        self._http = HTTPServer(("127.0.0.1", 0), self.handler())
        self._http.owner = self
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"
