"""A second box, with a real NATS server and a real S3-compatible store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trustme

from relay.base.clock import EARLIEST, SystemClock
from relay.base.config import StandbyConfig
from relay.base.errors import PeerRefusedError, UnreachableError
from relay.delivery.standby.opening import open_target
from relay.delivery.standby.target import AnotherWriterError
from relay.transport.dialing import ClockNotSetError
from relay.transport.wire.nkeys import parse_seed
from tests.fakes.clock import FakeClock
from tests.fakes.standby_contract import check_target
from tests.interop.standby_peers import Engine, Nats, Store
from tests.interop.synapse_peer import write_certificate

pytestmark = pytest.mark.interop


@pytest.fixture(params=[Nats, Store], ids=["nats", "s3"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with request.param(tmp_path / "engine") as engine:
        yield engine


def settings(engine: Engine, **others: str) -> StandbyConfig:
    given = {name.removeprefix("standby."): value for name, value in engine.settings.items()}
    given |= {"target": engine.target, "credentials_file": str(engine.credentials)}
    return StandbyConfig(**(given | others))  # type: ignore[arg-type]


def test_a_real_engine_does_what_a_target_does(engine: Engine) -> None:
    async def check() -> None:
        async with open_target(settings(engine), Path("/"), SystemClock()) as target:
            await check_target(target)

    trio.run(check)


def test_before_the_clock_is_set_plain_nats_is_asked_and_what_needs_the_time_is_not(engine: Engine) -> None:
    unset = FakeClock(int(EARLIEST.timestamp()) * 1000 - 60_000)
    others = {} if engine.target.startswith("s3:") else {"target": engine.target.replace("nats:", "tls:")}

    async def look(given: StandbyConfig) -> None:
        async with open_target(given, Path("/"), unset) as target:
            await target.names("")

    with pytest.raises(ClockNotSetError):
        trio.run(look, settings(engine, **others))
    if others:
        trio.run(look, settings(engine))


def test_wrong_credentials_and_silence_are_told_apart(engine: Engine, tmp_path: Path) -> None:
    async def look() -> None:
        async with open_target(settings(engine, credentials_file=str(wrong)), Path("/"), SystemClock()) as target:
            await target.names("")

    wrong = tmp_path / "wrong"
    wrong.write_text(engine.credentials.read_text()[:-1] + "x")
    wrong.chmod(0o600)
    with pytest.raises(PeerRefusedError) as caught:
        trio.run(look)
    assert "a password" not in str(caught.value)
    assert "a secret" not in str(caught.value)
    wrong.write_text(engine.credentials.read_text())
    trio.run(look)
    engine.stop()
    with pytest.raises(UnreachableError):
        trio.run(look)


def test_a_second_writer_is_noticed_by_the_stream(tmp_path: Path) -> None:
    async def write_from_two_places() -> None:
        async with (
            open_target(config, Path("/"), SystemClock()) as one,
            open_target(config, Path("/"), SystemClock()) as other,
        ):
            await one.append("b0/frames/01", "0001", b"one")
            await other.append("b0/frames/01", "0002", b"two")
            with pytest.raises(AnotherWriterError):
                await one.append("b0/frames/01", "0002", b"another two")

    with Nats(tmp_path / "engine") as engine:
        config = settings(engine)
        trio.run(write_from_two_places)


def test_a_stream_that_loses_messages_is_no_place_for_a_standby(tmp_path: Path) -> None:
    from relay.delivery.standby import jetstream
    from relay.transport.dialing import TcpDialer
    from relay.transport.nats_client import Login, open_nats
    from relay.transport.tls import client_context

    async def look() -> None:
        dial = TcpDialer(client_context(), allow_private=True, timeout_s=5)
        login = Login(user="anna", password="a password in a file")
        async with open_nats(dial, "127.0.0.1", server.port, login, tls=None) as client:
            target = jetstream.JetStreamTarget(client, "boxes")
            made = {**target._wanted(), "max_age": 3_600_000_000_000}
            await target._api("STREAM.CREATE.boxes", made)
            with pytest.raises(PeerRefusedError, match="drops messages"):
                await target.open()

    with Nats(tmp_path / "engine") as server:
        trio.run(look)


def test_tls_and_a_users_key_are_what_a_public_nats_server_asks_for(tmp_path: Path, authority: trustme.CA) -> None:
    async def look(target: str, ca: str) -> None:
        given = StandbyConfig(target=target, credentials_file=str(server.credentials), ca=ca)
        async with open_target(given, Path("/"), SystemClock()) as opened:
            await opened.replace("b0/beat", b"one")
            assert await opened.last("b0/beat") == b"one"

    seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
    server = Nats(tmp_path / "engine")
    write_certificate(authority, server.folder)
    server.credentials.write_text(f"seed = {seed}\n")
    (server.folder / "nats.conf").write_text(
        f"listen: 127.0.0.1:{server.port}\n"
        f'jetstream {{ store_dir: "{server.folder}/jetstream" }}\n'
        f'tls {{ cert_file: "{server.folder}/tls.crt", key_file: "{server.folder}/tls.key" }}\n'
        f"authorization {{ users: [ {{ nkey: {parse_seed(seed).public} }} ] }}\n"
    )
    with server:
        place = f"127.0.0.1:{server.port}/boxes"
        trio.run(look, f"tls://{place}", str(server.folder / "ca.crt"))
        with pytest.raises(UnreachableError, match="certificate is refused"):
            trio.run(look, f"tls://{place}", "")
        with pytest.raises(UnreachableError, match="name the target tls://"):
            trio.run(look, f"nats://{place}", "")
