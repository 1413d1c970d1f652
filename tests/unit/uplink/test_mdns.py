from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MDNS_ANSWERS_BURST, MDNS_ANSWERS_PER_S, MDNS_TOKENS_BURST, MDNS_TOKENS_PER_S
from relay.uplink.dns_message import (
    ANY,
    NSEC,
    PTR,
    SRV,
    A,
    DnsMessageError,
    Message,
    Name,
    Question,
    Record,
    pack_message,
    pack_name,
    read_message,
)
from relay.uplink.mdns import PORT, Outgoing, Responder
from relay.uplink.zone import Names, Service

KIND: Name = (b"_doorstep", b"_tcp", b"local")
ASK_KIND = Question(KIND, PTR)
ASKER = ("192.0.2.99", PORT)


class Host:
    """One machine on the link: its responder, and what it said by multicast with the time."""

    def __init__(self, link: "Link", address: str, host: str, instance: str, port: int, draw: float) -> None:
        draws = cycle([draw])
        self.address = address
        self.names = Names(host, instance)
        self.said: list[tuple[float, Message]] = []
        self.responder = Responder(
            self.names,
            [Service("_doorstep", port, (f"server={host}",))],
            [address],
            link.now_s,
            draw=lambda: next(draws),
            own=[address],
        )


