"""Tells the DNS where the box is, once: the child of `relay.uplink.name_follower`.

`DIR/name.json` remembers a refusal that only a person can do something about: with the same settings and key it is not
asked for again before an hour has passed, however often the box is started.
"""

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

from relay.base.clock import SystemClock
from relay.base.config import Config, load
from relay.base.config_names import DnsConfig, names_or_host
from relay.base.errors import ConfigError, RelayError
from relay.cli.files import read_secret, write_whole
from relay.uplink.addresses import Addresses

FILE_NAME = "name.json"
# A box that does not know its IPv4 address and is started again and again asks no more often.
_LEAST_BETWEEN_S = 600.0
_AFTER_REFUSAL_S = 3600.0


def name_update(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Tell it, if the name does not say so already; return how that went."""
    config = load(folder)
    if config.dns.method == "off":
        raise ConfigError("dns.method is off: nobody is told")
    if not (config.dns.server and config.dns.key_file):
        raise ConfigError(f"dns.method is {config.dns.method}, which needs dns.server and dns.key_file")
    here = Addresses(str(fields.get("ipv4", "")), str(fields.get("ipv6", "")))
    key = read_key(folder, config.dns)
    mark = hashlib.sha256(
        "\n".join([config.dns.method, config.dns.server, kept_name(config), config.dns.user, key]).encode()
    )
    before = _read_record(folder, mark.hexdigest())
    if before.get("fatal") and _age_s(before) < _AFTER_REFUSAL_S:
        return before
    told = _tell_provider if config.dns.method == "dyndns2" else _tell_server
    result = told(folder, config, here, key, before)
    outcome = {name: result.get(name) for name in ("kind", "detail", "fatal")}
    kept = {"mark": mark.hexdigest(), "ipv6": here.ipv6, "at_s": _now_s(), **outcome}
    if result.get("asked") or result.get("fatal"):
        write_whole(folder / FILE_NAME, json.dumps(kept).encode("ascii"))
    return result


def kept_name(config: Config) -> str:
    """Return the name that is kept."""
    return names_or_host(config.dns.name, config.server.name)[0]


def read_key(folder: Path, settings: DnsConfig) -> str:
    """Return what stands in the key file.

    Raises:
        ConfigError: it cannot be read.
    """
    return read_secret(folder, "dns.key_file", settings.key_file)


def _read_record(folder: Path, mark: str) -> dict[str, Any]:
    try:
        record = json.loads((folder / FILE_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.pop("mark", "") == mark else {}


def _age_s(record: dict[str, Any]) -> float:
    # One of the future is as old as one of the past: the clock was wrong then, or is now.
    return abs(_now_s() - float(record.get("at_s") or 0))


def _tell_server(_folder: Path, config: Config, here: Addresses, key: str, _before: dict[str, Any]) -> dict[str, Any]:
    from relay.uplink.dns_update import DnsUpdateError, NameServer, find_server, keep_addresses, parse_key

    wanted: dict[str, list[str]] = {}
    if config.dns.ipv4 and here.ipv4:
        wanted["A"] = [here.ipv4]
    if config.dns.ipv6:
        # The box knows all IPv6 addresses that it has: a name that keeps an old one sends people nowhere.
        wanted["AAAA"] = [here.ipv6] if here.ipv6 else []
    try:
        server = NameServer(find_server(config.dns.server), parse_key(key, config.dns.user))
        return {"changed": keep_addresses(server, kept_name(config), wanted, config.dns.ttl)}
    except DnsUpdateError as error:
        return {"kind": error.kind, "detail": str(error)}


def _tell_provider(folder: Path, config: Config, here: Addresses, key: str, before: dict[str, Any]) -> dict[str, Any]:
    name = kept_name(config)
    says = _says(name)
    if config.dns.ipv4 and not here.ipv4:
        if _age_s(before) < _LEAST_BETWEEN_S and here.ipv6 == before.get("ipv6"):
            return {"changed": False}
        # Nobody here knows the address: the provider takes the one it sees, if it is asked over IPv4.
        requests = [[], [here.ipv6]] if here.ipv6 and here.ipv6 not in says else [[]]
    else:
        addresses = [address for address in here if address]
        requests = [addresses] if not set(addresses) <= says else []
    result: dict[str, Any] = {"changed": False}
    for addresses in requests:
        result = _ask_provider(folder, config, addresses, key)
        if result.get("kind"):
            break
    return result


def _ask_provider(folder: Path, config: Config, addresses: list[str], key: str) -> dict[str, Any]:
    from relay.uplink.dyndns2 import authorization, judge, update_url
    from relay.uplink.web import Web

    web = Web(folder / config.tls.ca if config.tls.ca else None, ipv4_only=not addresses)
    url = update_url(config.dns.server, kept_name(config), addresses)
    try:
        answer = web.ask("GET", url, headers=authorization(config.dns.user, key))
    except RelayError as error:
        return {"kind": "unreachable", "detail": str(error)}
    verdict = judge(answer.status, answer.body)
    if verdict.good:
        return {"changed": verdict.code == "good", "asked": True, "address": verdict.address}
    return {"kind": verdict.code, "detail": verdict.detail, "fatal": verdict.fatal, "wait_s": verdict.wait_s}


def _now_s() -> float:
    return SystemClock().wall_ms() / 1000


def _says(name: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()
