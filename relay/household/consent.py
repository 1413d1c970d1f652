"""A stranger asks first: whom the household lets invite and speak to it.

Client-server API, "Ignoring Users" and "Invite permission" (v1.18).
"""

from relay.base.ids import UserId
from relay.core import consent
from relay.household import account_data, accounts
from relay.household.faults import InviteBlockedError
from relay.store.ledger import Index

IGNORED = "m.ignored_user_list"
INVITE_PERMISSION = "m.invite_permission_config"


def ignored_users(index: Index, user: UserId) -> frozenset[UserId]:
    """Return whom `user` ignores: their messages and invites are not shown."""
    listed = (account_data.get(index, user, None, IGNORED) or {}).get("ignored_users")
    return frozenset(UserId(name) for name in listed) if isinstance(listed, dict) else frozenset()


def blocks_invites(index: Index, user: UserId) -> bool:
    """Return whether `user` takes no invites at all."""
    return (account_data.get(index, user, None, INVITE_PERMISSION) or {}).get("default_action") == "block"


def decide_invite(index: Index, invited: UserId, sender: UserId) -> consent.Decision:
    """Return what happens to an invite for a person of this box; nothing is fetched or joined in any case."""
    return consent.decide_invite(
        is_active=accounts.is_active(index, invited),
        blocks_invites=blocks_invites(index, invited),
        ignores_sender=sender in ignored_users(index, invited),
    )


def check_invite(index: Index, invited: UserId, sender: UserId) -> None:
    """Let an invite pass that may be stored, shown or not.

    Raises:
        InviteBlockedError: the invited person takes none (`M_INVITE_BLOCKED`), or is not here any more.
    """
    if decide_invite(index, invited, sender) is consent.Decision.REFUSE:
        raise InviteBlockedError("this person does not accept invites")
