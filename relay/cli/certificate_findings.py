"""What is wrong with the certificate, and what to do next: from the files alone, so with the box running or not."""

import datetime
from collections.abc import Iterator
from pathlib import Path

from relay.admin.operations import Finding
from relay.base.clock import is_set
from relay.base.config import Config, split_address
from relay.base.config_names import split_names
from relay.base.errors import InvalidInputError
from relay.base.ids import host_of
from relay.cli import own_ca
from relay.transport.destination import parse_url
from relay.uplink.acme.places import CERTIFICATE, read_record
from relay.uplink.acme.schedule import Record

_SOON_DAYS = 14
_DAY_S = 24 * 3600
_CHALLENGE_PORT = 443

_PORT = 'let port 443 of the name reach this box: forward it at the router (uplink.map_ports = "auto" asks it to)'
_NEXT = {
    "dns": "let the name point to this box at whoever keeps it, or set [dns] so that the box does it",
    "connection": f"{_PORT}, or set acme.challenge to dns-01",
    "tls": f"something else answers there: {_PORT}, or set acme.challenge to dns-01",
    "unauthorized": f"nobody answers, or another machine: let the name point to this box alone, and {_PORT}",
    "rateLimited": "wait: the box tries again by itself when it may; removing tls/acme makes it worse",
    "terms": "read them; if you agree, set acme.terms_agreed to true",
    "userActionRequired": "read the new terms, and agree at the address that it names",
    "unreachable": "look at the line, at the box's name servers, at acme.directory and acme.ca",
    "caa": "let the CAA record of the name allow this authority, or take another",
    "rejectedIdentifier": "this authority does not certify such a name: take another name or authority",
    "unsupportedIdentifier": "this authority does not certify such a name: take another name or authority",
    "externalAccountRequired": "make an account there, and set what it gives you: acme.eab_key_id, acme.eab_key_file",
    "binding": "correct acme.eab_key_id and acme.eab_key_file, or get others from it; then restart the box",
    "invalidProfile": "set acme.profile to one that the authority has, or to nothing",
    "challenge": "set acme.challenge to one that the authority offers",
    "update": "look at dns.server, dns.key_file and what the name server allows that key",
}
_LATER = "the box tries again by itself; if it lasts, look at what the authority says"


def find_about_the_certificate(folder: Path, config: Config, now: datetime.datetime) -> Iterator[Finding]:
    """Return what is wrong with the files, the names and the dates, and with getting a certificate."""
    if not (config.federation.tls or config.client.tls):
        return
    record = read_record(folder) if config.acme.directory else Record()
    certified = bool(config.acme.directory) and (folder / CERTIFICATE).exists()
    cert, key = _files(config, certified=certified)
    for name in (cert, key):
        if not (folder / name).is_file():
            yield Finding("fault", f"the TLS file {name} is missing", "bring it back, or set tls.cert and tls.key")
            return
    if config.acme.directory:
        yield from _find_about_orders(config, record, now, certified=certified)
    yield from _find_in_certificate((folder / cert).read_bytes(), config, record, now)
    if not config.tls.cert and not config.acme.directory:
        yield Finding(
            "note",
            "the box made its own CA",
            "elsewhere apps and servers refuse it until they trust tls/ca.pem; [acme] gets a certificate that they do",
        )


def _files(config: Config, *, certified: bool) -> tuple[str, str]:
    if config.tls.cert:
        return config.tls.cert, config.tls.key
    return (str(CERTIFICATE),) * 2 if certified else (f"{own_ca.FOLDER}/cert.pem", f"{own_ca.FOLDER}/key.pem")


