"""From names to a certificate: order, authorizations, challenges, finalization, download.

Source: RFC 8555, 7.1.3-7.5; RFC 8738 (addresses as identifiers); RFC 9773, 5 (`replaces`); draft-ietf-acme-profiles.
"""

import ipaddress
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from relay.uplink.acme.hosts import alternative_names
from relay.uplink.acme.jose import Key, encode, key_authorization
from relay.uplink.acme.problems import AcmeError, parse_problem
from relay.uplink.acme.session import Answer, Session, read_object, retry_after_s

_MOST_WAIT_S = 180.0
_LEAST_PAUSE_S = 1.0
_MOST_PAUSE_S = 15.0


class Solver(Protocol):
    """Answers one kind of challenge."""

    kind: str
    """As ACME names it."""

    def answering(self, name: str, authorization: str) -> AbstractContextManager[None]:
        """Have the challenge answered while the block runs; `authorization` is the key authorization."""
        ...


class Waiting(NamedTuple):
    """How time passes: the time of day in seconds, and a pause of so many seconds."""

    now_s: Callable[[], float]
    pause: Callable[[float], None]


class Wanted(NamedTuple):
    """What is ordered: host names and addresses, a profile of the authority, the certificate that it follows."""

    names: Sequence[str]
    profile: str = ""
    replaces: str = ""


def identifier(name: str) -> dict[str, str]:
    """Return `name` as ACME writes it."""
    try:
        return {"type": "ip", "value": str(ipaddress.ip_address(name))}
    except ValueError:
        return {"type": "dns", "value": name}


class Ordering:
    """Orders certificates in one session.

    Args:
        session: with its account open.
        solver: answers the challenges.
        waiting: how time passes.
    """

    def __init__(self, session: Session, solver: Solver, waiting: Waiting) -> None:
        self._session = session
        self._solver = solver
        self._waiting = waiting

    def begin(self, wanted: Wanted) -> str:
        """Return the address of a new order."""
        session = self._session
        payload: dict[str, Any] = {"identifiers": [identifier(name) for name in wanted.names]}
        if wanted.profile:
            profiles = session.meta.get("profiles")
            if not isinstance(profiles, dict) or wanted.profile not in profiles:
                raise AcmeError("invalidProfile", f"the authority has no profile {wanted.profile}")
            payload["profile"] = wanted.profile
        if wanted.replaces and session.endpoint("renewalInfo"):
            try:
                return self._new_order({**payload, "replaces": wanted.replaces})
            except AcmeError as error:
                # It was replaced already, or the authority has forgotten it: an order like any other then.
                if error.kind not in ("alreadyReplaced", "malformed"):
                    raise
        return self._new_order(payload)

    def complete(self, url: str, key: Key, names: Sequence[str]) -> str:
        """Return the chain (PEM) for `key` and `names` of the order at `url`, wherever that order stands.

        Raises:
            AcmeError: a challenge failed, or the authority refused; kind "gone" where the order is none any more.
        """
        order = self._order(url)
        if order.get("status") == "pending":
            for address in _texts(order.get("authorizations")):
                self._authorize(address, names)
            order = self._wait(url, "pending")
        if order.get("status") == "ready":
            self._session.post(str(order.get("finalize", "")), {"csr": encode(signing_request(names, key))})
            order = self._wait(url, "ready")
        if order.get("status") == "processing":
            order = self._wait(url, "processing")
        if order.get("status") != "valid":
            raise parse_problem(order.get("error", {"detail": "the order is not valid"}))
        return self._download(str(order.get("certificate", "")), key)

    def _new_order(self, payload: dict[str, Any]) -> str:
        answer = self._session.post(self._session.endpoint("newOrder"), payload)
        return answer.headers.get("location", "")

    def _order(self, url: str) -> dict[str, Any]:
        try:
            order = read_object(self._session.post(url, None).body)
        except AcmeError as error:
            if error.kind in ("unreachable", "rateLimited", "serverInternal"):
                raise
            raise AcmeError("gone", f"the order is gone: {error}") from None
        if order.get("status") == "invalid":
            raise AcmeError("gone", "the order failed")
        return order

    def _authorize(self, url: str, names: Sequence[str]) -> None:
        found = read_object(self._session.post(url, None).body)
        if found.get("status") == "valid":
            return
        about = found.get("identifier")
        name = identifier(str(about.get("value", "")).lower())["value"] if isinstance(about, dict) else ""
        if name not in names:
            # It becomes the name of a file, or of a record in the DNS.
            raise AcmeError("malformed", "the authority wants proof of a name that was not ordered")
        chosen = next((each for each in _challenges(found) if each.get("type") == self._solver.kind), None)
        if chosen is None:
            raise AcmeError("challenge", f"the authority offers no {self._solver.kind} challenge", about=name)
        token = str(chosen.get("token", ""))
        if not token.isascii():
            raise AcmeError("malformed", "the authority's token is none", about=name)
        with self._solver.answering(name, key_authorization(token, self._session.key)):
            self._session.post(str(chosen.get("url", "")), {})
            found = self._wait(url, "pending")
        if found.get("status") != "valid":
            failed = [each for each in _challenges(found) if each.get("error")]
            problem = failed[0]["error"] if failed else {"detail": "the authorization failed"}
            raise parse_problem(problem, about=name)

    def _wait(self, url: str, status: str) -> dict[str, Any]:
        """Return the object at `url` once its status is another than `status`."""
        end_s = self._waiting.now_s() + _MOST_WAIT_S
        pause_s = _LEAST_PAUSE_S
        while True:
            answer = self._session.post(url, None)
            found = read_object(answer.body)
            if found.get("status") != status:
                return found
            if self._waiting.now_s() >= end_s:
                raise AcmeError("slow", "the authority takes its time")
            self._waiting.pause(self._pause_s(answer, pause_s))
            pause_s = min(pause_s * 1.5, _MOST_PAUSE_S)

    def _pause_s(self, answer: Answer, usual_s: float) -> float:
        asked_s = retry_after_s(answer.headers, self._waiting.now_s())
        return min(max(asked_s or 0.0, usual_s), _MOST_PAUSE_S)

    def _download(self, url: str, key: Key) -> str:
        chain = self._session.post(url, None).body
        try:
            fits = x509.load_pem_x509_certificates(chain)[0].public_key() == key.public_key()
            text = chain.decode("ascii")
        except (ValueError, UnsupportedAlgorithm):
            raise AcmeError("malformed", "what the authority gave out is no certificate") from None
        if not fits:
            raise AcmeError("malformed", "the authority's certificate is for another key")
        return text


def signing_request(names: Sequence[str], key: Key) -> bytes:
    """Return the certificate signing request (DER, RFC 2986) for `names`; the authority looks at nothing but these."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(alternative_names(names), critical=False).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def _challenges(authorization: dict[str, Any]) -> list[dict[str, Any]]:
    found = authorization.get("challenges")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
