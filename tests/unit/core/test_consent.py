import itertools

import pytest

from relay.core.consent import Decision, decide_invite


@pytest.mark.parametrize(("active", "blocks", "ignores"), list(itertools.product([False, True], repeat=3)))
def test_an_invite_is_shown_only_to_who_is_here_and_wants_it(*, active: bool, blocks: bool, ignores: bool) -> None:
    decision = decide_invite(is_active=active, blocks_invites=blocks, ignores_sender=ignores)
    assert (decision is Decision.REFUSE) == (not active or blocks)
    assert (decision is Decision.ASK) == (active and not blocks and not ignores)