class Link:
    """A network on which multicast reaches everybody, the sender too, at once."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.hosts: list[Host] = []

    def add(
        self, number: int, host: str = "box", instance: str = "Doorstep", *, port: int = 443, draw: float = 0.5
    ) -> Host:
        self.hosts.append(Host(self, f"192.0.2.{number}", host, instance, port, draw))
        return self.hosts[-1]

    def live(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while True:
            due_s = min((host.responder.due_s for host in self.hosts), default=until_s + 1)
            if due_s > until_s:
                self.now_s = until_s
                return
            self.now_s = max(self.now_s, due_s)
            for host in self.hosts:
                self.deliver(host, host.responder.send(self.now_s))

    def deliver(self, sender: Host, outgoing: list[Outgoing]) -> None:
        for datagram in outgoing:
            if datagram.to is not None:
                continue
            sender.said.append((self.now_s, read_message(datagram.data)))
            for host in self.hosts:
                answers = host.responder.receive(datagram.data, (sender.address, PORT), self.now_s)
                self.deliver(host, answers)

    def ask(self, host: Host, message: Message, source: tuple[str, int] = ASKER) -> list[Message]:
        """Return what `host` says to a query: at once, and within the next 600 ms."""
        begun = len(host.said)
        out = host.responder.receive(pack_message(message), source, self.now_s)
        self.deliver(host, out)
        self.live(0.6)
        alone = [read_message(datagram.data) for datagram in out if datagram.to is not None]
        return alone + [message for _, message in host.said[begun:]]


def settled() -> tuple[Link, Host]:
    link = Link()
    host = link.add(1)
    link.live(10)
    return link, host


def kinds(messages: list[Message]) -> list[int]:
    return sorted(record.kind for message in messages for record in message.answers)


def test_names_are_probed_for_three_times_and_announced_twice() -> None:
    _, host = settled()
    probes = [(at_s, message) for at_s, message in host.said if not message.response]
    told = [(at_s, message) for at_s, message in host.said if message.response]
    assert [round(at_s, 3) for at_s, _ in probes] == [0.125, 0.375, 0.625]
    for _, probe in probes:
        assert {question.name for question in probe.questions} == {(b"box", b"local"), (b"Doorstep", *KIND)}
        assert {question.kind for question in probe.questions} == {ANY}
        assert {record.kind for record in probe.authorities} == {A, SRV, 16}
    assert [round(at_s, 3) for at_s, _ in told] == [0.875, 1.875]
    assert kinds([told[0][1]]) == [A, PTR, PTR, 16, SRV]
    assert host.responder.established


def test_a_question_is_answered_with_everything_that_would_be_asked_next() -> None:
    link, host = settled()
    asked_s = link.now_s
    (answer,) = link.ask(host, Message(questions=(ASK_KIND,)))
    assert [record.kind for record in answer.answers] == [PTR]
    assert {record.kind for record in answer.additionals} == {SRV, 16, A}
    # Others may have answers to this question, too: some chance keeps them apart.
    assert 0.02 <= host.said[-1][0] - asked_s <= 0.12


def test_a_unique_record_is_told_at_once_but_not_twice_within_a_second() -> None:
    link, host = settled()
    question = Message(questions=(Question((b"box", b"local"), A),))
    assert kinds(link.ask(host, question)) == [A]
    assert link.ask(host, question) == []
    link.live(1)
    assert kinds(link.ask(host, question)) == [A]
    assert kinds(link.ask(host, Message(questions=(Question((b"BOX", b"LOCAL"), 99),)))) == [NSEC]
    assert link.ask(host, Message(questions=(Question((b"other", b"local"), A),))) == []


@pytest.mark.parametrize(("ttl_s", "answers"), [(4500, 0), (2250, 0), (2249, 1)])
def test_what_the_asker_knows_for_half_its_life_at_least_is_not_told(ttl_s: int, answers: int) -> None:
    link, host = settled()
    known = Record(KIND, PTR, pack_name((b"Doorstep", *KIND)), ttl_s)
    assert len(link.ask(host, Message(questions=(ASK_KIND,), answers=(known,)))) == answers


def test_known_answers_may_follow_in_further_packets() -> None:
    link, host = settled()
    known = Record(KIND, PTR, pack_name((b"Doorstep", *KIND)), 4500)
    asked_s = link.now_s
    for more, answers in ((), 1), ((known,), 0):
        link.live(2)
        begun, asked_s = len(host.said), link.now_s
        query = pack_message(Message(truncated=True, questions=(ASK_KIND,)))
        assert host.responder.receive(query, ASKER, link.now_s) == []
        link.live(0.2)
        host.responder.receive(pack_message(Message(answers=tuple(more))), ASKER, link.now_s)
        link.live(1)
        assert len(host.said) - begun == answers
        if answers:
            assert host.said[-1][0] - asked_s >= 0.4


def test_a_unicast_answer_is_given_to_one_while_everybody_else_heard_it_lately() -> None:
    link, host = settled()
    question = Message(questions=(Question((b"box", b"local"), A, unicast=True),))
    begun = len(host.said)
    assert kinds(link.ask(host, question)) == [A]
    assert len(host.said) == begun
    # A quarter of the time to live later everybody has it again.
    link.live(31)
    assert kinds(link.ask(host, question)) == [A]
    assert len(host.said) == begun + 1


def test_a_resolver_that_knows_no_multicast_is_answered_like_by_a_name_server() -> None:
    link, host = settled()
    query = Message(number=4711, questions=(Question((b"box", b"local"), A, unicast=True),))
    (answer,) = link.ask(host, query, ("192.0.2.99", 40_000))
    assert (answer.number, answer.questions) == (4711, (Question((b"box", b"local"), A),))
    assert [(record.ttl_s, record.flush) for record in answer.answers] == [(10, False)]
    assert link.ask(host, Message(questions=(Question((b"x", b"local"), A),)), ("192.0.2.99", 40_000)) == []


def test_whoever_comes_later_takes_another_name() -> None:
    link, host = settled()
    other = link.add(2, port=8443)
    link.live(10)
    assert (host.names.host[0], host.names.instance) == (b"box", b"Doorstep")
    assert (other.names.host[0], other.names.instance) == (b"box-2", b"Doorstep (2)")
    assert host.responder.established
    assert other.responder.established


@pytest.mark.parametrize("draws", [(0.5, 0.5), (0.1, 0.9), (0.9, 0.1)])
def test_two_that_start_at_once_agree_who_keeps_the_name(draws: tuple[float, float]) -> None:
    link = Link()
    hosts = [link.add(number, port=number, draw=draw) for number, draw in enumerate(draws, 1)]
    link.live(20)
    assert {host.names.host[0] for host in hosts} == {b"box", b"box-2"}
    assert {host.names.instance for host in hosts} == {b"Doorstep", b"Doorstep (2)"}
    assert all(host.responder.established for host in hosts)


def test_five_boxes_of_one_name_find_five_names() -> None:
    link = Link()
    hosts = [link.add(number, port=number, draw=number / 10) for number in range(1, 6)]
    link.live(60)
    assert len({host.names.host for host in hosts}) == 5
    assert len({host.names.instance for host in hosts}) == 5


def test_the_same_box_on_another_interface_is_no_conflict() -> None:
    link = Link()
    names = Names("box", "Doorstep")
    hosts = [link.add(number) for number in (1, 2)]
    for number, host in enumerate(hosts, 1):
        host.names = names
        host.responder = Responder(
            names,
            [Service("_doorstep", 443)],
            [f"192.0.2.{number}"],
            0.0,
            draw=lambda: 0.5,
            own=["192.0.2.1", "192.0.2.2"],
        )
    link.live(20)
    assert names.version == 0


def test_a_name_that_is_contested_later_is_probed_for_again() -> None:
    link, host = settled()
    begun = len(host.said)
    theirs = Record((b"box", b"local"), A, bytes([192, 0, 2, 77]), 120, flush=True)
    host.responder.receive(pack_message(Message(response=True, answers=(theirs,))), ("192.0.2.77", PORT), link.now_s)
    link.live(10)
    # Nobody defended it: it stays.
    assert [message.response for _, message in host.said[begun:]] == [False] * 3 + [True] * 2
    assert host.names.host[0] == b"box"


def test_what_is_said_before_the_first_probe_takes_no_name() -> None:
    link = Link()
    host = link.add(1)
    stale = Record((b"box", b"local"), A, bytes([192, 0, 2, 9]), 120, flush=True)
    host.responder.receive(pack_message(Message(response=True, answers=(stale,))), ASKER, link.now_s)
    link.live(0.2)
    assert host.names.host == (b"box", b"local")
    host.responder.receive(pack_message(Message(response=True, answers=(stale,))), ASKER, link.now_s)
    assert host.names.host == (b"box-2", b"local")


def test_goodbyes_and_strangers_from_other_ports_are_no_conflicts() -> None:
    link, host = settled()
    begun = len(host.said)
    gone = Record((b"box", b"local"), A, bytes([192, 0, 2, 77]), 0, flush=True)
    host.responder.receive(pack_message(Message(response=True, answers=(gone,))), ("192.0.2.77", PORT), link.now_s)
    theirs = Record((b"box", b"local"), A, bytes([192, 0, 2, 77]), 120, flush=True)
    host.responder.receive(pack_message(Message(response=True, answers=(theirs,))), ("192.0.2.77", 99), link.now_s)
    link.live(10)
    assert len(host.said) == begun


def test_another_address_is_announced() -> None:
    link, host = settled()
    begun = len(host.said)
    host.responder.set_addresses(["192.0.2.1"], ["192.0.2.1"], link.now_s)
    link.live(5)
    assert len(host.said) == begun
    host.responder.set_addresses(["192.0.2.5"], ["192.0.2.5"], link.now_s)
    link.live(5)
    told = [message for _, message in host.said[begun:]]
    assert len(told) == 2
    assert bytes([192, 0, 2, 5]) in {record.data for record in told[0].answers}


def test_what_was_said_is_taken_back_in_the_end() -> None:
    link, host = settled()
    last = read_message(host.responder.goodbye())
    assert kinds([last]) == [A, PTR, PTR, 16, SRV]
    assert {record.ttl_s for record in last.answers} == {0}
    link.add(2, host="other", instance="Other")
    assert link.hosts[1].responder.goodbye() == b""


def test_an_idle_hour_says_nothing() -> None:
    link, host = settled()
    begun = len(host.said)
    link.live(3600)
    assert len(host.said) == begun


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_hostile_datagrams_are_refused_or_change_nothing(datagrams: list[bytes]) -> None:
    link, host = settled()
    for data in datagrams:
        for hostile in (data, bytes(4) + b"\0\1\0\1\0\0\0\0" + data):
            try:
                host.responder.receive(hostile, ASKER, link.now_s)
            except DnsMessageError:
                continue
    assert host.responder.established


def test_a_flood_of_questions_is_held_within_bounds() -> None:
    link, host = settled()
    query = pack_message(Message(truncated=True, questions=(ASK_KIND,)))
    for number in range(500):
        host.responder.receive(query, (f"192.0.2.{number % 250}", PORT), link.now_s)
    assert len(host.responder._waiting) <= 64
    begun = len(host.said)
    link.live(5)
    assert len(host.said) - begun == 1


def flood(host: Host, message: Message, source: tuple[str, int], begun_s: float, seconds: int) -> tuple[int, int]:
    """Give `host` a thousand datagrams a second, as its listener does; return how many it read, and answered."""
    data, read, answered = pack_message(message), 0, 0
    for number in range(1000 * seconds):
        now_s = begun_s + number / 1000
        if host.responder.deaf_for_s(now_s):
            continue
        read += 1
        answered += len(host.responder.receive(data, source, now_s)) + len(host.responder.send(now_s))
    return read, answered


@pytest.mark.parametrize("port", [PORT, 40_000])
@pytest.mark.parametrize("unicast", [False, True])
def test_a_flood_of_questions_is_read_and_answered_at_a_bounded_rate(port: int, unicast: bool) -> None:
    link, host = settled()
    question = Message(questions=(Question((b"box", b"local"), A, unicast=unicast),))
    read, answered = flood(host, question, ("192.0.2.99", port), link.now_s, 20)
    assert 20 * 40 < read <= MDNS_TOKENS_BURST + 20 * MDNS_TOKENS_PER_S
    assert 19 < answered <= MDNS_ANSWERS_BURST + 20 * MDNS_ANSWERS_PER_S
    if port == PORT and not unicast:
        # By multicast once a second, whoever asks (section 6).
        assert answered <= 21


def test_a_datagram_of_many_records_costs_as_much_as_many_datagrams() -> None:
    link, host = settled()
    many = Message(questions=(Question((b"box", b"local"), ANY),) * 400)
    read, _ = flood(host, many, ASKER, link.now_s, 20)
    assert read <= (MDNS_TOKENS_BURST + 20 * MDNS_TOKENS_PER_S) / 25


def test_a_name_is_defended_in_the_middle_of_a_flood_and_others_questions_use_nothing_up() -> None:
    link, host = settled()
    elsewhere = Message(questions=(Question((b"_printer", b"_tcp", b"local"), PTR),))
    assert flood(host, elsewhere, ASKER, link.now_s, 2)[1] == 0
    now_s = link.now_s + 10
    ours = pack_message(Message(questions=(Question((b"box", b"local"), A, unicast=True),)))
    while host.responder.receive(ours, ASKER, now_s):
        pass
    probe = Message(
        questions=(Question((b"box", b"local"), ANY),), authorities=(Record((b"box", b"local"), A, bytes(4), 120),)
    )
    (defence,) = host.responder.receive(pack_message(probe), ASKER, now_s + 1)
    assert A in kinds([read_message(defence.data)])
