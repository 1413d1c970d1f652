"""The box's own keys, as others fetch them.

Source: Matrix S2S v1.19, "Publishing Keys".
"""

from collections.abc import Sequence
from typing import Any

from relay.base.clock import Clock
from relay.base.ids import ServerName
from relay.base.limits import KEY_VALID_S
from relay.core.matrix import unpadded_base64
from relay.core.matrix.signing import SigningKey, sign_json
from relay.transport.message import Request, Response


class OwnKeys:
    """Publishes the key in use and those before it.

    Args:
        old: (key, when it was last used in ms).
    """

    def __init__(
        self, server: ServerName, key: SigningKey, old: Sequence[tuple[SigningKey, int]], clock: Clock
    ) -> None:
        self._server = server
        self._clock = clock
        self._key = key
        self._old = list(old)

    def published(self) -> dict[str, Any]:
        """Return the signed key object; it is good for a day, so that a lost key is not believed for long."""
        keys: dict[str, Any] = {
            "server_name": self._server,
            "valid_until_ts": self._clock.wall_ms() + KEY_VALID_S * 1000,
            "verify_keys": {self._key.key_id: {"key": unpadded_base64.encode(self._key.public)}},
            "old_verify_keys": {
                key.key_id: {"key": unpadded_base64.encode(key.public), "expired_ts": expired_ms}
                for key, expired_ms in self._old
            },
        }
        return sign_json(keys, self._server, self._key)

    async def answer(self, _request: Request) -> Response:
        """GET /_matrix/key/v2/server: asked by servers that cannot be authenticated before they have our answer."""
        return Response.json(self.published())
