import pytest

from relay.base.networks import parse_networks
from relay.transport.forwarded import Forwarding
from relay.transport.message import Headers, Request, Response

PROXY = "10.0.0.1"


async def show_address(request: Request) -> Response:
    return Response(200, body=request.address.encode())


def request(*hops: str, scheme: str = "https") -> Request:
    fields = [(b"X-Forwarded-For", hop.encode()) for hop in hops]
    return Request("GET", "/", Headers([*fields, (b"X-Forwarded-Proto", scheme.encode())]), address=PROXY)


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["10.9.9.9, 198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (["2001:db8:0::7"], "2001:db8::7"),
        (["10.0.0.3"], "10.0.0.3"),
        (["<script>"], PROXY),
        (["198.51.100.7, unknown"], PROXY),
        (["<script>, 10.0.0.2"], "10.0.0.2"),
        ([], PROXY),
    ],
)
async def test_the_nearest_hop_that_is_no_proxy_of_ours_is_the_address(hops: list[str], address: str) -> None:
    forwarding = Forwarding(parse_networks("x.y", "10.0.0.0/29"))
    answer = await forwarding.around(show_address)(request(*hops))
    assert answer.body == address.encode()
    assert (forwarding.named, forwarding.unnamed) == ((0, 1) if address == PROXY else (1, 0))


async def test_requests_that_reached_the_proxy_without_tls_are_counted() -> None:
    forwarding = Forwarding(parse_networks("x.y", PROXY))
    for scheme in ("https", "http"):
        await forwarding.around(show_address)(request("198.51.100.7", scheme=scheme))
    assert forwarding.plain == 1
