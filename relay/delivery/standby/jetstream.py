"""A standby's target in a JetStream stream: one subject a log, in the order of the stream.

Source: the NATS documentation, "NATS API Reference" and "Headers"; ADR-31, "JetStream Direct Get". Order, duplicates
and a second writer are the stream's business: every message has an id and names the one it follows.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import orjson

from relay.base.errors import PeerRefusedError, UnreachableError
from relay.base.limits import KIB, MIB, STANDBY_ANSWER_TIMEOUT_S
from relay.delivery.standby.target import AnotherWriterError
from relay.transport.nats_client import NatsClient
from relay.transport.wire.nats import Message

_API = "$JS.API"
_WRONG_LAST_SEQUENCE = 10071
_HEADERS_BYTES = 512
_PAGE_MESSAGES = 256
_PAGE_BYTES = 2 * MIB
_DUPLICATES_NS = 120_000_000_000
_NOT_FOUND, _END = 404, 204


class JetStreamTarget:
    """Implements `Target`; subjects are `stream.log` with dots between the parts."""

    pause_s = 0.0
    beat_s = 10.0

    def __init__(self, client: NatsClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._ends: dict[str, int] = {}
        # The stream remembers the ids of messages that were purged: what is sent anew afterwards is no duplicate.
        self._round = secrets.token_hex(4)
        # A base goes over the same connection as the commits: small pieces let those through.
        self.piece_bytes = min(128 * KIB, client.max_payload_bytes - _HEADERS_BYTES)

    async def open(self) -> None:
        """Find the stream, or make it.

        Raises:
            PeerRefusedError: it would lose messages by itself, or is not ours to use.
        """
        answer = await self._api(f"STREAM.INFO.{self._stream}")
        if _code(answer) == _NOT_FOUND:
            answer = await self._api(f"STREAM.CREATE.{self._stream}", self._wanted())
        config = _checked(answer, "the stream").get("config")
        if not isinstance(config, dict):
            raise PeerRefusedError("JetStream does not say how the stream is kept")
        self._look_at(config)

    async def append(self, log: str, entry: str, data: bytes) -> None:
        """Publish behind the last message of the subject; see `Target`."""
        subject = self._subject(log)
        if subject not in self._ends:
            last = await self._get({"last_by_subj": subject})
            self._ends[subject] = _sequence(last) if last is not None else 0
        message_id = f"{self._round}/{log}/{entry}"
        headers = [("Nats-Msg-Id", message_id), ("Nats-Expected-Last-Subject-Sequence", str(self._ends[subject]))]
        answer = await self._publish(subject, data, headers)
        if _error(answer).get("err_code") == _WRONG_LAST_SEQUENCE:
            # An answer may have been lost: then the message that stands there is ours.
            last = await self._get({"last_by_subj": subject})
            if last is None or last.header("Nats-Msg-Id") != message_id:
                raise AnotherWriterError("another process writes this box's stream: is a copy of it running?")
            self._ends[subject] = _sequence(last)
            return
        self._ends[subject] = _number(_checked(answer, "the message").get("seq"))

    async def replace(self, log: str, data: bytes) -> None:
        """Publish, and roll everything before it up; see `Target`."""
        subject = self._subject(log)
        _checked(await self._publish(subject, data, [("Nats-Rollup", "sub")]), "the message")
        self._ends.pop(subject, None)

    async def page(self, log: str, mark: str) -> tuple[list[bytes], str]:
        """Get the next messages in one request; see `Target`."""
        wanted = {"seq": int(mark or 1), "next_by_subj": self._subject(log)}
        wanted |= {"batch": _PAGE_MESSAGES, "max_bytes": _PAGE_BYTES}
        found: list[bytes] = []
        async with self._client.ask(
            f"{_API}.DIRECT.GET.{self._stream}", orjson.dumps(wanted), timeout_s=STANDBY_ANSWER_TIMEOUT_S
        ) as answers:
            while True:
                message = await answers.next()
                if message.status in (_NOT_FOUND, _END):
                    return found, mark
                _refuse_status(message)
                found.append(message.payload)
                mark = str(_sequence(message) + 1)
                # COMPAT nats-server before 2.11: it knows no batches and answers with one message.
                if message.header("Nats-Num-Pending") is None:
                    return found, mark

    async def last(self, log: str) -> bytes | None:
        """Get the last message of the subject; see `Target`."""
        message = await self._get({"last_by_subj": self._subject(log)})
        return message.payload if message is not None else None

    async def names(self, within: str) -> list[str]:
        """Ask for the subjects below; see `Target`."""
        above = f"{self._stream}.{within.replace('/', '.')}." if within else f"{self._stream}."
        found: set[str] = set()
        offset = 0
        while True:
            wanted = {"subjects_filter": f"{above}>", "offset": offset}
            answer = _checked(await self._api(f"STREAM.INFO.{self._stream}", wanted), "the stream")
            state = answer.get("state")
            subjects = state.get("subjects") if isinstance(state, dict) else None
            if not isinstance(subjects, dict) or not subjects:
                return sorted(found)
            found |= {subject.removeprefix(above).partition(".")[0] for subject in subjects}
            offset += len(subjects)
            if offset >= _number(answer.get("total", 0)):
                return sorted(found)

    async def remove(self, log: str) -> None:
        """Purge the subject and those below; see `Target`."""
        subject = self._subject(log)
        for pattern in (subject, f"{subject}.>"):
            answer = await self._api(f"STREAM.PURGE.{self._stream}", {"filter": pattern})
            _checked(answer, "the purge")
        self._ends.clear()
        self._round = secrets.token_hex(4)

    def _subject(self, log: str) -> str:
        return f"{self._stream}.{log.replace('/', '.')}"

    def _wanted(self) -> dict[str, Any]:
        return {
            "name": self._stream,
            "subjects": [f"{self._stream}.>"],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "num_replicas": 1,
            "duplicate_window": _DUPLICATES_NS,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
        }

    def _look_at(self, config: Mapping[str, Any]) -> None:
        """Refuse a stream that somebody else made for something else."""
        loses = [
            config.get("retention") != "limits",
            bool(config.get("max_age")),
            config.get("max_msgs_per_subject", -1) > 0,
            config.get("discard") != "new" and (config.get("max_bytes", -1) > 0 or config.get("max_msgs", -1) > 0),
        ]
        if any(loses):
            raise PeerRefusedError(f"the stream {self._stream} drops messages by age, number or interest")
        if not config.get("allow_direct") or not config.get("allow_rollup_hdrs") or config.get("deny_purge"):
            raise PeerRefusedError(f"the stream {self._stream} needs allow_direct, allow_rollup_hdrs, and purging")
        if f"{self._stream}.>" not in config.get("subjects", ()):
            raise PeerRefusedError(f"the stream {self._stream} does not take {self._stream}.>")

    async def _publish(self, subject: str, data: bytes, headers: list[tuple[str, str]]) -> dict[str, Any]:
        headers = [*headers, ("Nats-Expected-Stream", self._stream)]
        answer = await self._client.request(subject, data, headers=headers, timeout_s=STANDBY_ANSWER_TIMEOUT_S)
        return _parse(answer.payload)

    async def _api(self, name: str, wanted: Mapping[str, Any] | None = None) -> dict[str, Any]:
        payload = orjson.dumps(wanted) if wanted is not None else b""
        answer = await self._client.request(f"{_API}.{name}", payload, timeout_s=STANDBY_ANSWER_TIMEOUT_S)
        return _parse(answer.payload)

    async def _get(self, wanted: Mapping[str, Any]) -> Message | None:
        message = await self._client.request(
            f"{_API}.DIRECT.GET.{self._stream}", orjson.dumps(wanted), timeout_s=STANDBY_ANSWER_TIMEOUT_S
        )
        if message.status == _NOT_FOUND:
            return None
        _refuse_status(message)
        return message


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(payload)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise UnreachableError("JetStream answered what is no JSON object")
    return answer


def _error(answer: Mapping[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    return error if isinstance(error, dict) else {}


def _code(answer: Mapping[str, Any]) -> int:
    return _number(_error(answer).get("code", 0))


def _checked(answer: dict[str, Any], what: str) -> dict[str, Any]:
    """Return `answer`; what JetStream refuses now and may take later is unreachable, the rest is refused."""
    error = _error(answer)
    if not error:
        return answer
    said = f"JetStream refused {what}: {str(error.get('description'))[:200]}"
    if _code(answer) in (408, 500, 503):
        raise UnreachableError(said)
    raise PeerRefusedError(said)


def _refuse_status(message: Message) -> None:
    if message.status:
        raise PeerRefusedError(f"JetStream refused a read: {message.status} {message.description[:100]}")


def _sequence(message: Message) -> int:
    return _number(message.header("Nats-Sequence"))


def _number(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise UnreachableError("JetStream answered without a number where one belongs") from None
