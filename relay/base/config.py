"""The settings of one box: frozen, with units in their names, refusing what they do not know.

`DIR/relay.toml` holds one table a section. Every section is a dataclass below; a new setting is a new field there.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_type_hints

from relay.base.config_names import AcmeConfig, DnsConfig
from relay.base.config_uplink import UplinkConfig
from relay.base.errors import ConfigError
from relay.base.ids import ServerName
from relay.base.networks import parse_networks
from relay.base.off_box import parse_place
from relay.base.typed_toml import UnknownSettingError, parse_table, read_toml, refuse_unknown

FILE_NAME = "relay.toml"
OWNER_FILE_NAME = "owner.json"
KEY_SOURCES = ("file", "passphrase", "otp", "tpm")
_PCRS = 24


def _bound(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} is {value}; it may be {least} to {most}")


def split_address(text: str) -> tuple[str, int]:
    """Return (host, port) of `HOST:PORT`; an IPv6 host stands in brackets, which are taken off.

    Raises:
        ConfigError: there is no port, or it is not 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Who the box is. The name is part of every user's and room's id: it can never change."""

    name: ServerName
    profile: str = "desk"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FederationConfig:
    """Where other servers reach us, and what we reach."""

    listen: str = "[::]:8448"
    tls: bool = True
    """False only behind a trusted reverse proxy: on loopback, or for those that `behind_proxy` names."""
    behind_proxy: str = ""
    """Addresses and networks of reverse proxies whose `X-Forwarded-For` is believed; divided by commas."""
    proxy_from: str = ""
    """The same, of proxies whose every connection begins with a PROXY protocol header, version 2."""
    allow_private_peers: bool = False
    """Whether requests to private and loopback addresses are made; the desk profile allows them."""
    signing_key_days: int = 0
    """A start with a signing key older than this makes a new one and publishes the old as such; 0: never."""
    connect_timeout_s: float = 15.0
    request_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        _check_door("federation", self)
        _bound("federation.signing_key_days", self.signing_key_days, 0, 3650)
        _bound("federation.connect_timeout_s", self.connect_timeout_s, 0.1, 300)
        _bound("federation.request_timeout_s", self.request_timeout_s, 1, 600)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClientConfig:
    """Where the family's apps reach us."""

    listen: str = "127.0.0.1:8008"
    tls: bool = False
    """Plain HTTP is for loopback, and for a reverse proxy that `behind_proxy` names."""
    behind_proxy: str = ""
    """Addresses and networks of reverse proxies whose `X-Forwarded-For` is believed; divided by commas."""
    proxy_from: str = ""
    """The same, of proxies whose every connection begins with a PROXY protocol header, version 2."""
    public_url: str = ""
    """What apps are told to use; empty means it follows from `listen`."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        _check_door("client", self)


def _check_door(name: str, door: FederationConfig | ClientConfig) -> None:
    split_address(door.listen)
    parse_networks(f"{name}.behind_proxy", door.behind_proxy)
    parse_networks(f"{name}.proxy_from", door.proxy_from)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TlsConfig:
    """Certificate files; relative paths are relative to the state folder. Empty means: make an own CA."""

    cert: str = ""
    key: str = ""
    ca: str = ""
    """A private CA, trusted beside the system's."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoreConfig:
    """The ledger on flash."""

    key_source: str = "file"
    """`file`, `passphrase`, `otp` (fuses of a Raspberry Pi) or `tpm` (TPM 2.0)."""
    key_file: str = "root.key"
    """Relative to the state folder; a key inside it protects nothing and is shown as such. The box waits for a file
    elsewhere, as on a stick, which may be pulled out after the start."""
    tpm_device: str = "/dev/tpmrm0"
    tpm_pcrs: str = ""
    """Numbers as `7` or `0,7`: the TPM gives the key only while these registers are as they were; empty: always."""
    journal_segments: int = 8
    checkpoint_journal_mib: int = 16
    checkpoint_cache_mib: int = 8
    media_quota_mib: int = 4096

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.key_source not in KEY_SOURCES:
            raise ConfigError(f"store.key_source is {self.key_source!r}; it may be {', '.join(KEY_SOURCES)}")
        self.pcrs()
        _bound("store.journal_segments", self.journal_segments, 4, 64)
        _bound("store.checkpoint_journal_mib", self.checkpoint_journal_mib, 1, 128)
        _bound("store.checkpoint_cache_mib", self.checkpoint_cache_mib, 1, 64)
        _bound("store.media_quota_mib", self.media_quota_mib, 16, 1_000_000)

    def pcrs(self) -> tuple[int, ...]:
        """Return the numbers of `tpm_pcrs`, in order.

        Raises:
            ConfigError: they are not numbers from 0 to 23.
        """
        words = [word.strip() for word in self.tpm_pcrs.split(",")] if self.tpm_pcrs else []
        if not all(word.isascii() and word.isdigit() and int(word) < _PCRS for word in words):
            raise ConfigError(f"store.tpm_pcrs is {self.tpm_pcrs!r}; it may be numbers from 0 to {_PCRS - 1}, as 0,7")
        return tuple(sorted({int(word) for word in words}))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RateConfig:
    """How fast strangers and apps may go: a steady rate and a burst on top of it."""

    login_per_minute: float = 10.0
    login_burst: int = 10
    message_per_s: float = 20.0
    message_burst: int = 200
    federation_per_s: float = 100.0
    """Transactions and other requests, for each remote server."""
    federation_burst: int = 500
    invite_per_minute: float = 10.0
    """Invites from each remote server."""
    invite_burst: int = 20

    def __post_init__(self) -> None:
        """Check the bounds."""
        for field in dataclasses.fields(self):
            _bound(f"rate.{field.name}", getattr(self, field.name), 0.001, 1_000_000)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryConfig:
    """How outboxes behave towards peers that do not answer."""

    retry_first_s: float = 2.0
    retry_most_s: float = 3600.0
    give_up_after_days: int = 30
    to_device_quota_mib: int = 8
    """Messages between devices that wait for one destination; the oldest beyond that go."""
    to_device_total_mib: int = 256
    """The same, for all destinations: beyond that go the oldest of the one that has been silent longest."""
    concurrent_destinations: int = 16

    def __post_init__(self) -> None:
        """Check the bounds."""
        _bound("delivery.retry_first_s", self.retry_first_s, 0.05, 3600)
        _bound("delivery.retry_most_s", self.retry_most_s, self.retry_first_s, 86_400)
        _bound("delivery.give_up_after_days", self.give_up_after_days, 1, 3650)
        _bound("delivery.to_device_quota_mib", self.to_device_quota_mib, 1, 1024)
        _bound("delivery.to_device_total_mib", self.to_device_total_mib, self.to_device_quota_mib, 65_536)
        _bound("delivery.concurrent_destinations", self.concurrent_destinations, 1, 256)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RetentionConfig:
    """What is let go of the past. Nothing that somebody has not got yet goes, and no state.

    The defaults keep everything until the space for it runs short; then the oldest messages of all rooms go first.
    """

    days: int = 0
    """Messages older than this go, in rooms that say nothing else; 0: they stay."""
    events_per_room: int = 0
    """Beyond so many the oldest of a room go; 0: any number stays."""
    rooms_decide: bool = True
    """Whether a room's `m.room.retention` counts, within `least_days` and `most_days`."""
    least_days: int = 7
    """Younger messages stay whatever a room, a number or space asks for."""
    most_days: int = 0
    """The longest time that a room may ask for; 0: any."""
    device_days: int = 30
    """What a device has not synced is kept for it, until it was not seen for so long."""
    orphan_days: int = 7
    """Files of ours that nothing refers to go when they are older."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        for field in dataclasses.fields(self):
            most = 1_000_000_000 if field.name == "events_per_room" else 36_500
            _bound(f"retention.{field.name}", getattr(self, field.name), 0, most)
        if self.most_days and self.most_days < self.least_days:
            raise ConfigError("retention.most_days is less than retention.least_days")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StandbyConfig:
    """Where the journal's commits follow to, so that a second box can take over."""

    target: str = ""
    """`nats://host:port/stream`, `tls://host:port/stream`, `s3://bucket/prefix`; empty: nowhere."""
    endpoint: str = ""
    """`https://host:port` of an S3-compatible store; empty: Amazon's."""
    region: str = ""
    """Of the bucket; empty: us-east-1, which most compatible stores take."""
    credentials_file: str = ""
    """Relative to the state folder; the target's secrets stand there and nowhere else."""
    ca: str = ""
    """A private CA for the target, trusted beside the system's."""
    base_after_mib: int = 64
    """So many MiB of commits at the target are followed by a new copy of everything, and removed."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.target:
            parse_place(self.target, endpoint=self.endpoint, region=self.region)
        _bound("standby.base_after_mib", self.base_after_mib, 1, 4096)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LimitsConfig:
    """What may be held, and how fast it may grow: slowed down from 80 %, refused from 95 % of each.

    The defaults suit a family and a card of 32 GB; files have 4 GiB of it (`store.media_quota_mib`).
    """

    index_mib: int = 8192
    """All messages, states, keys and inboxes together, as they lie on flash."""
    free_mib: int = 512
    """What stays free on the file system, whoever else writes there; slowed down from three times that."""
    server_mib_per_day: int = 256
    """What one other server may send."""
    user_mib_per_day: int = 256
    """What one person of the family may send, files not counted."""
    user_media_mib: int = 2048
    """The files of one person of the family."""
    room_inbox_mib: int = 8
    """Events of one room that wait for their ancestors."""
    server_inbox_mib: int = 8
    """The same, those that one server sent."""
    inbox_mib: int = 64
    """The same, of all rooms."""
    device_inbox_mib: int = 16
    """Messages that wait for one device of ours."""
    devices_inbox_mib: int = 128
    """The same, of all devices."""

    def __post_init__(self) -> None:
        """Check the bounds, and that no part is larger than its whole."""
        for field in dataclasses.fields(self):
            least = 16 if field.name == "index_mib" else 1
            _bound(f"limits.{field.name}", getattr(self, field.name), least, 1_000_000)
        wholes = {
            "room_inbox_mib": "inbox_mib",
            "server_inbox_mib": "inbox_mib",
            "device_inbox_mib": "devices_inbox_mib",
            "inbox_mib": "index_mib",
            "devices_inbox_mib": "index_mib",
        }
        for part, whole in wholes.items():
            if getattr(self, part) > getattr(self, whole):
                raise ConfigError(f"limits.{part} is more than limits.{whole}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """What is written to standard error."""

    level: str = "info"

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.level not in ("debug", "info", "warning", "error"):
            raise ConfigError(f"log.level is {self.level!r}; it may be debug, info, warning or error")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything in `relay.toml`."""

    server: ServerConfig
    federation: FederationConfig = FederationConfig()
    client: ClientConfig = ClientConfig()
    tls: TlsConfig = TlsConfig()
    uplink: UplinkConfig = dataclasses.field(default_factory=UplinkConfig)
    acme: AcmeConfig = dataclasses.field(default_factory=AcmeConfig)
    dns: DnsConfig = dataclasses.field(default_factory=DnsConfig)
    store: StoreConfig = StoreConfig()
    rate: RateConfig = RateConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    retention: RetentionConfig = RetentionConfig()
    standby: StandbyConfig = StandbyConfig()
    limits: LimitsConfig = LimitsConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        """Check what concerns several sections."""
        if self.acme.directory and self.tls.cert:
            raise ConfigError("acme.directory and tls.cert are both given: a certificate comes from one of them")
        if self.acme.directory and self.acme.challenge == "dns-01" and not (self.dns.server and self.dns.key_file):
            raise ConfigError("acme.challenge is dns-01, which needs dns.server and dns.key_file")
        if self.acme.challenge == "dns-01" and self.dns.method == "dyndns2":
            raise ConfigError("acme.challenge is dns-01, which needs a dns.server that takes RFC 2136 updates")

    @classmethod
    def parse(cls, tables: Mapping[str, Any]) -> Self:
        """Return the settings in `tables`, one mapping a section.

        Raises:
            ConfigError: a section or key is unknown, a value has the wrong type or is out of bounds.
        """
        refuse_unknown("section", tables, get_type_hints(cls))
        server = tables.get("server", {})
        if isinstance(server, Mapping) and "name" not in server:
            raise ConfigError("server.name is missing: the box has not been provisioned")
        return parse_table(cls, tables)

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """Return a copy with dotted keys (`delivery.retry_first_s`) set from text, as `--set KEY=VALUE` gives them.

        Raises:
            ConfigError: as `parse`.
        """
        tables = dataclasses.asdict(self)
        for key, text in settings.items():
            section, _, name = key.partition(".")
            if not isinstance(tables.get(section), dict) or name not in tables[section]:
                raise ConfigError(f"{key} is not a setting")
            tables[section][name] = _read_value(key, text, type(tables[section][name]))
        return self.parse(tables)

    def render(self) -> str:
        """Return the settings as TOML, every one of them, so that the file documents itself."""
        lines: list[str] = []
        for section, table in dataclasses.asdict(self).items():
            lines += [f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in table.items()), ""]
        return "\n".join(lines)


def load(folder: Path) -> Config:
    """Return the settings of the state folder `folder`.

    Raises:
        ConfigError: the settings file is missing or unreadable, is not TOML, or `Config.parse` refuses it.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise ConfigError(f"{path} does not exist: the box has not been provisioned")
    try:
        return Config.parse(read_toml(path))
    except UnknownSettingError as error:
        advice = "it is misspelt, or a newer release wrote it: install that"
        raise UnknownSettingError(f"{path}: {error}; {advice}") from None


def _read_value(key: str, text: str, kind: type) -> object:
    if kind is bool:
        if text not in ("true", "false"):
            raise ConfigError(f"{key} is {text!r}; it may be true or false")
        return text == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ConfigError(f"{key} is {text!r}; it must be a number") from None
    return text


def _toml(value: object) -> str:
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value)
