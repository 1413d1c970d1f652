"""A box on a recorded device under a household's load: an app and a Synapse send, and it is killed now and then."""

import contextlib
import dataclasses
import hashlib
import random  # noqa: TID251 - seeded, so that a failure comes back
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import trustme

from relay.cli.bench.servers import free_port
from tests.interop.box_process import BoxProcess
from tests.interop.noting_proxy import NotingProxy
from tests.interop.peer_clients import ApiError, quote
from tests.interop.promises import FAR_MESSAGE, MEDIA, MESSAGE, SESSION, TO_DEVICE, Promise, Promises
from tests.interop.recording_device import RecordingDevice
from tests.interop.synapse_peer import SynapsePeer, write_certificate
from tests.interop.waiting import wait_for_invite

# The device is small.
SETTINGS = {"store.checkpoint_journal_mib": "1", "log.level": "error", "limits.free_mib": "1"}
_PATIENCE_S = 120


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """What happened: every block write in order, and what was promised when.

    Attributes:
        state: the state folder, below the mount point of the device.
        begins: the size of the log when the box was set up; cuts come later.
        inbox: the token whose to-device messages were never fetched.
    """

    base: Path
    log: Path
    mount_point: Path
    state: Path
    begins: int
    promises: list[Promise]
    room: str
    inbox: str


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """How much is sent: so many messages each way, and how often the process is killed meanwhile."""

    messages: int
    kills: int = 0


class _Household:
    """Anna's app at home, and Berta's far away."""

    def __init__(self, box: BoxProcess, synapse: SynapsePeer, promises: Promises, load: Load) -> None:
        self.box, self.promises, self.load = box, promises, load
        self.anna = box.login()
        second = box.login()
        self.inbox = str(second.token)
        for api in (self.anna, second):
            promises.note(SESSION, str(api.token), api.call("GET", "v3/account/whoami")["device_id"])
        self.device = second.call("GET", "v3/account/whoami")["device_id"]
        name = f"berta-{box.federation_port}"
        self.berta = synapse.register(name, "berta's password")
        user = f"@{name}:{synapse.name}"
        self.room: str = self.anna.call("POST", "v3/createRoom", {"invite": [user]})["room_id"]
        wait_for_invite(self.berta, self.room)
        self.berta.call("POST", f"v3/join/{quote(self.room)}?via={quote(box.name)}", {})

    def send_from_home(self) -> None:
        """Send messages, now and then a file; what is refused or cut off is tried again, as apps do."""
        for number in range(self.load.messages):
            text = _text(f"own {number}", number)
            event_id = _until_kept(partial(self.anna.send, self.room, text, f"own-{number}"))
            self.promises.note(MESSAGE, event_id, text)
            if number % 12 == 5:
                data = random.Random(number).randbytes(20_000 + 997 * number % 180_000)
                address = _until_kept(partial(self.anna.upload, data))
                self.promises.note(MEDIA, address, hashlib.sha256(data).hexdigest())

    def send_from_afar(self) -> None:
        """Send messages and to-device messages through the Synapse, which tries again for as long as it takes."""
        for number in range(self.load.messages):
            self.berta.send(self.room, _text(f"far {number}", number), f"far-{number}")
            if number % 3 == 0:
                content = {"name": f"secret {number}", "text": _text("", number)}
                messages = {f"@anna:{self.box.name}": {self.device: content}}
                self.berta.call("PUT", f"v3/sendToDevice/m.test/device-{number}", {"messages": messages})

    def kill_now_and_then(self) -> None:
        """Kill the box at even distances of its work and start it again."""
        for kill in range(1, self.load.kills + 1):
            self.wait_for(MESSAGE, kill * self.load.messages // (self.load.kills + 1))
            self.box.kill()
            self.box.start(_PATIENCE_S)

    def wait_for(self, kind: str, count: int) -> None:
        """Return once so many promises of a kind were made.

        Raises:
            TimeoutError: they were not.
        """
        for _ in range(_PATIENCE_S * 50):
            if self.promises.count(kind) >= count:
                return
            threading.Event().wait(0.02)
        raise TimeoutError(f"{self.promises.count(kind)} of {count} promises: {kind}")


def record(
    device: RecordingDevice, folder: Path, authority: trustme.CA, synapse: SynapsePeer, load: Load, *, module: str
) -> Recording:
    """Run a box on the device under load until all of it has arrived; the device is then unmounted by its owner."""
    promises = Promises(device.log_bytes)
    outside = free_port()
    write_certificate(authority, folder)
    with NotingProxy(outside, folder, promises.note_transaction) as proxy, contextlib.ExitStack() as stack:
        state = device.mount_point / "state"
        box = BoxProcess(folder / "box", authority, settings=SETTINGS, state=state, behind=outside, module=module)
        begins = device.log_bytes()
        stack.enter_context(box)
        proxy.target = box.federation_port
        household = _Household(box, synapse, promises, load)
        with _threads(household.send_from_home, household.send_from_afar, household.kill_now_and_then):
            pass
        household.wait_for(FAR_MESSAGE, load.messages)
        household.wait_for(TO_DEVICE, -(-load.messages // 3))
    return Recording(
        base=device.base,
        log=device.log,
        mount_point=device.mount_point,
        state=box.state,
        begins=begins,
        promises=promises.made,
        room=household.room,
        inbox=household.inbox,
    )


@contextlib.contextmanager
def _threads(*works: Callable[[], None]) -> Iterator[None]:
    """Run each in a thread of its own; the first error comes out when all have ended."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _until_kept(send: Callable[[], str]) -> str:
    for _ in range(_PATIENCE_S * 50):
        with contextlib.suppress(ApiError, OSError):
            return send()
        threading.Event().wait(0.02)  # the box is starting again
    raise TimeoutError("the box does not take it")


def _text(label: str, number: int) -> str:
    """Return a message that no other equals: most are short, a few are long."""
    size_bytes = 6_000 if number % 9 == 0 else 120
    return f"{label} {hashlib.shake_128(label.encode() + b'%d' % number).hexdigest(size_bytes // 2)}"
