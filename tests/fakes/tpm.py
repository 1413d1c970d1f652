"""A TPM 2.0 of which only the form of commands and answers is real, and what a sealed secret depends on.

It takes commands apart by itself, after TCG's library specification (Part 3 for the commands, Part 2 for structures and
response codes); `tests/fakes/tpm_contract.py` runs against it and against a real TPM's emulator alike.
"""

import contextlib
import hashlib
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from relay.box.tpm import Exchange, Tpm
from relay.box.tpm_cipher import Cipher, LocalCipher
from tests.fakes.tpm_session import ChipSession, ProofError, coordinates, storage_key

PARENT, ITEM, SESSION, HIDING = 0x8000_0000, 0x8000_0001, 0x0300_0000, 0x0200_0000
OWNER, NOBODY, PASSWORD = 0x4000_0001, 0x4000_0007, 0x4000_0009


class FakeTpm:
    """One chip.

    Attributes:
        codes: what it answers next instead of what it would, for as long as there are any.
        commands: the codes of all commands.
        loaded: handles in use.
        wire: everything that was said, both ways.
    """

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.commands: list[int] = []
        self.loaded: dict[int, bytes] = {}
        self._seed = secrets.token_bytes(32)
        self._registers = [bytes(32) for _ in range(24)]
        self._digest = b""
        self.wire: list[bytes] = []
        self._hiding: ChipSession | None = None
        self._answers: dict[int, Callable[[_Reader], bytes]] = {
            0x131: self._create_primary,
            0x153: self._create,
            0x157: self._load,
            0x15E: self._unseal,
            0x165: self._flush,
            0x176: self._start_session,
            0x17F: self._policy_pcr,
            0x189: self._policy_digest,
        }

    def tpm(self, pcrs: tuple[int, ...] = ()) -> Tpm:
        return Tpm(Path("/dev/fake"), pcrs, opens=self._opened, cipher=local_cipher)

    def restart(self) -> None:
        self.loaded.clear()
        self._registers = [bytes(32) for _ in range(24)]

    def clear(self) -> None:
        self._seed = secrets.token_bytes(32)

    def extend(self, register: int, digest: bytes) -> None:
        self._registers[register] = hashlib.sha256(self._registers[register] + digest).digest()

    @contextlib.contextmanager
    def _opened(self, _path: Path) -> Iterator[Exchange]:
        yield self.exchange
        assert not self.loaded, "something was left in the chip"

    def exchange(self, command: bytes) -> bytes:
        answer = self._answer(command)
        self.wire += [command, answer]
        return answer

    def _answer(self, command: bytes) -> bytes:
        tag, size, code = struct.unpack(">HII", command[:10])
        assert size == len(command)
        self.commands.append(code)
        if self.codes:
            return struct.pack(">HII", 0x8001, 10, self.codes.pop(0))
        reader = _Reader(command[10:], code)
        try:
            body = self._answers[code](reader)
        except _RefusedError as refused:
            return struct.pack(">HII", 0x8001, 10, refused.args[0])
        assert not reader.left, "there is more in the command than its parameters"
        assert tag == (0x8002 if reader.authorised else 0x8001)
        return struct.pack(">HII", tag, 10 + len(body), 0) + body

    def _create_primary(self, reader: "_Reader") -> bytes:
        assert reader.number() == OWNER
        assert reader.authorise() == PASSWORD
        assert reader.sized() == b"\0\0\0\0"
        public = reader.sized()
        assert public[:8] == bytes.fromhex("0023 000b 00030472")
        reader.end_of_creation()
        x, y = coordinates(storage_key(self._seed).public_key())
        assert public[-4:] == bytes(4)
        self.loaded[PARENT] = public[:-4] + _sized(x) + _sized(y)
        return struct.pack(">I", PARENT) + _after(_sized(self.loaded[PARENT]))

    def _create(self, reader: "_Reader") -> bytes:
        assert reader.number() == PARENT
        assert reader.authorise() == PASSWORD
        self._open(reader, self.loaded[PARENT])
        sensitive, public = _Reader(reader.sized()), reader.sized()
        reader.end_of_creation()
        assert sensitive.sized() == b""
        secret = sensitive.sized()
        assert len(secret) <= 128
        assert public[:4] == bytes.fromhex("0008 000b")
        return self._close(reader, _sized(self._proof(secret + public) + self._hidden(secret)) + _sized(public))

    def _load(self, reader: "_Reader") -> bytes:
        assert reader.number() == PARENT
        assert reader.authorise() == PASSWORD
        private, public = reader.sized(), reader.sized()
        secret = self._hidden(private[32:])
        if self._proof(secret + public) != private[:32]:
            raise _RefusedError(0x1DF)
        self.loaded[ITEM] = secret + public
        return struct.pack(">II", ITEM, 0)

    def _unseal(self, reader: "_Reader") -> bytes:
        assert reader.number() == ITEM
        session = reader.authorise()
        self._open(reader, self.loaded[ITEM][32:])
        secret, public = self.loaded[ITEM][:32], _Reader(self.loaded[ITEM][32:])
        public.take(4)
        with_password = bool(public.number() & 1 << 6)
        policy = public.sized()
        if session == PASSWORD and not with_password:
            raise _RefusedError(0x12F)
        if session == SESSION and self._digest != policy:
            raise _RefusedError(0x99D)
        return self._close(reader, _sized(secret))

    def _flush(self, reader: "_Reader") -> bytes:
        del self.loaded[reader.number()]
        return b""

    def _start_session(self, reader: "_Reader") -> bytes:
        key, bound = reader.number(), reader.number()
        assert bound == NOBODY
        nonce = reader.sized()
        assert len(nonce) >= 16
        if key == PARENT:
            point = _Reader(reader.sized())
            self._hiding = ChipSession(storage_key(self._seed), (point.sized(), point.sized()), nonce)
            assert reader.take(9) == bytes.fromhex("00 0006 0080 0043 000b")
            self.loaded[HIDING] = b""
            return struct.pack(">I", HIDING) + _sized(self._hiding.nonce)
        assert key == NOBODY
        assert reader.sized() == b""
        assert reader.take(5)[1:] == bytes.fromhex("0010 000b")
        self._digest = bytes(32)
        self.loaded[SESSION] = b""
        return struct.pack(">I", SESSION) + _sized(bytes(16))

    def _policy_pcr(self, reader: "_Reader") -> bytes:
        assert reader.number() == SESSION
        assert reader.sized() == b""
        assert reader.take(7) == bytes.fromhex("00000001 000b 03")
        chosen = int.from_bytes(reader.take(3), "little")
        registers = b"".join(value for number, value in enumerate(self._registers) if chosen >> number & 1)
        self._digest = hashlib.sha256(self._digest + chosen.to_bytes(3, "little") + registers).digest()
        return b""

    def _policy_digest(self, reader: "_Reader") -> bytes:
        assert reader.number() == SESSION
        return _sized(self._digest)

    def _open(self, reader: "_Reader", public: bytes) -> None:
        """Take a look at the proof, and off what hides the first parameter, where there is a session for that."""
        if reader.hiding is not None:
            assert self._hiding is not None
            name = b"\x00\x0b" + hashlib.sha256(public).digest()
            try:
                reader.left = self._hiding.open(reader.code, name, reader.left, reader.hiding)
            except ProofError:
                # TPM_RC_AUTH_FAIL of the second session.
                raise _RefusedError(0xA8E) from None

    def _close(self, reader: "_Reader", parameters: bytes) -> bytes:
        if reader.hiding is None or self._hiding is None:
            return _after(parameters)
        areas = self._hiding.close(reader.code, parameters, reader.hiding[1])
        return struct.pack(">I", len(parameters)) + areas

    def _hidden(self, secret: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(secret, self._seed, strict=True))

    def _proof(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self._seed, digest_size=32).digest()


class _RefusedError(Exception):
    pass


class _Reader:
    def __init__(self, data: bytes, code: int = 0) -> None:
        self.left = data
        self.code = code
        self.hiding: tuple[bytes, int, bytes] | None = None
        self.authorised = False

    def take(self, size: int) -> bytes:
        taken, self.left = self.left[:size], self.left[size:]
        assert len(taken) == size
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def sized(self) -> bytes:
        return self.take(int.from_bytes(self.take(2), "big"))

    def authorise(self) -> int:
        self.authorised = True
        area = _Reader(self.take(self.number()))
        session = area.number()
        assert (area.sized(), area.take(1), area.sized()) == (b"", b"\0", b"")
        if area.left:
            assert area.number() == HIDING
            self.hiding = area.sized(), area.take(1)[0], area.sized()
        assert not area.left
        return session

    def end_of_creation(self) -> None:
        assert (self.sized(), self.number()) == (b"", 0)


@contextlib.contextmanager
def local_cipher() -> Iterator[Cipher]:
    yield LocalCipher()


def _after(parameters: bytes) -> bytes:
    return struct.pack(">I", len(parameters)) + parameters


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data
