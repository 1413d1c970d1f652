"""The key of a box in a TPM 2.0, against libtpms' emulator: the same code that runs in TPM firmware."""

import contextlib
import json
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

import pytest
import trustme

from relay.base.errors import WrongKeyError
from relay.box import tpm_commands as commands
from relay.box.tpm import Exchange, Tpm, opened
from relay.box.tpm_commands import code_of
from tests.fakes.tpm_contract import SECRET, check_chip
from tests.interop.box_process import BoxProcess
from tests.interop.peer_environments import tpm_emulator
from tests.interop.waiting import wait_until

pytestmark = pytest.mark.interop

LOCKOUT_HIERARCHY, PASSWORD, NOBODY = 0x4000_000A, 0x4000_0009, 0x4000_0007


class EmulatedTpm:
    """One swtpm whose state is kept in a folder; its socket takes commands as they are."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.socket = folder / "socket"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        program, libraries = tpm_emulator()
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else None
        line = [str(program), "socket", "--tpm2", "--tpmstate", f"dir={self._folder}"]
        line += ["--server", f"type=unixio,path={self.socket}", "--flags", "not-need-init,startup-clear"]
        self._process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
        wait_until(self.socket.exists)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.socket.unlink(missing_ok=True)
            self._process = None

    def tpm(self, pcrs: tuple[int, ...] = ()) -> Tpm:
        return Tpm(self.socket, pcrs)

    def restart(self) -> None:
        self.stop()
        self.start()

    def ask(self, code: int, handles: list[int], parameters: bytes, password: bytes = b"") -> bytes:
        """Return the answer to a command that the box itself never gives."""
        area = struct.pack(">IHBH", PASSWORD, 0, 0, len(password)) + password
        body = b"".join(struct.pack(">I", handle) for handle in handles)
        body += struct.pack(">I", len(area)) + area + parameters
        with opened(self.socket) as exchange:
            return exchange(struct.pack(">HII", 0x8002, 10 + len(body), code) + body)

    def clear(self) -> None:
        # TPM2_Clear (Part 3 section 24.6).
        assert code_of(self.ask(0x126, [LOCKOUT_HIERARCHY], b"")) == 0

    def extend(self, register: int, digest: bytes) -> None:
        # TPM2_PCR_Extend (section 22.2) of the SHA-256 bank.
        assert code_of(self.ask(0x182, [register], struct.pack(">IH", 1, 0x000B) + digest)) == 0


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[EmulatedTpm]:
    with EmulatedTpm(tmp_path / "tpm") as chip:
        yield chip


def test_a_secret_is_kept_for_this_chip_in_this_condition(chip: EmulatedTpm, tmp_path: Path) -> None:
    with EmulatedTpm(tmp_path / "other") as other:
        check_chip(chip, other)


def test_whoever_listens_to_the_wires_learns_no_key_and_no_impostor_is_believed(
    chip: EmulatedTpm, tmp_path: Path
) -> None:
    wire: list[bytes] = []

    @contextlib.contextmanager
    def recorded(path: Path, instead: Mapping[bytes, Exchange] = MappingProxyType({})) -> Iterator[Exchange]:
        with opened(path) as exchange:

            def ask(command: bytes) -> bytes:
                answer = exchange(command)
                other = instead.get(command[6:10])
                wire.extend((command, answer))
                return answer if other is None else other(command)

            yield ask

    tpms = [Tpm(chip.socket, pcrs, opens=recorded) for pcrs in ((), (7,))]
    sealed = [tpm.seal(SECRET) for tpm in tpms]
    assert [tpm.unseal(each) for tpm, each in zip(tpms, sealed, strict=True)] == [SECRET, SECRET]
    assert len(wire) > 30
    assert not any(SECRET in said for said in wire)
    # The negative control: the same secret, given without a session that hides it.
    with recorded(chip.socket) as ask:
        parent = commands.handle_in(ask(commands.create_primary()))
        item = commands.handle_in(
            ask(commands.load(parent, commands.Sealed(sealed[0]["private"], sealed[0]["public"])))
        )
        assert SECRET in ask(commands.unseal(item, None).render())
        assert any(SECRET in said for said in wire)
        for handle in (item, parent):
            ask(commands.flush(handle))
    with EmulatedTpm(tmp_path / "impostor") as impostor, opened(impostor.socket) as exchange:
        replaced = Tpm(chip.socket, opens=lambda path: recorded(path, {b"\0\0\x01\x31": exchange}))
        with pytest.raises(WrongKeyError, match="did not seal"):
            replaced.unseal(sealed[0])


def test_wrong_passwords_of_others_do_not_lock_the_box_out(chip: EmulatedTpm) -> None:
    sealed = chip.tpm().seal(SECRET)
    # Wrong passwords of the lockout hierarchy itself count at once, and lock it for a day (Part 1 section 19.8).
    new = b"set by somebody"
    assert code_of(chip.ask(0x129, [LOCKOUT_HIERARCHY], struct.pack(">H", len(new)) + new)) == 0
    assert code_of(chip.ask(0x126, [LOCKOUT_HIERARCHY], b"", b"guess")) == 0x08E
    assert code_of(chip.ask(0x126, [LOCKOUT_HIERARCHY], b"", new)) == 0x921
    assert chip.tpm().unseal(sealed) == SECRET


def test_a_box_starts_with_its_tpm_and_with_no_other(authority: trustme.CA, chip: EmulatedTpm, tmp_path: Path) -> None:
    settings = {"store.key_source": "tpm", "store.tpm_device": str(chip.socket), "store.tpm_pcrs": "7"}
    with BoxProcess(tmp_path / "box", authority, settings=settings) as box:
        box.login()
        told = json.loads(box.relay("status", "--json"))
        assert told["protection"] == "card theft"
        assert "TPM registers 7" in told["theft_reveals"]["of_the_box"]
        assert not (box.folder / "root.key").exists()
        box.stop()
        before = {path: path.read_bytes() for path in box.state.rglob("*") if path.is_file()}
        chip.restart()
        assert "anna" in box.relay("user", "list")
        chip.extend(7, bytes(32))
        with pytest.raises(RuntimeError, match="PCR"):
            box.relay("user", "list")
        chip.stop()
        with pytest.raises(RuntimeError, match="no TPM"):
            box.relay("user", "list")
        with EmulatedTpm(tmp_path / "other") as other:
            chip.socket.symlink_to(other.socket)
            with pytest.raises(RuntimeError, match="did not seal the key"):
                box.relay("user", "list")
            chip.socket.unlink()
        keyring = box.state / "keyring"
        assert keyring.read_bytes() == before[keyring]
        chip.start()
        box.start()
        box.login()


def test_a_backup_makes_a_box_whose_key_is_somewhere_else(
    authority: trustme.CA, chip: EmulatedTpm, tmp_path: Path
) -> None:
    (tmp_path / "backup.key").write_bytes(bytes(32))
    key = ("--key-file", tmp_path / "backup.key")
    box = BoxProcess(tmp_path / "box", authority)
    box.relay("backup", "create", *key, "--to", tmp_path / "first.bak")
    box.state = tmp_path / "with-tpm"
    settings = ("--set=store.key_source=tpm", f"--set=store.tpm_device={chip.socket}")
    box.relay("backup", "restore", tmp_path / "first.bak", *key, *settings)
    assert "anna" in box.relay("user", "list")
    box.relay("backup", "create", *key, "--to", tmp_path / "second.bak")
    chip.stop()
    box.state = tmp_path / "without"
    with pytest.raises(RuntimeError, match="give --root-key-file"):
        box.relay("backup", "restore", tmp_path / "second.bak", *key)
    assert not box.state.exists()
    box.relay("backup", "restore", tmp_path / "second.bak", *key, "--root-key-file", tmp_path / "stick.key")
    with box:
        box.login()
