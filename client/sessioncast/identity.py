"""Resources named by themselves or by their id, and users."""

import json
from base64 import urlsafe_b64decode
from typing import Any
from urllib.parse import quote

from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session
from sessioncast_shared.threads import Thread

Named = Session | ProviderSession | Thread | str
"""A resource, or its id."""

OPEN_PROJECT = "default"
"""The project that a server that runs open takes where none is said."""

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
    subject = _claims(token).get("sub")
    return subject if isinstance(subject, str) else None


def project_of(token: str | None) -> str | None:
    """The project of requests that name none: the only one of the token, and without a token `default`; else None."""
    if not token:
        return OPEN_PROJECT
    projects = _claims(token).get("projects")
    if isinstance(projects, list) and len(projects) == 1 and isinstance(projects[0], str):
        return projects[0]
    return None


def expiry_of(token: str) -> float | None:
    """When a token expires, in seconds since 1970; None: it does not tell. Read, not verified, as above."""
    expires = _claims(token).get("exp")
    return float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None


def _claims(token: str) -> dict[str, Any]:
    try:
        claims = token.split(".")[1]
        read = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except (IndexError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
