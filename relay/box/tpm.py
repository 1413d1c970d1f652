"""A TPM 2.0 that keeps a secret for the box: sealed to this very chip, and if wanted to what was started on it.

The kernel's resource manager `/dev/tpmrm0` takes one command at a time and forgets what was loaded when it is closed
(Documentation/security/tpm/ of the kernel); where the path is a socket, as of an emulator, this forgets by itself.
Secrets go to the chip and come from it hidden, in a session whose key only the chip's storage key opens; the name of
that key stands beside what was sealed, so that nobody between the box and its chip can offer another. Whoever starts a
system of his own on the box is given the secret all the same, unless it is sealed to PCRs.
"""

import contextlib
import errno
import os
import secrets
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from relay.base.errors import ConfigError, DamagedError, KeyAbsentError, WrongKeyError
from relay.box import tpm_commands as commands
from relay.box.tpm_cipher import Cipher, child_cipher
from relay.box.tpm_session import HidingSession, Salt, name_of

DEVICE = Path("/dev/tpmrm0")
_NONCE_BYTES = 16
_NOT_THERE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ECONNREFUSED)
# What a chip costs that is busy, hangs, or was pulled out (drivers/char/tpm of the kernel).
_NOT_NOW = (errno.EBUSY, errno.EIO, errno.ETIME, errno.ECANCELED, errno.EPIPE, errno.ECONNRESET)
_BUSY = (commands.RETRY, commands.YIELDED, commands.TESTING)
_TRIES = 20
_PAUSE_S = 0.1
_ANSWER_WITHIN_S = 60.0

Exchange = Callable[[bytes], bytes]
"""Gives the TPM one command and returns its answer."""


class Tpm:
    """The TPM behind a path; `pcrs` are the registers that a secret is sealed to, none for the chip alone.

    `cipher` gives what hides the secrets, for one of them.
    """

    def __init__(
        self,
        device: Path = DEVICE,
        pcrs: Sequence[int] = (),
        *,
        opens: "Callable[[Path], contextlib.AbstractContextManager[Exchange]] | None" = None,
        cipher: Callable[[], contextlib.AbstractContextManager[Cipher]] = child_cipher,
    ) -> None:
        self._cipher = cipher
        self._opens = opens or opened
        self._device = device
        self._pcrs = tuple(pcrs)

    def seal(self, secret: bytes) -> dict[str, Any]:
        """Return `secret` (at most 128 bytes) as public parameters that only this TPM opens.

        Raises:
            KeyAbsentError: there is no TPM (yet), or it does not answer or wants to be left alone for now.
            ConfigError: it may not be used.
        """
        with self._conversation() as talk, talk.storage_key() as parent, talk.hiding(parent, self._cipher) as session:
            made = talk.hidden(
                session, commands.create(parent.handle, secret, talk.policy_now(self._pcrs)), [name_of(parent.public)]
            )
            private, public = made.sized(), made.sized()
        return {"private": private, "public": public, "pcrs": list(self._pcrs), "parent": name_of(parent.public)}

    def unseal(self, parameters: dict[str, Any]) -> bytes:
        """Return the secret that `parameters` hold.

        Raises:
            KeyAbsentError: there is no TPM (yet), or it does not answer or wants to be left alone for now.
            WrongKeyError: another TPM sealed it, or this one before it was cleared, or the registers changed.
            DamagedError: what answers is not the TPM that the storage key belongs to.
        """
        sealed = commands.Sealed(parameters["private"], parameters["public"])
        pcrs = [int(number) for number in parameters["pcrs"]]
        with (
            self._conversation() as talk,
            talk.storage_key(parameters.get("parent")) as parent,
            talk.loaded(commands.load(parent.handle, sealed)) as item,
            talk.policy_session(pcrs) as policy,
            talk.hiding(parent, self._cipher) as session,
        ):
            return talk.hidden(session, commands.unseal(item, policy), [name_of(sealed.public)]).sized()

    @contextlib.contextmanager
    def _conversation(self) -> "Iterator[_Conversation]":
        try:
            with self._opens(self._device) as exchange:
                yield _Conversation(exchange)
        except OSError as error:
            if error.errno in _NOT_THERE:
                raise KeyAbsentError(f"there is no TPM at {self._device}") from None
            if error.errno in _NOT_NOW or isinstance(error, TimeoutError):
                raise KeyAbsentError(f"the TPM {self._device} does not answer: {error.strerror or error}") from None
            raise ConfigError(f"the TPM {self._device} cannot be used: {error.strerror or error}") from None


