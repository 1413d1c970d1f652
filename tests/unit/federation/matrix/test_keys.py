from relay.base.ids import ServerName
from relay.core.matrix.signing import generate, verify_json
from relay.federation.matrix.keys import OwnKeys
from relay.rooms.matrix.server_keys import read_key_object
from tests.fakes.clock import FakeClock
from tests.fakes.http import answer_json, make_request

HERE = ServerName("box.example")
KEY, OLD, NEW = generate(b"k" * 32, "a1"), generate(b"o" * 32, "a0"), generate(b"n" * 32, "a2")


async def test_the_published_keys_are_what_another_box_believes() -> None:
    clock = FakeClock(tick_ms=0)
    own = OwnKeys(HERE, KEY, [(OLD, 5)], clock)
    published = await answer_json(await own.answer(make_request("GET", "/_matrix/key/v2/server")))
    verify_json(published, HERE, {KEY.key_id: KEY.verify_key})
    valid_until_ms = clock.now_ms + 24 * 3600 * 1000
    assert read_key_object(published, HERE) == {
        KEY.key_id: (KEY.public, valid_until_ms, False),
        OLD.key_id: (OLD.public, 5, True),
    }
