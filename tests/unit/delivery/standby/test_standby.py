import hashlib

import trio

from relay.transport.dialing import ClockNotSetError
from tests.fakes.files import MemoryFiles
from tests.fakes.standby_target import MemoryTarget
from tests.fakes.standing_by import BOX, MemoryFolder, forget, key_in, note, note_lazily, restore, standing_by


def noise(number: int) -> str:
    return hashlib.shake_128(b"%d" % number).hexdigest(2000)


async def test_a_second_box_holds_what_the_first_one_acknowledged(autojump_clock: object) -> None:
    target = MemoryTarget()
    async with standing_by(target, MemoryFiles()) as house:
        for number in range(20):
            await house.ledger.run(note, f"note {number}")
        await house.settle()
        for number in range(20, 40):
            await house.ledger.run(note, f"note {number}")
        await house.settle()
        key, sequence = await key_in(house.ledger), house.ledger.sequence
    second = await restore(target, key)
    assert second.notes == [f"note {number}" for number in range(40)]
    assert second.held == second.reader.newest == sequence
    assert second.reader.name == "home.example"


async def test_a_quiet_house_writes_nothing_and_sends_signs_of_life_only(
    autojump_clock: object,
) -> None:
    target = MemoryTarget()
    async with standing_by(target, MemoryFiles()) as house:
        await house.ledger.run(note, "one")
        await house.settle()
        sequence, writes = house.ledger.sequence, target.writes
        await trio.sleep(3600)
        assert house.ledger.sequence == sequence
        assert target.writes - writes <= 3600 / target.beat_s + 1
        assert set(target.logs[f"{BOX.hex()}/beat"]) == {"only"}


async def test_a_restart_goes_on_where_the_target_is_without_a_new_base(autojump_clock: object) -> None:
    target, files = MemoryTarget(), MemoryFiles()
    async with standing_by(target, files) as house:
        await house.settle()
        key, whole = await key_in(house.ledger), target.logs[f"{BOX.hex()}/whole"]
        await house.ledger.run(note, "start 0")
        await house.ledger.run(note_lazily, "0")
    for start in range(1, 4):
        async with standing_by(target, files) as house:
            await house.ledger.run(note, f"start {start}")
            await house.ledger.run(note_lazily, f"{start}")
    assert target.logs[f"{BOX.hex()}/whole"] == whole
    second = await restore(target, key)
    assert second.notes == [text for start in range(4) for text in (f"start {start}", f"lazy {start}")]
    assert second.starts == 4
    files.unregister()


async def test_a_power_cut_before_the_last_commits_were_sent_costs_nothing(autojump_clock: object) -> None:
    target, files = MemoryTarget(), MemoryFiles()
    async with standing_by(target, files) as house:
        await house.ledger.run(note, "sent")
        await house.settle()
        whole = target.logs[f"{BOX.hex()}/whole"]
        target.down = True
        await trio.sleep(30)
        await house.ledger.run(note, "not sent")
        cut = files.copy()
        key = await key_in(house.ledger)
    target.down = False
    assert (await restore(target, key)).notes == ["sent"]
    async with standing_by(target, cut) as house:
        await house.settle()
    assert target.logs[f"{BOX.hex()}/whole"] == whole
    assert (await restore(target, key)).notes == ["sent", "not sent"]
    cut.unregister()
    files.unregister()


async def test_without_the_target_the_house_goes_on_and_says_how_far_behind_the_copy_is(autojump_clock: object) -> None:
    target = MemoryTarget()
    target.down = True
    async with standing_by(target, MemoryFiles()) as house:
        for number in range(5):
            await house.ledger.run(note, f"{number}")
        await trio.sleep(100)
        status = house.standby.status()
        assert not status.connected
        assert status.fault == "nobody is there"
        assert status.newest - status.sent >= 5
        assert status.base is None
        target.down = False
        await trio.sleep(100)
        status = house.standby.status()
        assert status.connected
        assert not status.fault
        assert status.sent == status.newest == status.base
        assert status.behind_s == 0


async def test_a_clock_that_is_not_set_is_named_and_the_copy_follows_as_soon_as_it_is(autojump_clock: object) -> None:
    target = MemoryTarget()
    target.fault = ClockNotSetError("the clock is not set")
    async with standing_by(target, MemoryFiles()) as house:
        await house.ledger.run(note, "nobody knew the time")
        await trio.sleep(5000)
        status = house.standby.status()
        assert (status.connected, status.waits_for_clock, status.fault) == (False, True, "the clock is not set")
        target.fault = None
        await trio.sleep(3)
        assert house.standby.status().connected
        assert not house.standby.status().waits_for_clock
        await house.settle()
        key = await key_in(house.ledger)
    assert (await restore(target, key)).notes == ["nobody knew the time"]


