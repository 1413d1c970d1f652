import pytest

from relay.core.matrix.room_versions import DEFAULT, SUPPORTED, UnsupportedRoomVersionError, room_version


def test_rooms_made_here_have_the_version_the_specification_recommends() -> None:
    assert DEFAULT.id == "12"
    assert room_version("12") is DEFAULT


def test_every_supported_version_is_found_under_its_id() -> None:
    assert all(room_version(name).id == name for name in SUPPORTED)
    assert {"10", "11", "12"} <= SUPPORTED.keys()


@pytest.mark.parametrize("text", ["1", "13", "", "org.example.own", None, 12, [], {}])
def test_other_versions_are_refused(text: object) -> None:
    with pytest.raises(UnsupportedRoomVersionError):
        room_version(text)
