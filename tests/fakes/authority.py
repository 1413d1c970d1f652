"""A certificate authority in memory that speaks ACME; a real one is asked the same in `tests/interop`."""

import base64
import datetime
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from relay.uplink.acme.problems import AcmeError
from relay.uplink.acme.session import Answer

BASE = "https://acme.test"
DIRECTORY = f"{BASE}/dir"


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authority:
    """Answers `fetch`, checking nonce, address and signature of every request.

    Attributes:
        now_s: the time of day; `pause` moves it.
        window: what it suggests for renewals.
        problems: what the next signed request to a path that begins with the key is answered.
        distort: changes what was answered at a path before it is given out.
        failing: the problem that every challenge ends with, None while all are answered.
        asked: the paths that were asked for, in order.
    """

    def __init__(self, now: datetime.datetime, days: float = 90) -> None:
        self.now_s = now.timestamp()
        self.days = days
        self.terms = f"{BASE}/terms"
        self.asked: list[str] = []
        self.problems: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {}
        self.distort: Callable[[str, Answer], Answer] = lambda _path, answer: answer
        self.bad_nonces = 0
        self.silent = False
        self.window: tuple[str, str] | None = None
        self.failing: dict[str, Any] | None = None
        self.solved: list[tuple[str, str]] = []
        self.solver_of = "tls-alpn-01"
        self.orders: list[dict[str, Any]] = []
        self.issued: list[x509.Certificate] = []
        self.replaced: list[str] = []
        self.accounts: list[dict[str, str]] = []
        # MAC keys by name: where there are any, an account needs one of them, once.
        self.mac_keys: dict[str, bytes] = {}
        self._nonces: set[str] = set()
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake authority")])

    def pause(self, pause_s: float) -> None:
        self.now_s += pause_s

    def fetch(self, method: str, url: str, body: bytes | None) -> Answer:
        if self.silent:
            raise AcmeError("unreachable", "nobody answers")
        path = url.removeprefix(BASE)
        self.asked.append(path)
        return self.distort(path, self._answer(method, path, url, body))

    def _answer(self, method: str, path: str, url: str, body: bytes | None) -> Answer:
        if path == "/dir":
            names = ("newNonce", "newAccount", "newOrder", "renewalInfo")
            meta: dict[str, Any] = {"termsOfService": self.terms, "profiles": {"shortlived": "six days"}}
            meta |= {"externalAccountRequired": True} if self.mac_keys else {}
            return self._good({**{name: f"{BASE}/{name}" for name in names}, "meta": meta}, signed=False)
        if path == "/newNonce":
            return self._good({})
        if path.startswith("/renewalInfo/"):
            if self.window is None:
                return self._bad(404, {"detail": "nothing"})
            window = {"start": self.window[0], "end": self.window[1]}
            return self._good({"suggestedWindow": window}, {"retry-after": "3600"}, signed=False)
        assert method == "POST"
        assert body is not None
        return self._signed(path, url, body)

    def _signed(self, path: str, url: str, body: bytes) -> Answer:
        fields = json.loads(body)
        protected = json.loads(decoded(fields["protected"]))
        assert protected["url"] == url
        if self.bad_nonces or protected["nonce"] not in self._nonces:
            self.bad_nonces = max(0, self.bad_nonces - 1)
            return self._bad(400, {"type": "urn:ietf:params:acme:error:badNonce"})
        self._nonces.remove(protected["nonce"])
        for begin, (status, problem, headers) in list(self.problems.items()):
            if path.startswith(begin):
                del self.problems[begin]
                return self._bad(status, problem, headers)
        jwk = protected.get("jwk") or self.accounts[int(protected["kid"].rpartition("/")[2])]
        self._verify(jwk, fields)
        payload = json.loads(decoded(fields["payload"])) if fields["payload"] else None
        if path == "/newAccount":
            if jwk not in self.accounts and (refusal := self._register(jwk, url, payload or {})):
                return self._bad(*refusal)
            return self._good({}, {"location": f"{BASE}/account/{self.accounts.index(jwk)}"})
        return self._act(path, payload)

    def _register(self, jwk: dict[str, str], url: str, payload: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        kind = "urn:ietf:params:acme:error:"
        if payload.get("onlyReturnExisting"):
            return 400, {"type": f"{kind}accountDoesNotExist"}
        assert payload.get("termsOfServiceAgreed")
        if self.mac_keys:
            bound = payload.get("externalAccountBinding")
            if bound is None:
                return 403, {"type": f"{kind}externalAccountRequired"}
            head = json.loads(decoded(bound["protected"]))
            assert (head["alg"], head["url"], set(head)) == ("HS256", url, {"alg", "url", "kid"})
            assert json.loads(decoded(bound["payload"])) == jwk
            proof = hmac.digest(
                self.mac_keys.pop(head["kid"], b"?"), f"{bound['protected']}.{bound['payload']}".encode(), "sha256"
            )
            if proof != decoded(bound["signature"]):
                return 401, {"type": f"{kind}unauthorized", "detail": "no such key"}
        self.accounts.append(jwk)
        return None

    def _act(self, path: str, payload: dict[str, Any] | None) -> Answer:
        if path == "/newOrder":
            assert payload
            if "replaces" in payload:
                self.replaced.append(payload["replaces"])
            names = [identifier["value"] for identifier in payload["identifiers"]]
            pending = dict.fromkeys(names, "pending")
            self.orders.append({"status": "pending", "names": pending, "profile": payload.get("profile")})
            return self._good({}, {"location": f"{BASE}/order/{len(self.orders) - 1}"})
        _, kind, number, *rest = path.split("/")
        if int(number) >= len(self.orders):
            return self._bad(404, {"type": "urn:ietf:params:acme:error:malformed", "detail": "no such order"})
        order = self.orders[int(number)]
        if kind == "challenge":
            self.solved.append((self.solver_of, rest[0]))
            order["names"][rest[0]] = "invalid" if self.failing else "valid"
            if self.failing:
                order["status"] = "invalid"
            elif all(status == "valid" for status in order["names"].values()):
                order["status"] = "ready"
        if kind == "authz":
            return self._good(self._authorization(number, rest[0], order))
        if kind == "finalize":
            order["chain"] = self._issue((payload or {})["csr"], list(order["names"]))
            order["status"] = "valid"
        if kind == "chain":
            return Answer(200, self._headers(), order["chain"])
        return self._good(self._order(number, order))

    def _authorization(self, number: str, name: str, order: dict[str, Any]) -> dict[str, Any]:
        challenge: dict[str, Any] = {
            "type": self.solver_of,
            "token": f"token-of-{name}",
            "url": f"{BASE}/challenge/{number}/{name}",
        }
        if order["names"][name] == "invalid":
            challenge["error"] = self.failing or {}
        return {"status": order["names"][name], "identifier": {"value": name}, "challenges": [challenge]}

    def _order(self, number: str, order: dict[str, Any]) -> dict[str, Any]:
        return {
            "status": order["status"],
            "identifiers": [{"value": name} for name in order["names"]],
            "authorizations": [f"{BASE}/authz/{number}/{name}" for name in order["names"]],
            "finalize": f"{BASE}/finalize/{number}",
            "certificate": f"{BASE}/chain/{number}",
        }

    def _issue(self, request: str, names: list[str]) -> bytes:
        csr = x509.load_der_x509_csr(decoded(request))
        assert csr.is_signature_valid
        hosts = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert len(hosts) == len(names)
        now = datetime.datetime.fromtimestamp(self.now_s, datetime.UTC)
        key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self._name)
        builder = builder.public_key(csr.public_key()).serial_number(0x80 + len(self.issued)).not_valid_before(now)
        builder = builder.not_valid_after(now + datetime.timedelta(days=self.days))
        builder = builder.add_extension(hosts, critical=True).add_extension(key_id, critical=False)
        self.issued.append(builder.sign(self._key, hashes.SHA256()))
        return self.issued[-1].public_bytes(serialization.Encoding.PEM)

    def _verify(self, jwk: dict[str, str], fields: dict[str, str]) -> None:
        x, y = (int.from_bytes(decoded(jwk[name]), "big") for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        signature = decoded(fields["signature"])
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        signed = f"{fields['protected']}.{fields['payload']}".encode()
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))

    def _headers(self, *, signed: bool = True) -> dict[str, str]:
        if not signed:
            return {}
        self._count += 1
        self._nonces.add(f"nonce-{self._count}")
        return {"replay-nonce": f"nonce-{self._count}"}

    def _good(self, value: dict[str, Any], headers: dict[str, str] | None = None, *, signed: bool = True) -> Answer:
        return Answer(200, {**self._headers(signed=signed), **(headers or {})}, json.dumps(value).encode())

    def _bad(self, status: int, problem: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        return Answer(status, {**self._headers(), **(headers or {})}, json.dumps(problem).encode())