async def test_a_slow_target_holds_nobody_up_and_gets_a_new_base(
    autojump_clock: object,
) -> None:
    target = MemoryTarget()
    async with standing_by(target, MemoryFiles()) as house:
        await house.ledger.run(note, "first")
        await house.settle()
        target.delay_s = 300
        for number in range(300):
            await house.ledger.run(note, f"{number}" + "x" * 20_000)
        assert house.standby.status().sent < house.ledger.sequence - 200
        target.delay_s = 0
        await trio.sleep(1000)
        await house.settle()
        key = await key_in(house.ledger)
    assert len((await restore(target, key)).notes) == 301


async def test_a_lost_answer_doubles_nothing(autojump_clock: object) -> None:
    target = MemoryTarget()
    async with standing_by(target, MemoryFiles()) as house:
        await house.settle()
        target.lose_answers = 1
        await house.ledger.run(note, "once")
        await trio.sleep(30)
        await house.settle()
        key = await key_in(house.ledger)
    assert (await restore(target, key)).notes == ["once"]


async def test_a_new_base_comes_when_the_commits_are_many_and_replaces_them(autojump_clock: object) -> None:
    target, files = MemoryTarget(), MemoryFiles()
    box = BOX.hex()
    async with standing_by(target, files, base_after_mib=1) as house:
        await house.settle()
        for number in range(900):
            await house.ledger.run(note, noise(number))
            if number % 100 == 99:
                await house.settle()
        await trio.sleep(300)
        held = sum(len(data) for log, found in target.logs.items() if "/frames/" in log for data in found.values())
        assert held < 1024 * 1024
        assert len([log for log in target.logs if log.startswith(f"{box}/base/")]) > 1
        for number in range(0, 900, 3):
            await house.ledger.run(forget, noise(number))
        await house.settle()
        key = await key_in(house.ledger)
    second = await restore(target, key)
    assert second.notes == [noise(number) for number in range(900) if number % 3]
    assert len([log for log in target.logs if "/picture/" in log]) == 1
    files.unregister()


async def test_files_follow_as_they_lie_on_flash_and_go_with_the_next_base(autojump_clock: object) -> None:
    target, folder = MemoryTarget(), MemoryFolder()
    async with standing_by(target, MemoryFiles(), folder, base_after_mib=1) as house:
        await house.keep_file("aa", b"sealed" * 3000)
        await house.keep_file("bb", b"small")
        await house.settle()
        key = await key_in(house.ledger)
        reader = (await restore(target, key)).reader
        assert await reader.file_ids() == ["aa", "bb"]
        assert b"".join([piece async for piece in reader.file("aa")]) == b"sealed" * 3000
        del folder.files["aa"]
        for number in range(600):
            await house.ledger.run(note, noise(number))
        await trio.sleep(300)
        assert await reader.file_ids() == ["bb"]
        assert not [log for log in target.logs if log.endswith("media/aa")]


async def test_a_folder_that_was_put_back_to_an_earlier_state_begins_a_new_chain(autojump_clock: object) -> None:
    target, files = MemoryTarget(), MemoryFiles()
    async with standing_by(target, files) as house:
        await house.ledger.run(note, "both")
        await house.settle()
    earlier = files.copy()
    async with standing_by(target, files) as house:
        await house.ledger.run(note, "one history")
        await house.settle()
        key = await key_in(house.ledger)
    assert (await restore(target, key)).notes == ["both", "one history"]
    async with standing_by(target, earlier) as house:
        for number in range(5):
            await house.ledger.run(note, f"another {number}")
        await house.settle()
    assert (await restore(target, key)).notes == ["both", *(f"another {number}" for number in range(5))]
    files.unregister()
    earlier.unregister()


async def test_what_breaks_while_the_house_ends_is_of_no_interest(autojump_clock: object) -> None:
    class Breaking(MemoryTarget):
        async def replace(self, log: str, data: bytes) -> None:
            try:
                await super().replace(log, data)
                await trio.sleep_forever()
            except trio.Cancelled:
                self.down = True
                raise KeyError("on the way out") from None

    async with standing_by(Breaking(), MemoryFiles()) as house:
        await house.ledger.run(note, "one")
        await trio.sleep(1)


async def test_another_writer_is_a_fault_and_no_fight(autojump_clock: object) -> None:
    target = MemoryTarget()
    target.another_writer = True
    async with standing_by(target, MemoryFiles()) as house:
        await trio.sleep(600)
        assert "another process" in house.standby.status().fault
        assert house.ledger.healthy


async def test_what_is_at_the_target_is_sealed(autojump_clock: object) -> None:
    target = MemoryTarget()
    async with standing_by(target, MemoryFiles()) as house:
        await house.ledger.run(note, "a secret word")
        await house.settle()
    everything = b"".join(data for found in target.logs.values() for data in found.values())
    assert b"secret" not in everything
    assert b"home.example" not in everything
