"""The smallest answers."""

from urllib.parse import quote

from tests.fakes.family import open_family, two


async def test_what_is_not_offered_has_the_smallest_answer() -> None:
    async with open_family() as family:
        ann, bob, _ = await two(family)
        assert await ann.get("/voip/turnServer") == {}
        assert await ann.get("/thirdparty/protocols") == {}
        assert await ann.get("/pushers") == {"pushers": []}
        found = await ann.post("/user_directory/search", {"search_term": "BOB"})
        assert ([entry["user_id"] for entry in found["results"]], found["limited"]) == ([bob.user], False)
        assert await ann.refused("GET", f"/presence/{quote(bob.user)}/status") == (403, "M_FORBIDDEN")
        assert await ann.refused("GET", "/_matrix/client/v1/auth_metadata") == (404, "M_NOT_FOUND")
        assert await ann.refused("POST", "/knock/x", {}) == (404, "M_UNRECOGNIZED")
