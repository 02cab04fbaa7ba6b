"""Resources named by themselves or by their id."""

from urllib.parse import quote

from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session


def id_of(resource: Session | ProviderSession | str) -> str:
    """The id."""
    return resource if isinstance(resource, str) else resource.id


def segment(resource: Session | ProviderSession | str) -> str:
    """The id as one segment of a path, whatever is in it."""
    return quote(id_of(resource), safe="")


def fenced(fence: int | None) -> dict[str, str]:
    """The header that says who holds the session; none where nobody is said to."""
    return {} if fence is None else {"X-Session-Fence": str(fence)}
