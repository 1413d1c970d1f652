"""A real ACME server and the name server that it asks, on loopback."""

import json
import os
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path

import trustme
from cryptography import x509

from relay.cli.bench.servers import free_port
from tests.interop.listening_process import ListeningProcess, end_process, wait_for_port
from tests.interop.peer_environments import pebble

NAME = "box.example.test"


class Pebble(ListeningProcess):
    """Pebble, validating at the ports of one box; a context manager that starts and ends it.

    Args:
        tls_port: where it asks for TLS-ALPN-01, in place of 443.
        names: the name server it asks, 127.0.0.1:PORT; empty: one that says 127.0.0.1 for every name.
        nonces: the share of good nonces that it refuses, in percent.
        profiles: validity in seconds by profile.
        mac_keys: base64url keys by name; where there are any, an account needs one of them.
    """

    def __init__(
        self,
        folder: Path,
        authority: trustme.CA,
        *,
        tls_port: int,
        names: str = "",
        nonces: int = 5,
        profiles: dict[str, int] | None = None,
        mac_keys: dict[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._names = names
        self._nonces = nonces
        self._namer: subprocess.Popen[bytes] | None = None
        self.port, self._management_port = free_port(), free_port()
        self.directory = f"https://localhost:{self.port}/dir"
        self.ca = folder / "directory-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(str(folder / "key.pem"))
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(folder / "cert.pem"), append=number > 0)
        profiles = profiles or {"default": 7_776_000, "shortlived": 518_400}
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management_port}",
            "certificate": str(folder / "cert.pem"),
            "privateKey": str(folder / "key.pem"),
            "httpPort": free_port(),
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(mac_keys),
            "externalAccountMACKeys": mac_keys or {},
            "domainBlocklist": ["blocked.example.test"],
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": {name: {"description": name, "validityPeriod": life} for name, life in profiles.items()},
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))

    def start(self) -> None:
        """Start, and wait until it listens."""
        program, namer = pebble()
        names = self._names or f"127.0.0.1:{free_port()}"
        environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": str(self._nonces)}
        with (self._folder / "log").open("ab") as out:
            if not self._names:
                quiet = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""]
                line = [str(namer), "-dnsserver", names, "-management", f"127.0.0.1:{free_port()}", *quiet]
                self._namer = subprocess.Popen([*line, "-defaultIPv6", ""], stdout=out, stderr=out)
            line = [str(program), "-config", str(self._folder / "pebble.json"), "-strict", "-dnsserver", names]
            self.process = subprocess.Popen(line, stdout=out, stderr=out, env={**os.environ, **environment})
        wait_for_port(self.port, self.process)

    def stop(self) -> None:
        super().stop()
        if self._namer is not None:
            end_process(self._namer)
            self._namer = None

    def settings(self, challenge: str = "tls-alpn-01") -> dict[str, str]:
        """Return the settings of a box that is certified here."""
        return {
            "acme.directory": self.directory,
            "acme.ca": str(self.ca),
            "acme.terms_agreed": "true",
            "acme.names": NAME,
            "acme.challenge": challenge,
        }

    def root(self) -> str:
        """Return the authority's root certificate, PEM."""
        return self._managed("GET", "/roots/0", None).decode()

    def suggest(self, chain: str, start: str, end: str) -> None:
        """Have it suggest that window for the renewal of a certificate."""
        window = json.dumps({"suggestedWindow": {"start": start, "end": end}})
        leaf = chain[: chain.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
        body = json.dumps({"Certificate": leaf, "ARIResponse": window}).encode()
        self._managed("POST", "/set-renewal-info/", body)

    def _managed(self, method: str, path: str, body: bytes | None) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca))
        request = urllib.request.Request(f"https://localhost:{self._management_port}{path}", body, method=method)
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return bytes(answer.read())


def shown(port: int) -> x509.Certificate:
    """Return the certificate that a listener shows to anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("localhost", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der)


def issuer(port: int) -> str:
    """Return the common name of who issued what a listener shows."""
    return str(shown(port).issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
