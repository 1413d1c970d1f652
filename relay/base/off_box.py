"""Where a copy of this box lies: `nats://host:port/stream`, `tls://...`, or `s3://bucket/prefix` at an endpoint."""

import dataclasses
import re
from urllib.parse import urlsplit

from relay.base.errors import ConfigError
from relay.base.web_address import is_web_address

_NATS_PORT = 4222
_SCHEMES = ("nats", "tls", "s3")
# A stream's name is a token of its subjects too; a bucket's name is a DNS label, in the stricter form of most engines.
_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")


@dataclasses.dataclass(frozen=True, slots=True)
class NatsPlace:
    """A JetStream stream on a NATS server."""

    host: str
    port: int
    tls: bool
    stream: str


@dataclasses.dataclass(frozen=True, slots=True)
class BucketPlace:
    """A bucket of an S3-compatible store; `endpoint` is `https://host:port`, empty for Amazon's own."""

    bucket: str
    prefix: str
    endpoint: str
    region: str


def parse_place(target: str, *, endpoint: str = "", region: str = "") -> NatsPlace | BucketPlace:
    """Return the place that `target` names.

    Raises:
        ConfigError: it names none; secrets in it are not repeated.
    """
    try:
        parts = urlsplit(target)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError("this is not nats://, tls:// or s3:// and a place") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("user names and passwords stand in a credentials file, not in the name of a target")
    if parts.scheme not in _SCHEMES or not host or parts.query or parts.fragment:
        raise ConfigError("a target is named nats://host:port/stream, tls://host:port/stream or s3://bucket/prefix")
    path = parts.path.strip("/")
    if parts.scheme == "s3":
        return _bucket(parts.netloc, path, endpoint, region)
    if endpoint or region:
        raise ConfigError("an endpoint and a region belong to s3:// targets")
    if path and not _STREAM.fullmatch(path):
        raise ConfigError(f"{path!r} cannot be the name of a stream: letters, digits, - and _")
    return NatsPlace(host, port or _NATS_PORT, parts.scheme == "tls", path or "doorstep")


def _bucket(bucket: str, prefix: str, endpoint: str, region: str) -> BucketPlace:
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"{bucket!r} cannot be the name of a bucket; where it is says the endpoint")
    if prefix and (not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/")):
        raise ConfigError(f"{prefix!r} cannot be a prefix: letters, digits, - _ . and / between them")
    if endpoint and (not is_web_address(endpoint, "http", "https") or urlsplit(endpoint).path.strip("/")):
        raise ConfigError(f"{endpoint!r} is not https://host:port")
    return BucketPlace(bucket, prefix, endpoint.rstrip("/"), region or "us-east-1")
