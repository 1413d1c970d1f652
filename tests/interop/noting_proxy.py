"""A TLS front before a box: passes every request on as it is, and notes each transaction the box answered with 200."""

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

Note = Callable[[dict[str, Any], dict[str, Any]], None]

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})


class NotingProxy:
    """Listens on `port` while its block runs; `target` is where the box listens without TLS, once it is known."""

    def __init__(self, port: int, folder: Path, note: Note) -> None:
        self.target: int | None = None
        self._note = note
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self._server = _Front(("127.0.0.1", port), self._handler_class())
        # The handshake waits for the handler's thread: one slow peer does not keep the others out.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[Any], bytes]:
        """Ask the box; what it promised is noted before anybody hears of it.

        Raises:
            OSError, http.client.HTTPException: the box did not answer.
        """
        if self.target is None:
            raise ConnectionRefusedError
        connection = http.client.HTTPConnection("localhost", self.target, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            reply = answer.read()
            if answer.status == 200 and method == "PUT" and "/federation/v1/send/" in path:
                self._note(json.loads(body), json.loads(reply))
            return answer.status, answer.getheaders(), reply

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                passed = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
                try:
                    status, headers, reply = proxy.pass_on(self.command, self.path, passed, body)
                except (OSError, http.client.HTTPException):
                    # What a peer sees of a box whose power is gone.
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_PUT = do_POST = answer  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


class _Front(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that goes away in the middle is no news."""
