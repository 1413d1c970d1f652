"""Plain HTTPS requests one after the other, for processes that end with them: no pool, no Trio, no new library."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from relay.base.clock import system_knows_time
from relay.base.errors import InvalidInputError, TooLargeError, UnreachableError
from relay.base.limits import MAX_AUTHORITY_ANSWER_BYTES
from relay.transport.destination import parse_url
from relay.transport.tls import client_context

_TIMEOUT_S = 30.0
# RFC 8555, section 6.1, and every provider of dynamic DNS: whoever asks says what it is.
_USER_AGENT = "Doorstep/0.1 (home server)"


class WebAnswer(NamedTuple):
    """A response; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Web:
    """Asks HTTPS servers.

    Args:
        extra_ca: a private CA (PEM) that is trusted beside the system's.
        ipv4_only: whoever is asked is to see our IPv4 address.
    """

    def __init__(self, extra_ca: Path | None = None, *, ipv4_only: bool = False) -> None:
        self._from = ("0.0.0.0", 0) if ipv4_only else None  # noqa: S104 - where requests come from, nothing listens
        self._context = client_context(extra_ca, ["http/1.1"])

    def ask(self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> WebAnswer:
        """Return the answer, whatever its status; a redirect is not followed.

        Raises:
            UnreachableError: nobody answers, nobody whose certificate is trusted, or the clock is not set.
            InvalidInputError: `url` is none of https, or malformed.
            TooLargeError: the answer is.
        """
        if not system_knows_time():
            raise UnreachableError("the clock is not set: nobody's certificate can be checked")
        place, target = parse_url(url)
        if place.tls_name is None:
            raise InvalidInputError("the address does not begin with https://")
        connection = http.client.HTTPSConnection(
            place.host, place.port, timeout=_TIMEOUT_S, context=self._context, source_address=self._from
        )
        try:
            connection.request(method, target, body, {"User-Agent": _USER_AGENT, **headers})
            response = connection.getresponse()
            data = response.read(MAX_AUTHORITY_ANSWER_BYTES + 1)
        except (http.client.InvalidURL, UnicodeError):
            raise InvalidInputError("the address is malformed") from None
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(f"{place.host}: its certificate is refused: {error.verify_message}") from None
        except socket.gaierror:
            raise UnreachableError(f"{place.host}: the name has no address") from None
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{place.host} does not answer: {str(error) or type(error).__name__}") from None
        finally:
            connection.close()
        if len(data) > MAX_AUTHORITY_ANSWER_BYTES:
            raise TooLargeError(f"the answer is longer than {MAX_AUTHORITY_ANSWER_BYTES} bytes")
        return WebAnswer(response.status, {name.lower(): value for name, value in response.getheaders()}, data)
