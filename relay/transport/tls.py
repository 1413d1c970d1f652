"""TLS settings of both roles: 1.2 and newer, ALPN for HTTP/2 and HTTP/1.1."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from relay.base.errors import ConfigError

ALPN = ["h2", "http/1.1"]
ALPN_OF_CHALLENGES = "acme-tls/1"


class Identity:
    """What listeners prove themselves with; it may be exchanged while they serve: new connections get the new one.

    Attributes:
        context: for everybody.
        challenge: where a challenge of a certificate authority is pending: the context that answers it for a name, None
            where that name has none.
    """

    __slots__ = ("challenge", "context")

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.challenge: Callable[[str], ssl.SSLContext | None] | None = None


def challenge_context(pem: Path) -> ssl.SSLContext:
    """Return the context that answers a TLS-ALPN-01 challenge (RFC 8737, section 3) with what `pem` holds.

    Raises:
        ConfigError: the file is missing or malformed.
    """
    return _context(pem, None, [ALPN_OF_CHALLENGES])


def server_context(cert: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return the context of a listener with the chain in `cert` and the key in `key`, both PEM; `cert` may hold both.

    Raises:
        ConfigError: a file is missing or malformed, or the two do not belong together.
    """
    return _context(cert, key, ALPN)


def _context(cert: Path, key: Path | None, protocols: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
    context.set_alpn_protocols(protocols)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls.cert {cert} and tls.key {key or cert} cannot be used: {error}") from None
    return context


def client_context(extra_ca: Path | None = None, protocols: Sequence[str] = ALPN) -> ssl.SSLContext:
    """Return the context for reaching others: the system's CAs, and those in `extra_ca` (PEM) beside them.

    Raises:
        ConfigError: `extra_ca` is missing or malformed.
    """
    context = ssl.create_default_context(capath=_folder_of_all_cas())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(protocols)
    if extra_ca is not None:
        try:
            context.load_verify_locations(cafile=extra_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the CA {extra_ca} cannot be used: {error}") from None
    return context


def _folder_of_all_cas() -> Path | None:
    """Return the folder in which OpenSSL finds any CA of the system by its hash, None where it has to load all.

    Loading all costs 2.5 MiB for good, and on a small board half a second of every start. Debian's
    update-ca-certificates writes the bundle and the hashed links together; elsewhere they need not agree.
    """
    paths = ssl.get_default_verify_paths()
    if not paths.cafile or not paths.capath:
        return None
    folder, bundle = Path(paths.capath).resolve(), Path(paths.cafile).resolve()
    if bundle != folder / "ca-certificates.crt":
        return None
    links = sum(re.fullmatch(r"[0-9a-f]{8}\.[0-9]+", name) is not None for name in os.listdir(folder))
    # Somebody may have added a CA to the bundle by hand.
    return folder if links >= bundle.read_bytes().count(b"-----BEGIN ") else None
