from typing import Any, cast

from relay.base.ids import ServerName
from relay.federation.matrix.client.client import FederationClient
from relay.federation.matrix.client.outlet import MatrixOutlet

OMA = ServerName("oma.example")


class Recorder:
    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    async def put(self, *args: Any, **_options: Any) -> dict[str, Any]:
        self.asked.append(args)
        return self.answer


async def test_a_transaction_is_one_put_with_everything_in_it() -> None:
    recorder = Recorder({"pdus": {}})
    outlet = MatrixOutlet(cast("FederationClient", recorder), ServerName("box.example"))
    assert await outlet.send(OMA, "1.2", [{"type": "a"}], [{"edu_type": "b"}], 5) == {"pdus": {}}
    await outlet.send(OMA, "1.3", [], [], 6)
    both: dict[str, Any] = {"origin": "box.example", "origin_server_ts": 5, "pdus": [{"type": "a"}]}
    assert recorder.asked == [
        (OMA, "/_matrix/federation/v1/send/1.2", {**both, "edus": [{"edu_type": "b"}]}),
        (OMA, "/_matrix/federation/v1/send/1.3", {"origin": "box.example", "origin_server_ts": 6, "pdus": []}),
    ]
