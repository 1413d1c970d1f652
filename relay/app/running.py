"""Serving: doors open when everything behind them is ready, and close before anything behind them stops."""

import errno
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from relay.admin.advice import next_step
from relay.admin.operations import HouseOperator
from relay.admin.operator import Operator
from relay.admin.server import serve_admin
from relay.app.awaiting_key import open_or_wait
from relay.app.backup import Backups
from relay.app.certificate import Certificate
from relay.app.doors import Doors
from relay.app.failed_starts import forget_when_healthy
from relay.app.family import family_door
from relay.app.flash_book import FlashBookkeeper
from relay.app.health import HouseReport, Watcher
from relay.app.house import House, open_house, unlock
from relay.app.infirmary import look_for_room
from relay.app.moving import HouseMoving
from relay.app.network import Network, open_network
from relay.app.on_trial import start_again_when_due
from relay.app.operator import HousePeople
from relay.app.ownership import keep_owners_noted, note_owners
from relay.app.set_clock import watch_clock
from relay.app.standby import standby_key, standing_by
from relay.app.stopping import StopAsked, listen_to_signals
from relay.app.supervised import ask_for_time, keep_told
from relay.app.uplink import reaching_out
from relay.base import log
from relay.base.config import Config, load
from relay.base.errors import RelayError
from relay.box.board import status_light
from relay.box.light import Shown, StatusLight
from relay.box.service import Supervisor
from relay.delivery.member_refresh import MemberRefresh
from relay.store.faults import NoRoomError


def run(folder: Path, safe: RelayError | None = None) -> bool:
    """Serve the box of `folder` until SIGTERM, SIGINT or an operator stops it.

    Args:
        folder: the state folder.
        safe: why nothing is served from the beginning.

    Returns:
        Whether a new start was asked for.

    Raises:
        RelayError, OSError: the box cannot serve; the message says why in one line.
    """
    stop = StopAsked()
    if safe is None:
        try:
            return _run(folder, stop)
        except (RelayError, OSError) as error:
            from relay.app.safe_mode import as_fault, stays_up

            if stop.served or not stays_up(error):
                raise
            safe = as_fault(error)
    from relay.app.safe_mode import stay

    log.configure()
    return trio.run(stay, folder, safe)


def _run(folder: Path, stop: StopAsked) -> bool:
    config = load(folder)
    log.configure(level=config.log.level)
    try:
        return trio.run(_serve, folder, config, stop)
    except BaseExceptionGroup as group:
        # One fault ends every task of the house; the person who started it is told that one, in one line.
        raise _fault_of(group) from group


def _fault_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    fault: BaseException = group
    while isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
        fault = fault.exceptions[0]
    return fault if isinstance(fault, RelayError | OSError) else group


@asynccontextmanager
async def open_offline(folder: Path, config: Config, *, phrase: str | None = None) -> AsyncIterator[Operator]:
    """Open the house without doors and network, for the command line; `folder` may be empty."""
    keys = None if phrase is None else unlock(folder, config.store, phrase)
    async with open_house(folder, config, keys=keys) as house:
        people = HousePeople(house, None)
        moving = HouseMoving(house, people, partial(open_network, house), running=False)
        yield HouseOperator(
            people,
            HouseReport(house, {}),
            stop=None,
            backups=Backups(house),
            moving=moving,
            standby_key=partial(standby_key, house),
        )
        await note_owners(house)


async def _serve(folder: Path, config: Config, stop: StopAsked) -> bool:
    light = status_light(folder)
    light.show(Shown.STARTING)
    async with trio.open_nursery() as waiting, AsyncExitStack() as stack:
        stack.callback(light.release)
        keys = await open_or_wait(folder, config, stop, light)
        if keys is None:
            return stop.restart
        patience: trio.CancelScope = await waiting.start(ask_for_time, Supervisor(), folder)
        house = await stack.enter_async_context(open_house(folder, config, keys=keys))
        patience.cancel()
        status = house.ledger.status()
        if status.fault:
            _say(f"{status.fault}: nothing new is taken in, what is intact can be read", status.fault_code)
        # A standby follows commits; beside a fault there are none.
        watchers = () if status.fault else await stack.enter_async_context(standing_by(house))
        network = await open_network(house)
        async with trio.open_nursery() as signals:
            await signals.start(listen_to_signals, stop)
            signals.start_soon(start_again_when_due, folder, stop)
            if status.fault_code == NoRoomError.code:
                signals.start_soon(look_for_room, folder, stop)
            await _serve_house(house, network, stop, light, watchers)
            signals.cancel_scope.cancel()
    return stop.restart


def _say(what: str, code: str) -> None:
    sys.stderr.write(f"relay: {what}\n  next: {next_step(code)}\n")
    sys.stderr.flush()


async def _serve_house(
    house: House, network: Network, stop: StopAsked, light: StatusLight, watchers: Sequence[Watcher] = ()
) -> None:
    listening: dict[str, str] = {}
    watchers = [*watchers, partial(watch_clock, house.clock)]
    supervisor = Supervisor()
    leave_rooms = MemberRefresh(house.ledger, network.writer, network.leaving, house.clock).leave_all
    people = HousePeople(house, leave_rooms)
    operator = HouseOperator(
        people,
        HouseReport(house, listening, network.admission, watchers),
        stop=stop,
        backups=Backups(house),
        moving=HouseMoving(house, people, partial(_as_it_is, network), running=True),
        standby_key=partial(standby_key, house),
    )
    async with trio.open_nursery() as workers:
        await network.start(workers)
        workers.start_soon(keep_owners_noted, house)
        try:
            await workers.start(partial(serve_admin, house.folder, operator))
        except OSError as error:
            # Its socket would lie on the file system that takes no writes; people are served all the same.
            if error.errno != errno.EROFS:
                raise
            log.get_logger().warning("app.not_administered", errno=error.errno)
        async with trio.open_nursery() as doors:
            certificate = Certificate(house)
            front = Doors(certificate.identity, doors, stop.asked, listening)
            watchers += [front.watch, certificate.watch]
            await front.open("client", house.config.client, family_door(house, network).answer)
            certificate.start(workers)
            await certificate.alive(stop.asked)
            await front.open("federation", house.config.federation, network.federation.answer)
            workers.start_soon(network.home_again.run)
            workers.start_soon(network.catching_up.run)
            words = " ".join(f"{name}={url}" for name, url in sorted(listening.items(), reverse=True))
            sys.stdout.write(f"ready {words} name={house.server}\n")
            sys.stdout.flush()
            log.get_logger().info("app.opened", boot=house.ledger.boot)
            supervisor.ready(f"serving {house.server}")
            stop.served = True
            workers.start_soon(forget_when_healthy, house.folder)
            workers.start_soon(keep_told, supervisor, house.ledger, light)
            book = FlashBookkeeper(house.folder, house.clock)
            watchers.append(book.watch)
            workers.start_soon(book.run)
            async with reaching_out(house, listening) as reaching:
                watchers.extend(reaching)
                await stop.asked.wait()
                supervisor.stopping(restart=stop.restart)
        workers.cancel_scope.cancel()
    log.get_logger().info("app.closed")


async def _as_it_is(network: Network) -> Network:
    return network