class _StorageKey(NamedTuple):
    handle: int
    public: bytes


class _Conversation:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def ask(self, command: bytes) -> bytes:
        """Return the answer to a command that succeeded."""
        for _ in range(_TRIES):
            answer = self._exchange(command)
            code = commands.code_of(answer)
            if code not in _BUSY:
                break
            # Self-tests after a start take a moment; nothing announces their end.
            threading.Event().wait(_PAUSE_S)
        else:
            raise KeyAbsentError("the TPM is still busy with itself")
        if code != commands.SUCCESS:
            raise _refusal(code)
        return answer

    @contextlib.contextmanager
    def loaded(self, command: bytes) -> Iterator[int]:
        """Have what `command` loads, for as long as it is needed: a TPM has room for three."""
        handle = commands.handle_in(self.ask(command))
        try:
            yield handle
        finally:
            self._exchange(commands.flush(handle))

    @contextlib.contextmanager
    def storage_key(self, name: bytes | None = None) -> "Iterator[_StorageKey]":
        """Have the storage key, which is to have `name`; what was sealed by an older release does not say which."""
        answer = self.ask(commands.create_primary())
        key = _StorageKey(commands.handle_in(answer), commands.public_in(answer))
        try:
            if name is not None and name_of(key.public) != name:
                raise _refusal(commands.INTEGRITY)
            yield key
        finally:
            self._exchange(commands.flush(key.handle))

    @contextlib.contextmanager
    def hiding(
        self, parent: "_StorageKey", cipher: Callable[[], contextlib.AbstractContextManager[Cipher]]
    ) -> Iterator[HidingSession]:
        """Have a session that hides one secret."""
        with cipher() as made:
            salt = Salt(made, parent.handle, parent.public)
            session = salt.session(self.ask(salt.command))
            try:
                yield session
            finally:
                self._exchange(commands.flush(session.handle))

    def hidden(self, session: HidingSession, command: commands.Command, names: Sequence[bytes]) -> commands.Fields:
        """Return what a command answers of which `session` hides the secret part."""
        return session.read(command, self.ask(session.ask(command, names)))

    @contextlib.contextmanager
    def policy_session(self, pcrs: Sequence[int], kind: int = commands.POLICY) -> Iterator[int | None]:
        """Have a session that says how the registers are, None where they do not count."""
        if not pcrs:
            yield None
            return
        with self.loaded(commands.start_session(kind, secrets.token_bytes(_NONCE_BYTES))) as session:
            self.ask(commands.policy_pcr(session, pcrs))
            yield session

    def policy_now(self, pcrs: Sequence[int]) -> bytes:
        with self.policy_session(pcrs, commands.TRIAL) as session:
            return b"" if session is None else commands.bytes_in(self.ask(commands.policy_digest(session)))


def _refusal(code: int) -> Exception:
    match code:
        case commands.INTEGRITY:
            return WrongKeyError("this TPM did not seal the key, or it was cleared since; nothing was changed")
        case commands.POLICY_FAIL:
            return WrongKeyError("the TPM keeps the key back: what was started is not what it was sealed to (PCRs)")
        case commands.LOCKOUT:
            return KeyAbsentError("the TPM wants to be left alone for a while, after wrong passwords of others")
        case commands.NOT_STARTED:
            return KeyAbsentError("the TPM was not started by the firmware")
        case commands.AUTH_FAIL | commands.BAD_AUTH:
            return ConfigError("the TPM's owner set a password: the box needs an owner hierarchy without one")
    return DamagedError(f"the TPM refuses with code {code:#05x}")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Exchange]:
    """Have the TPM behind `path` for one conversation."""
    if stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_WITHIN_S)
            connection.connect(str(path))
            yield lambda command: _over_socket(connection, command)
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield lambda command: _over_device(descriptor, command)
    finally:
        os.close(descriptor)


def _over_device(descriptor: int, command: bytes) -> bytes:
    # The kernel takes a whole command in one write and gives the whole answer to one read.
    os.write(descriptor, command)
    return os.read(descriptor, commands.MAX_ANSWER_BYTES)


def _over_socket(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command)
    answer = b""
    wanted = commands.HEADER_BYTES
    while len(answer) < wanted:
        data = connection.recv(wanted - len(answer))
        if not data:
            raise KeyAbsentError("the TPM went away")
        answer += data
        if len(answer) == commands.HEADER_BYTES:
            wanted = commands.answer_size(answer)
    return answer
