from relay.base import errors


def test_every_error_has_a_stable_code_of_its_own() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RelayError)]
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_a_refusal_keeps_the_peers_own_words() -> None:
    error = errors.PeerRefusedError("no", status=403, errcode="M_FORBIDDEN")
    assert (error.status, error.errcode, error.retryable) == (403, "M_FORBIDDEN", False)
