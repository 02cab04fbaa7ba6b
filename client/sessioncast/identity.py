"""Resources named by themselves or by their id, and users."""

import json
from base64 import urlsafe_b64decode
from urllib.parse import quote

from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session
from sessioncast_shared.threads import Thread

Named = Session | ProviderSession | Thread | str
"""A resource, or its id."""

OPEN_USER = "local"
"""Whom a server that runs open takes everybody for who does not say who he is."""


def id_of(resource: Named) -> str:
    """The id."""
    return resource if isinstance(resource, str) else resource.id


def segment(resource: Named) -> str:
    """The id as one segment of a path, whatever is in it."""
    return quote(id_of(resource), safe="")


def fenced(fence: int | None) -> dict[str, str]:
    """The header that says who holds the session; none where nobody is said to."""
    return {} if fence is None else {"X-Session-Fence": str(fence)}


def user_of(token: str | None, user: str | None) -> str | None:
    """Whom requests are made for: who is named, else whom the token is of; None: it does not tell.

    The token is read, not verified (RFC 7519, section 3): this is for names only, the server decides.
    """
    if user or not token:
        return user or OPEN_USER
    try:
        claims = token.split(".")[1]
        subject = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("sub")
    except (IndexError, ValueError, AttributeError):
        return None
    return subject if isinstance(subject, str) else None
