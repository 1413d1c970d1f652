"""Cross-signing keys and signatures (client-server API, "Cross-signing")."""

from typing import Any

from relay.base.errors import InvalidInputError, TooLargeError
from relay.base.ids import DeviceId, UserId, parse_user_id
from relay.base.limits import DEFAULT_KEY_QUERY_TIMEOUT_MS, MAX_SIGNATURES_PER_UPLOAD
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import required_object
from relay.client_api.interactive_auth import InteractiveAuth
from relay.client_api.login import NoteDevices
from relay.core.matrix.replies import matrix_reply
from relay.delivery.ledger import Change, Ledger
from relay.household import cross_signing, devices
from relay.household.cross_signing import USAGES, Signed, Usage
from relay.household.key_queries import KeyQueries
from relay.household.sessions import Session
from relay.transport.message import Request


def register(door: Door, ledger: Ledger, auth: InteractiveAuth, queries: KeyQueries, note: NoteDevices) -> None:
    """Hang the endpoints of cross-signing here."""
    endpoints = _CrossSigningEndpoints(ledger, auth, queries, note)
    for prefix in ("v3", "unstable"):
        # Apps that learned cross-signing before it was in the specification still ask under "unstable".
        door.private("POST", f"/_matrix/client/{prefix}/keys/device_signing/upload", endpoints.upload)
        door.private("POST", f"/_matrix/client/{prefix}/keys/signatures/upload", endpoints.sign)


class _CrossSigningEndpoints:
    def __init__(self, ledger: Ledger, auth: InteractiveAuth, queries: KeyQueries, note: NoteDevices) -> None:
        self._ledger = ledger
        self._auth = auth
        self._queries = queries
        self._note = note

    async def upload(self, session: Session, request: Request) -> Reply:
        body = await json_object(request)
        keys: dict[Usage, dict[str, Any]] = {
            usage: required_object(body, f"{usage}_key") for usage in USAGES if body.get(f"{usage}_key") is not None
        }
        if await self._ledger.read(cross_signing.needs_authentication, session.user, keys):
            challenge = await self._auth.password("keys/device_signing/upload", session, request, body)
            if challenge is not None:
                return challenge

        def step(change: Change) -> None:
            if cross_signing.upload_keys(change, session.user, keys):
                self._note(change, session.user, None)

        await self._ledger.run(step)
        return None

    async def sign(self, session: Session, request: Request) -> Reply:
        uploads = _uploads_in(await json_object(request))
        others: dict[UserId, list[DeviceId]] = {user: [] for user in uploads if user != session.user}
        if others:
            # Their keys have to be known here before a signature on them can be checked.
            await self._queries.query(session.user, others, DEFAULT_KEY_QUERY_TIMEOUT_MS / 1000)

        def step(change: Change) -> Signed:
            outcome = cross_signing.add_signatures(change, session.user, uploads)
            for name in outcome.own:
                device = DeviceId(name)
                self._note(change, session.user, device if devices.exists(change, session.user, device) else None)
            if outcome.others:
                change.wake(("user", session.user))
            return outcome

        outcome = await self._ledger.run(step)
        return {
            "failures": {
                user: {name: matrix_reply(error)[1] for name, error in by_name.items()}
                for user, by_name in outcome.failures.items()
            }
        }


def _uploads_in(body: dict[str, Any]) -> dict[UserId, dict[str, Any]]:
    uploads: dict[UserId, dict[str, Any]] = {}
    for user, objects in body.items():
        if not isinstance(objects, dict):
            raise InvalidInputError("signatures are not given as user -> key -> object")
        uploads[parse_user_id(user)] = objects
    if sum(map(len, uploads.values())) > MAX_SIGNATURES_PER_UPLOAD:
        raise TooLargeError(f"at most {MAX_SIGNATURES_PER_UPLOAD} signed keys can be uploaded at once")
    return uploads
