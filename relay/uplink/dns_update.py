"""Changes in the DNS by signed updates, and what the server that takes them says.

Source: RFC 2136 (UPDATE), RFC 8945 (TSIG), RFC 3007. dnspython is 4 MiB: for processes that end with it.
"""

import contextlib
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.tsig
import dns.update

from relay.base.config import split_address
from relay.base.config_names import is_address
from relay.base.errors import ConfigError, Fault, RelayError

_PORT = 53
_TIMEOUT_S = 10.0
_RESOLVE_S = 5.0
_MOST_ALIASES = 8
_ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")
_KEY_NAME = re.compile(r"key\s+\"?([^\s\"{;]+)\"?\s*\{")
_FIELD = re.compile(r"(algorithm|secret)\s+\"?([^\s\";]+)\"?\s*;")


class DnsUpdateError(RelayError):
    """The name server did not take the change.

    Attributes:
        kind: "unreachable", "key", "secret", "clock", "refused", "zone" or "answer".
    """

    code = "dns.update_refused"
    fault = Fault.USER
    retryable = True

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def parse_key(text: str, name: str) -> dns.tsig.Key:
    """Return the key in a file as `tsig-keygen` writes it, or the key `name` with a bare secret (HMAC-SHA256).

    Raises:
        ConfigError: it is neither.
    """
    if (found := _KEY_NAME.search(text)) is not None:
        fields = dict(_FIELD.findall(text))
        name, algorithm, secret = found[1], fields.get("algorithm", "hmac-sha256").lower(), fields.get("secret", "")
    else:
        algorithm, secret = "hmac-sha256", text.strip()
    if algorithm not in _ALGORITHMS:
        raise ConfigError(f"dns.key_file names the algorithm {algorithm!r}; it may be {', '.join(_ALGORITHMS)}")
    if not name or not secret:
        raise ConfigError(
            "dns.key_file holds no key as tsig-keygen writes it, nor a secret for a key named by dns.user"
        )
    try:
        return dns.tsig.Key(dns.name.from_text(name), secret, algorithm)
    except (ValueError, dns.exception.DNSException):
        raise ConfigError("dns.key_file: the secret is not base64") from None


class Place(NamedTuple):
    """An IP address and a port."""

    address: str
    port: int


def find_server(text: str) -> Place:
    """Return where the server HOST or HOST:PORT is.

    Raises:
        DnsUpdateError: its name has no address.
    """
    host, port = text.strip("[]"), _PORT
    if not is_address(host):
        with contextlib.suppress(ConfigError):
            host, port = split_address(text)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise DnsUpdateError("unreachable", f"the name server {host} has no address") from None
    return Place(str(found[0][4][0]), port)


class NameServer:
    """The server that takes updates, which has authority over the zones in question.

    Args:
        place: where it is.
        key: signs what it is asked to change.
    """

    def __init__(self, place: Place, key: dns.tsig.Key) -> None:
        self._place = place
        self._key = key

    def zone_of(self, name: str) -> str:
        """Return the zone that `name` is in.

        Raises:
            DnsUpdateError: kind "zone" where the server has no authority over it.
        """
        answer = self._ask(name, "SOA")
        if answer is not None:
            for section in (answer.answer, answer.authority):
                for records in section:
                    if records.rdtype == dns.rdatatype.SOA:
                        return records.name.to_text()
        raise DnsUpdateError("zone", f"the name server has no zone that {name} is in")

    def texts(self, name: str, kind: str) -> set[str] | None:
        """Return the records of `name` as text, None where the server has no authority over it."""
        answer = self._ask(name, kind)
        if answer is None:
            return None
        wanted = dns.rdatatype.from_text(kind)
        return {record.to_text() for records in answer.answer if records.rdtype == wanted for record in records}

    def end_of_aliases(self, name: str) -> str:
        """Return where the CNAME records of `name` lead to: `_acme-challenge` is often delegated to another zone."""
        for _ in range(_MOST_ALIASES):
            found = self.texts(name, "CNAME")
            if found is None:
                found = _resolve(name, "CNAME")
            if not found:
                return name
            name = next(iter(found))
        raise DnsUpdateError("answer", f"the aliases of {name} have no end")

    def change(self, zone: str, fill: Callable[[dns.update.UpdateMessage], None]) -> None:
        """Make the changes that `fill` writes down, all or none.

        Raises:
            DnsUpdateError: they were refused.
        """
        message = dns.update.UpdateMessage(zone, keyring=self._key)
        fill(message)
        answer = self._exchange(message)
        if answer.rcode() != dns.rcode.NOERROR:
            raise _refusal(answer.rcode(), zone)

    def _ask(self, name: str, kind: str) -> dns.message.Message | None:
        """Return the authoritative answer, None where the server has no authority."""
        question = dns.message.make_query(name, kind)
        question.flags &= ~dns.flags.RD
        answer = self._exchange(question)
        good = answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and answer.flags & dns.flags.AA
        return answer if good else None

    def _exchange(self, message: dns.message.Message) -> dns.message.Message:
        try:
            return dns.query.tcp(message, self._place.address, port=self._place.port, timeout=_TIMEOUT_S)
        except dns.tsig.PeerBadKey:
            raise DnsUpdateError("key", f"the name server does not know the key {self._key.name}") from None
        except (dns.tsig.PeerBadSignature, dns.tsig.BadSignature):
            raise DnsUpdateError("secret", f"the secret of the key {self._key.name} is another one there") from None
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime):
            raise DnsUpdateError("clock", "the clocks of the box and of the name server differ by minutes") from None
        except (OSError, dns.exception.Timeout, EOFError):
            raise DnsUpdateError("unreachable", f"the name server at {self._place.address} does not answer") from None
        except dns.exception.DNSException as error:
            raise DnsUpdateError("answer", f"the name server's answer is unusable: {type(error).__name__}") from None


def keep_addresses(server: NameServer, name: str, wanted: Mapping[str, Sequence[str]], ttl_s: int) -> bool:
    """Let `name` have exactly the addresses in `wanted`, by record type (A, AAAA); return whether anything changed.

    Raises:
        DnsUpdateError: as `NameServer.change`.
    """
    name = name.rstrip(".") + "."
    differs = {kind: list(texts) for kind, texts in wanted.items() if server.texts(name, kind) != set(texts)}
    if not differs:
        return False

    def fill(message: dns.update.UpdateMessage) -> None:
        for kind, texts in differs.items():
            message.delete(dns.name.from_text(name), kind)
            for text in texts:
                message.add(dns.name.from_text(name), ttl_s, kind, text)

    server.change(server.zone_of(name), fill)
    return True


def _refusal(code: dns.rcode.Rcode, zone: str) -> DnsUpdateError:
    if code == dns.rcode.REFUSED:
        return DnsUpdateError("refused", f"the name server does not let this key change the name in {zone}")
    if code in (dns.rcode.NOTAUTH, dns.rcode.NOTZONE):
        return DnsUpdateError("zone", f"the name server has no authority over {zone}")
    return DnsUpdateError("answer", f"the name server answered {dns.rcode.to_text(code)}")


def _resolve(name: str, kind: str) -> set[str]:
    try:
        answer = dns.resolver.resolve(name, kind, search=False, lifetime=_RESOLVE_S)
    except (dns.exception.DNSException, OSError):
        return set()
    return {record.to_text() for record in answer}
