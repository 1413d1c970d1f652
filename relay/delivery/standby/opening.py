"""From a place's name to an open target."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import trio

from relay.base.clock import Clock, knows_time
from relay.base.config import StandbyConfig
from relay.base.lone_errors import unwrapped
from relay.base.off_box import NatsPlace, parse_place
from relay.delivery.standby.bucket import BucketTarget
from relay.delivery.standby.credentials import read_access_key, read_login
from relay.delivery.standby.jetstream import JetStreamTarget
from relay.delivery.standby.target import Target
from relay.transport.client import HttpClient
from relay.transport.dialing import ClockNotSetError, TcpDialer
from relay.transport.nats_client import open_nats
from relay.transport.tls import client_context

_CONNECT_TIMEOUT_S = 10.0


@contextlib.asynccontextmanager
async def open_target(config: StandbyConfig, folder: Path, clock: Clock) -> AsyncIterator[Target]:
    """Keep the target that the settings name open while the block runs; file names are relative to `folder`.

    Raises:
        ClockNotSetError: the target is judged by the time, or judges us by it, and nobody set the clock yet.
        ConfigError: the settings or the files they name are wrong.
        UnreachableError: nobody answers.
        PeerRefusedError: the target does not know us, or is no place for a standby.
    """
    place = parse_place(config.target, endpoint=config.endpoint, region=config.region)
    # A bucket's requests are signed with the time, also where there is no certificate.
    if (not isinstance(place, NatsPlace) or place.tls) and not knows_time(clock):
        raise ClockNotSetError("the clock is not set: the copy waits until it is")
    context = client_context(folder / config.ca if config.ca else None)
    # The owner of the box named it: it may well stand in the next room.
    knows = partial(knows_time, clock)
    dial = TcpDialer(context, allow_private=True, timeout_s=_CONNECT_TIMEOUT_S, knows_time=knows)
    credentials = folder / config.credentials_file if config.credentials_file else None
    if isinstance(place, NatsPlace):
        tls = (lambda: context) if place.tls else None
        async with open_nats(dial, place.host, place.port, read_login(credentials), tls=tls) as client:
            target = JetStreamTarget(client, place.stream)
            await target.open()
            yield target
        return
    access = read_access_key(credentials)
    http = HttpClient(dial)
    async with unwrapped(), trio.open_nursery() as nursery:
        await nursery.start(http.run)
        yield BucketTarget(http, place, access)
        nursery.cancel_scope.cancel()
