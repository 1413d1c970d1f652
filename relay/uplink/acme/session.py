"""One conversation with a certificate authority: directory, nonces, account, signed requests, problems.

Source: RFC 8555, sections 6 and 7.1-7.3.
"""

import datetime
import email.utils
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from relay.uplink.acme.jose import Binding, Key, bind, public_jwk, sign
from relay.uplink.acme.problems import AcmeError, parse_problem

# A server may refuse any nonce for reasons of its own; so many in a row are no accident.
_MOST_NONCES = 8
_SLOW_DOWN_S = 3600.0


class Answer(NamedTuple):
    """A response; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Fetch = Callable[[str, str, bytes | None], Answer]
"""(method, url, body): asks once; raises `AcmeError` of kind "unreachable" where nobody answers."""


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Return how long the authority asks to wait, None where it does not say (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, moment.timestamp() - now_s)


class Session:
    """Speaks for one account.

    Args:
        fetch: asks the network.
        directory_url: where everything begins.
        key: the account's.
        now_s: the time of day.
    """

    def __init__(self, fetch: Fetch, directory_url: str, key: Key, now_s: Callable[[], float]) -> None:
        self._fetch = fetch
        self._now_s = now_s
        self._nonce = ""
        self.key = key
        self.account_url = ""
        self.directory, _ = self.read(directory_url)

    @property
    def meta(self) -> dict[str, Any]:
        """What the directory says about itself."""
        meta = self.directory.get("meta")
        return meta if isinstance(meta, dict) else {}

    def endpoint(self, name: str) -> str:
        """Return the address that the directory gives for `name`, empty where it has none."""
        return str(self.directory.get(name, ""))

    def read(self, url: str) -> tuple[dict[str, Any], float | None]:
        """Return the JSON at `url`, asked for without a signature, and in how many seconds to ask again if it says."""
        answer = self._ask("GET", url, None)
        if answer.status != 200:
            raise self._problem(answer)
        return read_object(answer.body), retry_after_s(answer.headers, self._now_s())

    def post(self, url: str, payload: dict[str, Any] | None) -> Answer:
        """Return the good answer to a signed request; without `payload` it only reads.

        Raises:
            AcmeError: the authority refused it, or does not answer.
        """
        for _ in range(_MOST_NONCES):
            protected: dict[str, Any] = {"nonce": self._take_nonce(), "url": url}
            protected |= {"kid": self.account_url} if self.account_url else {"jwk": public_jwk(self.key)}
            answer = self._ask("POST", url, sign(self.key, protected, payload))
            if answer.status < 300:
                return answer
            problem = self._problem(answer)
            if problem.kind != "badNonce":
                raise problem
        raise AcmeError("badNonce", "the authority accepts no nonce of its own")

    def open_account(self, contact: str, binding: Binding | None = None, *, agreed: bool) -> None:
        """Find or make the account of the key (RFC 8555, section 7.3); later requests are made in its name.

        Raises:
            AcmeError: "terms" where the terms of service are not agreed to, "externalAccountRequired" where a `binding`
                is missing, "binding" where it was refused.
        """
        terms = str(self.meta.get("termsOfService", ""))
        if terms and not agreed:
            raise AcmeError("terms", f"its terms of service are not agreed to: {terms[:200]}")
        payload: dict[str, Any] = {"termsOfServiceAgreed": True} if terms else {}
        if contact:
            payload["contact"] = [f"mailto:{contact}"]
        self.account_url = ""
        if binding is None and self.meta.get("externalAccountRequired") is True:
            raise AcmeError("externalAccountRequired", "the authority wants an account that was made elsewhere")
        answer = self._new_account(payload) if binding is None else self._bound_account(payload, binding)
        self.account_url = answer.headers.get("location", "")

    def _new_account(self, payload: dict[str, Any]) -> Answer:
        return self.post(self.endpoint("newAccount"), payload)

    def _bound_account(self, payload: dict[str, Any], binding: Binding) -> Answer:
        try:
            # Some authorities take a binding once: who has an account already does not show it again.
            return self._new_account({"onlyReturnExisting": True})
        except AcmeError as error:
            if error.kind != "accountDoesNotExist":
                raise
        proof = bind(binding, self.key, self.endpoint("newAccount"))
        try:
            return self._new_account({**payload, "externalAccountBinding": proof})
        except AcmeError as error:
            if error.kind in ("unauthorized", "malformed"):
                raise AcmeError("binding", str(error)) from None
            raise

    def _take_nonce(self) -> str:
        nonce, self._nonce = self._nonce, ""
        if not nonce:
            self._ask("HEAD", self.endpoint("newNonce"), None)
            nonce, self._nonce = self._nonce, ""
        return nonce

    def _ask(self, method: str, url: str, body: bytes | None) -> Answer:
        if not url.startswith("https://"):
            raise AcmeError("malformed", "the authority named an address that is not https")
        answer = self._fetch(method, url, body)
        self._nonce = answer.headers.get("replay-nonce", self._nonce)
        return answer

    def _problem(self, answer: Answer) -> AcmeError:
        wait_s = retry_after_s(answer.headers, self._now_s())
        if wait_s is None and answer.status in (429, 503):
            wait_s = _SLOW_DOWN_S
        try:
            problem = read_object(answer.body)
        except AcmeError:
            problem = {"detail": f"the authority answered {answer.status}"}
        # What stands in front of an authority speaks no ACME.
        otherwise = "serverInternal" if answer.status >= 500 else "rateLimited" if answer.status == 429 else "refused"
        return parse_problem(problem, retry_after_s=wait_s, otherwise=otherwise)


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Raises:
        AcmeError: there is none.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise AcmeError("malformed", "the authority's answer is no JSON object")
    return value
