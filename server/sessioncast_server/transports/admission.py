"""Who may open one more stream: bounds per node, per principal and per address, and the pace of opening."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal

from sessioncast_server.transports.gate import Gate, GateFullError

Which = Literal["node", "principal", "address"]


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Bounds of open streams; see the settings of the same meaning.

    Attributes:
        node, principal, address: streams open at once, or about to be opened.
        opening: of these, such as wait to be opened.
    """

    node: int = 50_000
    principal: int = 20_000
    address: int = 20_000
    opening: int = 10_000


class TooManyError(Exception):
    """There are as many streams as there may be.

    Attributes:
        which: whose bound it is: `node`, `principal` or `address`.
    """

    def __init__(self, which: Which) -> None:
        super().__init__(f"too many streams of the {which}")
        self.which = which


class _Holder:
    """How many streams one principal or one address has; exists only while it has any."""

    __slots__ = ("held", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.held = 0


class Ticket:
    """One stream's place. It lives as long as the stream, so it holds three references and nothing else."""

    __slots__ = ("_address", "_admission", "_principal")

    def __init__(self, admission: "Admission", principal: _Holder, address: _Holder) -> None:
        self._admission: Admission | None = admission
        self._principal = principal
        self._address = address

    def another(self) -> "Ticket":
        """One more place for the same user and address.

        Raises:
            TooManyError: as of `Admission.take`.
        """
        if self._admission is None:
            raise RuntimeError("the place was given back")
        return self._admission.take(self._principal.name, self._address.name)

    def claim(self, principal_sub: str) -> None:
        """Count a place that was nobody's for who has said its name by now; as before when it has a name already.

        Raises:
            TooManyError: of the principal; the place stays nobody's until it is released.
        """
        if self._admission is not None and not self._principal.name:
            self._principal = self._admission._claimed(principal_sub)

    def release(self) -> None:
        """Give the place back. Harmless when repeated."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission._give_back(self._principal, self._address)


class Admission:
    """Counts open streams and paces the opening of more. An SSE stream, a WebSocket and a waiting poll are one each.

    Args:
        refused: called with whose bound it was for each stream refused; `opening` when too many waited.
        gate: paces openings; a test brings its own.
    """

    def __init__(
        self,
        limits: AdmissionLimits | None = None,
        *,
        refused: Callable[[str], None] = lambda _: None,
        gate: Gate | None = None,
    ) -> None:
        self._limits = limits or AdmissionLimits()
        self._refused = refused
        self._gate = gate or Gate(self._limits.opening)
        self._principals: dict[str, _Holder] = {}
        self._addresses: dict[str, _Holder] = {}
        self._open = 0

    @property
    def open(self) -> int:
        """Places taken."""
        return self._open

    @property
    def opening(self) -> int:
        """Of these, such as wait to be opened."""
        return self._gate.waiting

    @property
    def holders(self) -> int:
        """Principals and addresses that have places."""
        return len(self._principals) + len(self._addresses)

    def take(self, principal_sub: str, address: str) -> Ticket:
        """A place for one more stream.

        Args:
            principal_sub: `sub` of who asks; empty for a WebSocket that has not said so yet: it counts for the node
                and its address alone, until `Ticket.claim`.
            address: as of `address_of`.

        Raises:
            TooManyError: a bound is reached; nothing was counted.
        """
        principal = self._principals.get(principal_sub) or _Holder(principal_sub)
        by_address = self._addresses.get(address) or _Holder(address)
        limits = self._limits
        if self._open >= limits.node:
            raise self._too_many("node")
        if principal_sub and principal.held >= limits.principal:
            raise self._too_many("principal")
        if by_address.held >= limits.address:
            raise self._too_many("address")
        self._open += 1
        _hold(principal, self._principals)
        _hold(by_address, self._addresses)
        return Ticket(self, principal, by_address)

    async def enter(self) -> None:
        """Wait until it is this stream's turn to be opened; call it once authorised, before anything costly.

        Raises:
            TooManyError: of the node: too many wait.
        """
        try:
            await self._gate.enter()
        except GateFullError:
            self._refused("opening")
            raise TooManyError("node") from None

    def drain(self) -> None:
        """Keep nobody waiting any more: the hub says goodbye to whoever comes."""
        self._gate.open_wide()

    def _too_many(self, which: Which) -> TooManyError:
        self._refused(which)
        return TooManyError(which)

    def _claimed(self, principal_sub: str) -> _Holder:
        principal = self._principals.get(principal_sub) or _Holder(principal_sub)
        if principal.held >= self._limits.principal:
            raise self._too_many("principal")
        _let_go(self._principals[""], self._principals)
        _hold(principal, self._principals)
        return principal

    def _give_back(self, principal: _Holder, address: _Holder) -> None:
        self._open -= 1
        _let_go(principal, self._principals)
        _let_go(address, self._addresses)


def _hold(one: _Holder, by_name: dict[str, _Holder]) -> None:
    if one.held == 0:
        by_name[one.name] = one
    one.held += 1


def _let_go(one: _Holder, by_name: dict[str, _Holder]) -> None:
    one.held -= 1
    if one.held == 0:
        del by_name[one.name]


def address_of(client: tuple[str, int] | None) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, for each host has one to itself.

    Args:
        client: `client` of an ASGI scope; None for a socket without addresses, all of which count as one.
    """
    host = "" if client is None else client[0]
    if ":" not in host:
        return host
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:8].hex()
