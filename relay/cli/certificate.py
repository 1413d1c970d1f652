"""The certificate's child: one look after it, in a process that ends with it."""

import datetime
import ipaddress
import secrets
import threading
from pathlib import Path
from typing import Any

from relay.base.clock import SystemClock
from relay.base.config import Config, load
from relay.base.config_names import AcmeConfig, is_address, names_or_host
from relay.base.errors import ConfigError, InvalidInputError, TooLargeError, UnreachableError
from relay.cli.files import read_secret, write_whole
from relay.uplink.acme.folder import AcmeFolder
from relay.uplink.acme.jose import Binding, parse_binding
from relay.uplink.acme.ordering import Solver, Waiting
from relay.uplink.acme.places import CHALLENGES
from relay.uplink.acme.problems import AcmeError
from relay.uplink.acme.session import Answer
from relay.uplink.acme.tending import Tending
from relay.uplink.web import Web

_JOSE = {"Content-Type": "application/jose+json"}


def certificate_tend(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Look after the certificate once; return whether there is a new one and in how many seconds to look again."""
    config = load(folder)
    if not config.acme.directory:
        raise ConfigError("acme.directory is empty: nobody certifies this box")
    web = Web(folder / config.acme.ca if config.acme.ca else None)

    def fetch(method: str, url: str, body: bytes | None) -> Answer:
        try:
            return Answer(*web.ask(method, url, body, _JOSE if body is not None else {}))
        except UnreachableError as error:
            raise AcmeError("unreachable", str(error)) from None
        except (InvalidInputError, TooLargeError) as error:
            raise AcmeError("malformed", str(error)) from None

    tending = Tending(
        AcmeFolder(folder, write_whole),
        config.acme,
        certified_names(config),
        fetch=fetch,
        solver=lambda: _solver(folder, config),
        waiting=_WAITING,
        draw=secrets.randbelow,
        binding=lambda: _binding(folder, config.acme),
    )
    tended = tending.tend(at_start=fields.get("at_start") is True)
    return {
        "renewed": tended.renewed,
        "pause_s": round(tended.pause_s, 1),
        "ends_s": tended.record.ends_s,
        "failed": tended.record.kind,
    }


def _binding(folder: Path, settings: AcmeConfig) -> Binding | None:
    if not settings.eab_key_id:
        return None
    try:
        text = read_secret(folder, "acme.eab_key_file", settings.eab_key_file)
        return parse_binding(settings.eab_key_id, text)
    except (ConfigError, InvalidInputError) as error:
        raise AcmeError("binding", str(error)) from None


def certified_names(config: Config) -> list[str]:
    """Return the names that the certificate is for."""
    names = names_or_host(config.acme.names, config.server.name)
    return [str(ipaddress.ip_address(name)) if is_address(name) else name for name in names]


def _solver(folder: Path, config: Config) -> Solver:
    if config.acme.challenge == "dns-01":
        from relay.cli.name_update import read_key
        from relay.uplink.acme.dns_01 import DnsChallenge
        from relay.uplink.dns_update import DnsUpdateError, NameServer, find_server, parse_key

        try:
            server = NameServer(
                find_server(config.dns.server), parse_key(read_key(folder, config.dns), config.dns.user)
            )
        except (DnsUpdateError, ConfigError) as error:
            raise AcmeError("update", str(error)) from None
        return DnsChallenge(server, _WAITING)
    from relay.uplink.acme.tls_alpn import TlsAlpn

    return TlsAlpn(folder / CHALLENGES, write_whole, datetime.datetime.now(datetime.UTC))


def _now_s() -> float:
    return SystemClock().wall_ms() / 1000


def _pause(pause_s: float) -> None:
    threading.Event().wait(pause_s)  # nothing announces it: ask again then


_WAITING = Waiting(_now_s, _pause)
