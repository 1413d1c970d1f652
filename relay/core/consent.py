"""A stranger asks first: what becomes of an invite. Pure decisions; what people chose is given as arguments."""

import enum


class Decision(enum.Enum):
    """What happens to a stranger's question."""

    ASK = "ask"
    """Shown to the person, who accepts or declines."""
    HIDE = "hide"
    """Kept, not shown: the sender learns nothing of being ignored."""
    REFUSE = "refuse"
    """Answered with a refusal."""


def decide_invite(*, is_active: bool, blocks_invites: bool, ignores_sender: bool) -> Decision:
    """Decide one invite.

    Args:
        is_active: whether the invited account is in use.
        blocks_invites: the person takes no invites at all (client-server API v1.18, "Invite permission").
        ignores_sender: the person ignores the sender ("Ignoring Users").
    """
    if not is_active or blocks_invites:
        return Decision.REFUSE
    return Decision.HIDE if ignores_sender else Decision.ASK
