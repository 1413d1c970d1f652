"""An HTTPS server for requests of other processes and threads: it answers as it is told, and notes what came."""

import contextlib
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import trustme


class Came(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answers = Callable[[Came], tuple[int, dict[str, str], bytes]]


class HttpsServer:
    """What came, and where it came to."""

    def __init__(self, port: int, ca: Path) -> None:
        self.url = f"https://localhost:{port}"
        self.ca = ca
        self.came: list[Came] = []


@contextlib.contextmanager
def https_server(folder: Path, answers: Answers) -> Iterator[HttpsServer]:
    """Serve while the block runs; `ca` of what is yielded is whom to trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "https-ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Asked(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            came = Came(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            told.came.append(came)
            status, headers, data = answers(came)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        do_GET = do_POST = do_HEAD = _answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Asked) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        told = HttpsServer(int(server.server_address[1]), folder / "https-ca.pem")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
