"""A person's cross-signing keys and a device, with real signatures."""

import hashlib
from typing import Any

from nacl.signing import SigningKey

from relay.base.ids import DeviceId, UserId
from relay.core.matrix import canonical_json, unpadded_base64


class Signer:
    def __init__(self, user: UserId, label: str = "") -> None:
        self.user = user
        self._label = label

    def secret(self, name: str) -> SigningKey:
        return SigningKey(hashlib.sha256(f"{self.user} {self._label} {name}".encode()).digest())

    def public(self, name: str) -> str:
        return unpadded_base64.encode(bytes(self.secret(name).verify_key))

    def key(self, usage: str) -> dict[str, Any]:
        public = self.public(usage)
        bare = {"user_id": self.user, "usage": [usage], "keys": {f"ed25519:{public}": public}}
        return bare if usage == "master" else self.sign(bare, "master")

    def keys(self) -> dict[Any, dict[str, Any]]:
        return {usage: self.key(usage) for usage in ("master", "self_signing", "user_signing")}

    def device(self, device: DeviceId) -> dict[str, Any]:
        bare = {
            "user_id": self.user,
            "device_id": device,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": {f"ed25519:{device}": self.public(device), f"curve25519:{device}": "c"},
        }
        return self.sign(bare, device, key_id=f"ed25519:{device}")

    def sign(self, obj: dict[str, Any], name: str, *, key_id: str = "") -> dict[str, Any]:
        """Return `obj` with only our signature by the key called `name`."""
        bare = {field: value for field, value in obj.items() if field not in ("signatures", "unsigned")}
        signature = unpadded_base64.encode(self.secret(name).sign(canonical_json.encode(bare)).signature)
        return {**bare, "signatures": {self.user: {key_id or f"ed25519:{self.public(name)}": signature}}}
