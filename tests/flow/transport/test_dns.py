import functools
import socket

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio

from relay.base.errors import UnreachableError
from relay.transport.names import DnsResolver, Resolver, Service
from tests.fakes.names import FakeResolver

RECORDS = {"_matrix-fed._tcp.a.example": [Service("srv.a.example", 8448, 10, 5), Service("two.a.example", 443, 20, 0)]}


async def name_server(*, task_status: trio.TaskStatus[int]) -> None:
    """Answer SRV questions from RECORDS, others with NXDOMAIN, those for broken.example with SERVFAIL."""
    bound = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with bound:
        await bound.bind(("127.0.0.1", 0))
        task_status.started(bound.getsockname()[1])
        while True:
            data, asker = await bound.recvfrom(4096)
            question = dns.message.from_wire(data)
            name = question.question[0].name.to_text(omit_final_dot=True)
            answer = dns.message.make_response(question)
            if "broken" in name:
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif name in RECORDS:
                texts = [f"{r.priority} {r.weight} {r.port} {r.host}." for r in RECORDS[name]]
                answer.answer.append(dns.rrset.from_text_list(name + ".", 60, "IN", "SRV", texts))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            await bound.sendto(answer.to_wire(), asker)


async def check(resolver: Resolver) -> None:
    """What every resolver does."""
    found = await resolver.services("_matrix-fed._tcp.a.example")
    assert sorted(found, key=lambda service: service.priority) == RECORDS["_matrix-fed._tcp.a.example"]
    assert await resolver.services("_matrix._tcp.a.example") == []


async def test_the_fake_and_the_real_resolver_agree() -> None:
    await check(FakeResolver(RECORDS))
    async with trio.open_nursery() as nursery:
        port = await nursery.start(functools.partial(name_server))
        resolver = DnsResolver(("127.0.0.1", port))
        await check(resolver)
        with pytest.raises(UnreachableError):
            await resolver.services("_matrix._tcp.broken.example")
        nursery.cancel_scope.cancel()