def _find_about_orders(config: Config, record: Record, now: datetime.datetime, *, certified: bool) -> Iterator[Finding]:
    meanwhile = "" if certified else "; until then it shows its own CA's, which others refuse"
    if not config.acme.terms_agreed and not certified:
        yield Finding(
            "warning",
            f"certificate.terms: nobody agreed to the terms of {config.acme.directory}{meanwhile}",
            _NEXT["terms"],
        )
    elif record.kind:
        about = f" for {record.about}" if record.about else ""
        again = datetime.datetime.fromtimestamp(record.next_s, datetime.UTC)
        what = f"certificate.{record.kind}: no new one{about}: {record.detail}"
        when = f"; the box tries again at {again:%Y-%m-%d %H:%M} UTC" if record.next_s > now.timestamp() else ""
        yield Finding("warning", what + meanwhile, _NEXT.get(record.kind, _LATER) + when)
    elif not certified and not is_set(now.timestamp()):
        yield Finding(
            "warning", f"certificate.clock: none yet, the clock is not set{meanwhile}", "set it: time set, in UTC"
        )
    elif not certified:
        yield Finding(
            "warning",
            f"certificate.none: there is none yet{meanwhile}",
            "start the box, and wait a minute: it asks for one",
        )
    if (record.kind or not certified) and (finding := _look_at_the_port(config)):
        yield finding


def _look_at_the_port(config: Config) -> Finding | None:
    """Say where an authority knocks, if no door of ours stands there by itself."""
    ports = [split_address(door.listen)[1] for door in (config.client, config.federation) if door.tls]
    if config.acme.challenge != "tls-alpn-01" or _CHALLENGE_PORT in ports:
        return None
    listening = " and ".join(map(str, ports))
    return Finding(
        "note",
        f"certificate.port: the authority looks for the box at port 443; its doors with TLS listen on {listening}",
        f"forward port 443 of the router to {ports[0]} of this box, or let client.listen be [::]:443 with client.tls",
    )


def _find_in_certificate(pem: bytes, config: Config, record: Record, now: datetime.datetime) -> Iterator[Finding]:
    from relay.uplink.acme.renewal_info import read_life

    renewal = "renew it where it came from" if config.tls.cert else "restart the box: it signs a new one"
    if config.acme.directory:
        renewal = _NEXT.get(record.kind, "look at why it was not renewed; a restart tries again at once")
    try:
        life = read_life(pem)
    except ValueError:
        yield Finding("fault", "the certificate cannot be read", renewal)
        return
    left_s = life.ends_s - now.timestamp()
    # A certificate of six days is young at five: what counts is whether its renewal is overdue.
    soon = now.timestamp() > (record.renew_s + life.ends_s) / 2 if record.renew_s else left_s < _SOON_DAYS * _DAY_S
    if left_s < 0:
        yield Finding("fault", "the certificate has ended", renewal)
    elif soon:
        yield Finding("warning", f"the certificate ends in {int(left_s // _DAY_S)} days", renewal)
    yield from _find_in_names(life.names, config)


def _find_in_names(names: frozenset[str], config: Config) -> Iterator[Finding]:
    shown = ", ".join(sorted(names)[:5]) or "nobody"
    host = host_of(config.server.name)
    wanted = [host] if config.federation.tls and not config.acme.names else split_names(config.acme.names)
    if lacking := [name for name in wanted if not _covers(names, name)]:
        yield Finding(
            "warning",
            f"certificate.names: it is for {shown}, not for {', '.join(lacking)}",
            f"get one for {lacking[0]}, unless /.well-known/matrix/server of {host} sends servers elsewhere",
        )
    try:
        place, _ = parse_url(config.client.public_url)
    except InvalidInputError:
        return
    if place.tls_name and config.client.tls and not _covers(names, place.tls_name):
        yield Finding(
            "warning",
            f"certificate.well_known: /.well-known/matrix/client sends apps to {place.host}, it is for {shown}",
            f"add {place.host} to acme.names, get a certificate that has both, or correct client.public_url",
        )


def _covers(names: frozenset[str], name: str) -> bool:
    return name.lower() in names or f"*.{name.lower().partition('.')[2]}" in names
