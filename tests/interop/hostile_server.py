"""A federation server that says whatever a test wants, with a right certificate and a signing key of its own."""

import contextlib
import http.client
import http.server
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import trustme

from relay.base.ids import ServerName
from relay.core.matrix import canonical_json, unpadded_base64
from relay.core.matrix.signing import SigningKey, generate, sign_json
from tests.interop.box_process import BoxProcess
from tests.interop.synapse_peer import write_certificate

Reply = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]
Answer = Callable[[str, str, bytes], Reply]
"""(method, target, body) -> status, body and perhaps headers."""

VALID_UNTIL_MS = 4_000_000_000_000


class HostileServer:
    """Listens on loopback under the name `localhost:PORT`; a context manager.

    Attributes:
        answer: what it says to everything but a question for its keys.
        keys: what it publishes as its keys.
        asked: every target it was asked for.
    """

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_certificate(authority, folder)
        self._client_context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = True
        self.name = ServerName(f"localhost:{self._server.server_address[1]}")
        self.key: SigningKey = generate(b"h" * 32, "hostile")
        self.answer: Answer = lambda *_: (404, b'{"errcode":"M_NOT_FOUND","error":"no"}')
        self.keys = self.right_keys()
        self.asked: list[str] = []

    def right_keys(self) -> bytes:
        """Return what an honest server would publish."""
        published = {
            "server_name": self.name,
            "valid_until_ts": VALID_UNTIL_MS,
            "verify_keys": {self.key.key_id: {"key": unpadded_base64.encode(self.key.public)}},
            "old_verify_keys": {},
        }
        return canonical_json.encode(sign_json(published, self.name, self.key))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sign(self, box: BoxProcess, method: str, target: str, content: object, **other: str) -> str:
        """Return the Authorization header for a request; `other` replaces what is signed or said in it."""
        said = {"origin": self.name, "destination": box.name, "key": self.key.key_id, **other}
        signed: dict[str, Any] = {
            "method": method,
            "uri": target,
            "origin": said["origin"],
            "destination": said["destination"],
        }
        if content is not None:
            signed["content"] = content
        sig = said.get("sig") or b64encode(self.key.sign(canonical_json.encode_lenient(signed))).decode()
        return f'X-Matrix origin="{said["origin"]}",destination="{said["destination"]}",key="{said["key"]}",sig="{sig}"'

    def ask(
        self,
        box: BoxProcess,
        method: str,
        target: str,
        content: Any = None,
        *,
        header: str | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, Any]:
        """Ask the box, signed unless `header` says otherwise; return status and the JSON of the answer."""
        body = b"" if content is None else json.dumps(content).encode()
        line = self.sign(box, method, target, content) if header is None else header
        headers = {"Authorization": line, "Content-Type": "application/json"} if line else {}
        return self.ask_raw(box, method, target, body if raw is None else raw, headers)

    def ask_raw(
        self, box: BoxProcess, method: str, target: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, Any]:
        """Ask with just these bytes."""
        port = int(box.name.rpartition(":")[2])
        connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=self._client_context)
        try:
            # Whoever sends too much is cut off in the middle, and told why all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.request(method, target, body or None, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read() or b"null")
        finally:
            connection.close()


def _handler(server: HostileServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.asked.append(self.path)
            extra: dict[str, str] = {}
            if self.path.startswith("/_matrix/key/"):
                status, said = 200, server.keys
            else:
                status, said, *rest = server.answer(self.command, self.path, body)
                extra = rest[0] if rest else {}
            self.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PUT = do_POST = _answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ssl.SSLError):
                self.close_connection = True

    return Handler
