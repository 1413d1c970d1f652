"""The rules for `m.room.member`: rule 4 of room versions 6 to 11, rule 5 of 12, "Authorization rules"."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from relay.base.errors import InvalidInputError
from relay.core.matrix import canonical_json
from relay.core.matrix.events import Event
from relay.core.matrix.power_levels import CREATE_KEY, PowerLevels, State
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.rule_parts import JOIN_RULES_KEY, THIRD_PARTY_INVITE, membership_of, refuse
from relay.core.matrix.signing import SignatureError, check_signature, parse_verify_key


def check_member(event: Event, state: State) -> None:
    """Check a change of membership.

    The signature of the server that vouches for a restricted join is `signing.verify_event`'s matter.

    Raises:
        NotAllowedError: the rules refuse it.
    """
    target, membership = event.state_key, event.content.get("membership")
    if target is None or not isinstance(membership, str):
        refuse("a member event needs a state key and a membership")
    rule = _RULES.get(membership)
    if rule is None:
        refuse("unknown membership")
    rule(event, target, state)


def _join(event: Event, target: str, state: State) -> None:
    voucher = event.content.get("join_authorised_via_users_server", "@:")
    if event.version.restricted_joins and (not isinstance(voucher, str) or ":" not in voucher):
        refuse("no server can have vouched for this join")
    create = state.get(CREATE_KEY)
    if create is not None and event.prev_events == (create.event_id,) and target == _founder(create):
        return
    if event.sender != target:
        refuse("nobody joins for somebody else")
    current = membership_of(state, target)
    if current == "ban":
        refuse("a banned user cannot join")
    join_rule = _join_rule(state)
    if join_rule == "public":
        return
    if not isinstance(join_rule, str) or join_rule not in _rules_for_some(event.version):
        refuse("the join rule lets nobody in")
    if current in ("invite", "join"):
        return
    if join_rule in ("invite", "knock"):
        refuse("joining needs an invitation")
    _check_voucher(event, state)


def _rules_for_some(version: RoomVersion) -> set[str]:
    """Return the join rules that let in only some."""
    rules = {"invite"}
    if version.knocking:
        rules.add("knock")
    if version.restricted_joins:
        rules.add("restricted")
    if version.knock_restricted_joins:
        rules.add("knock_restricted")
    return rules


def _check_voucher(event: Event, state: State) -> None:
    voucher = event.content.get("join_authorised_via_users_server")
    if not isinstance(voucher, str):
        refuse("a restricted join names nobody who vouches for it")
    if membership_of(state, voucher) != "join":
        refuse("who vouches for a restricted join is not in the room")
    levels = PowerLevels.of(state, event.version)
    if levels.level_of(voucher) < levels.invite:
        refuse("who vouches for a restricted join may not invite")


def _invite(event: Event, target: str, state: State) -> None:
    current = membership_of(state, target)
    if "third_party_invite" in event.content:
        if current == "ban":
            refuse("a banned user cannot be invited")
        _check_third_party(event, target, state)
        return
    _sender_is_in(event, state)
    if current in ("join", "ban"):
        refuse("somebody joined or banned cannot be invited")
    levels = PowerLevels.of(state, event.version)
    if levels.level_of(event.sender) < levels.invite:
        refuse("the sender may not invite")


def _check_third_party(event: Event, target: str, state: State) -> None:
    claim = event.content["third_party_invite"]
    signed = claim.get("signed") if isinstance(claim, Mapping) else None
    if not isinstance(signed, Mapping) or "mxid" not in signed or not isinstance(signed.get("token"), str):
        refuse("a third-party invite has no signed part with mxid and token")
    if signed["mxid"] != target:
        refuse("a third-party invite is for somebody else")
    promise = state.get((THIRD_PARTY_INVITE, signed["token"]))
    if promise is None or promise.sender != event.sender:
        refuse("nobody, or somebody else, promised this third-party invite")
    signatures = list(_texts_of(signed.get("signatures")))
    data = canonical_json.encode({key: signed[key] for key in signed if key not in ("signatures", "unsigned")})
    for public_key in _public_keys(promise.content):
        try:
            key = parse_verify_key(public_key)
        except InvalidInputError:
            continue
        for signature in signatures:
            try:
                check_signature(data, signature, key)
            except SignatureError:
                continue
            return
    refuse("no signature of a third-party invite is by a promised key")


def _texts_of(signatures: object) -> Iterator[object]:
    for entry in signatures.values() if isinstance(signatures, Mapping) else ():
        for key_id, signature in entry.items() if isinstance(entry, Mapping) else ():
            if key_id.startswith("ed25519:"):
                yield signature


def _public_keys(content: Mapping[str, Any]) -> Iterator[object]:
    yield content.get("public_key")
    more = content.get("public_keys")
    for entry in more if isinstance(more, list) else ():
        if isinstance(entry, Mapping):
            yield entry.get("public_key")


def _leave(event: Event, target: str, state: State) -> None:
    current = membership_of(state, target)
    if event.sender == target:
        if current not in ("invite", "join") and not (current == "knock" and event.version.knocking):
            refuse("who is not in the room cannot leave it")
        return
    _sender_is_in(event, state)
    levels = PowerLevels.of(state, event.version)
    own = levels.level_of(event.sender)
    if current == "ban" and own < levels.ban:
        refuse("the sender may not unban")
    if own < levels.kick or levels.level_of(target) >= own:
        refuse("the sender may not remove this user")


def _ban(event: Event, target: str, state: State) -> None:
    _sender_is_in(event, state)
    levels = PowerLevels.of(state, event.version)
    own = levels.level_of(event.sender)
    if own < levels.ban or levels.level_of(target) >= own:
        refuse("the sender may not ban this user")


def _knock(event: Event, target: str, state: State) -> None:
    if not event.version.knocking:
        refuse("this room version knows no knocking")
    join_rule = _join_rule(state)
    if join_rule != "knock" and not (join_rule == "knock_restricted" and event.version.knock_restricted_joins):
        refuse("the join rule knows no knocking")
    if event.sender != target:
        refuse("nobody knocks for somebody else")
    if membership_of(state, target) in ("ban", "invite", "join"):
        refuse("who is banned, invited or joined cannot knock")


_RULES: Final[dict[str, Callable[[Event, str, State], None]]] = {
    "join": _join,
    "invite": _invite,
    "leave": _leave,
    "ban": _ban,
    "knock": _knock,
}


def _sender_is_in(event: Event, state: State) -> None:
    if membership_of(state, event.sender) != "join":
        refuse("the sender is not in the room")


def _join_rule(state: State) -> object:
    event = state.get(JOIN_RULES_KEY)
    return "invite" if event is None else event.content.get("join_rule", "invite")


def _founder(create: Event) -> object:
    """The one whose first join needs no rule; additional creators are not meant."""
    return create.sender if create.version.creator_is_sender else create.content.get("creator")
