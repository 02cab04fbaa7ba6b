"""Entity tags and the conditions on them (RFC 9110, section 13.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.problems import Problem
from sessioncast_server.web.etag import if_match_version, none_match, resource_etag

TAG = resource_etag(7, b"body")


def test_a_tag_names_the_version_and_changes_with_the_body() -> None:
    """What is derived into a body changes the tag though the version stays."""
    assert TAG.startswith('"7-')
    assert resource_etag(7, b"body") == TAG
    assert resource_etag(7, b"other") != TAG
    assert resource_etag(8, b"body") != TAG


def test_no_header_and_a_star_let_any_version_through() -> None:
    """None means no condition."""
    assert if_match_version(None) is None
    assert if_match_version(" * ") is None


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (TAG, {7}),
        (f'"abc", {TAG} ,, {resource_etag(9, b"")},', {7, 9}),
        (f"W/{resource_etag(8, b'')}, {TAG}", {7}),
    ],
)
def test_every_strong_tag_of_ours_counts(header: str, versions: set[int]) -> None:
    """A list lets through any of its versions; weak and foreign tags add none."""
    assert if_match_version(header) == frozenset(versions)


@pytest.mark.parametrize(
    "header", ["", "abc", '"', '"a" "b"', f"{TAG[:-1]}", f"*, {TAG}", "W/", f"w/{TAG}", "," * 9000]
)
def test_a_malformed_if_match_is_412(header: str) -> None:
    """What cannot be understood cannot hold."""
    with pytest.raises(Problem) as caught:
        if_match_version(header)
    assert (caught.value.status, caught.value.code) == (412, "precondition_failed")


@pytest.mark.parametrize("header", [f"W/{TAG}", '"7"', '"07-000000000000"', '"x-000000000000"', '""'])
def test_tags_that_cannot_match_are_412(header: str) -> None:
    """A weak tag never matches (strong comparison), nor does one that we never made."""
    with pytest.raises(Problem) as caught:
        if_match_version(header)
    assert caught.value.status == 412


@pytest.mark.parametrize("header", [TAG, f"W/{TAG}", f'"x", W/{TAG}', "*", " *"])
def test_a_tag_that_is_known_is_not_sent_again(header: str) -> None:
    """If-None-Match compares weakly, with lists and `*`."""
    assert not none_match(header, TAG)
    assert header.strip() == "*" or none_match(header, resource_etag(8, b"body"))


@pytest.mark.parametrize("header", [None, "", '"x"', "garbage", TAG.strip('"')])
def test_anything_else_gets_the_full_answer(header: str | None) -> None:
    """A malformed If-None-Match is as good as none."""
    assert none_match(header, TAG)


@given(header=st.text(max_size=60) | st.text('W/"*, \t7-a', max_size=60))
def test_no_header_breaks_a_condition(header: str) -> None:
    """Whatever stands there, the outcome is an answer or a 412."""
    none_match(header, TAG)
    try:
        versions = if_match_version(header)
    except Problem as problem:
        assert problem.status == 412  # noqa: PT017  both outcomes are right, each in its way
    else:
        assert versions is None or versions
