"""Streams are counted per node, principal and address, and nothing is kept of those that ended."""

import asyncio
import sys
from collections import Counter

import pytest

from sessioncast_server.transports.admission import Admission, AdmissionLimits, TooManyError, address_of
from sessioncast_server.transports.gate import FIRST

LIMITS = AdmissionLimits(node=5, principal=3, address=2, opening=1)


def test_each_bound_is_named() -> None:
    """One stream more than a principal, an address or the node may have is refused, and counts nowhere."""
    refused: Counter[str] = Counter()
    admission = Admission(LIMITS, refused=lambda reason: refused.update([reason]))
    taken = [admission.take("ann", "a"), admission.take("ann", "a")]
    with pytest.raises(TooManyError, match="of the address") as error:
        admission.take("bob", "a")
    assert error.value.which == "address"
    taken.append(admission.take("ann", "b"))
    with pytest.raises(TooManyError, match="of the principal"):
        admission.take("ann", "c")
    taken += [admission.take("bob", "c"), admission.take("cid", "c")]
    with pytest.raises(TooManyError, match="of the node"):
        admission.take("dan", "d")
    assert (admission.open, admission.holders) == (5, 6)
    assert refused == {"address": 1, "principal": 1, "node": 1}
    taken[0].release()
    admission.take("dan", "a")


def test_nothing_is_kept_of_streams_that_ended() -> None:
    """However often a ticket is released, it counts once; at zero no principal and no address is remembered."""
    admission = Admission(LIMITS)
    for _ in range(3):
        tickets = [admission.take("ann", "a"), admission.take("ann", "b"), admission.take("bob", "b")]
        for ticket in [*tickets, *tickets]:
            ticket.release()
        assert (admission.open, admission.holders) == (0, 0)


def test_who_has_no_name_yet_counts_for_its_address() -> None:
    """Nameless streams share no bound of a principal; named later, each counts for that one, or is too many of it."""
    admission = Admission(AdmissionLimits(node=10, principal=2, address=10))
    tickets = [admission.take("", "a") for _ in range(4)]
    tickets[0].claim("ann")
    tickets[1].claim("ann")
    tickets[1].claim("bob")
    with pytest.raises(TooManyError, match="of the principal"):
        tickets[2].claim("ann")
    with pytest.raises(TooManyError, match="of the principal"):
        admission.take("ann", "b")
    tickets[2].claim("bob")
    tickets[0].release()
    tickets[0].claim("bob")
    admission.take("ann", "b").release()
    assert (admission.open, admission.holders) == (3, 4)
    for ticket in tickets:
        ticket.release()
    assert (admission.open, admission.holders) == (0, 0)


def test_a_ticket_is_small() -> None:
    """It has no dictionary, and shares its names with the other streams of the same principal and address."""
    admission = Admission()
    one, two = (admission.take("".join(["an", "n"]), "".join(["a", "b"])) for _ in range(2))
    assert sys.getsizeof(one) <= 64
    assert not hasattr(one, "__dict__")
    assert one._principal is two._principal
    assert one._address is two._address


async def test_too_many_openers_are_too_many_of_the_node() -> None:
    """Who would have to wait behind as many as may wait is refused."""
    refused: Counter[str] = Counter()
    admission = Admission(LIMITS, refused=lambda reason: refused.update([reason]))
    openers = [asyncio.create_task(admission.enter()) for _ in range(FIRST + 1)]
    await asyncio.sleep(0)
    assert admission.opening == 1
    with pytest.raises(TooManyError, match="of the node"):
        await admission.enter()
    assert refused == {"opening": 1}
    admission.drain()
    await asyncio.gather(*openers)
    assert admission.opening == 0


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5), "10.0.0.1"),
        (("2001:db8:0:1::5", 5), address_of(("2001:db8:0:1:ffff::6", 7))),
        (("testclient", 5), "testclient"),
        (("un:known", 5), "un:known"),
        (None, ""),
    ],
)
def test_what_one_address_is(client: tuple[str, int] | None, address: str) -> None:
    """IPv4 as it is, however it is written; IPv6 by its network of 64 bits; what is neither as it is."""
    assert address_of(client) == address


def test_networks_differ() -> None:
    """Two IPv6 networks are two addresses."""
    assert address_of(("2001:db8:0:1::5", 5)) != address_of(("2001:db8:0:2::5", 5))
