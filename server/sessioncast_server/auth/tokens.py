"""Bearer tokens (JWT, RFC 7519; RFC 6750) become principals; in open mode, a header does."""

import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jwt
from jwt.types import Options

from sessioncast_server.auth.keyset import ALGORITHMS, KeySet, KeySetAwayError
from sessioncast_server.auth.principal import Principal, Scope
from sessioncast_server.problems import Problem, invalid
from sessioncast_shared import texts
from sessioncast_shared.codes import Code

_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_USER_MAX = 200
_SCOPE_MAX = 100
_TIME_END = 2**53  # beyond it a float is no exact second, and far beyond it no float at all
_CLAIMS: Options = {"require": ["exp", "sub"]}
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What PyJWT lets through when a token was made to be broken, beside its own errors."""


class Authenticator:
    """Tells who asks. With neither a secret nor a key set it is open: everybody is who X-User says.

    A token is verified once and remembered by its digest until it expires, or for `keep_s` where keys can be
    withdrawn; at most `cache_max` are remembered, the longest unused is forgotten first.
    """

    def __init__(
        self,
        *,
        secret: str | None = None,
        keys: KeySet | None = None,
        audience: str | None = None,
        issuer: str | None = None,
        keep_s: float = 300,
        cache_max: int = 4096,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._keep_s = keep_s if keys is not None else math.inf
        self._cache_max = cache_max
        self._clock = clock
        self._verified: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    @property
    def open_mode(self) -> bool:
        """Whether nothing is verified."""
        return self._secret is None and self._keys is None

    async def of_headers(self, headers: Mapping[str, str]) -> Principal:
        """The principal of a request; `headers` finds names whatever their case.

        Raises:
            Problem: 401 `unauthenticated`; 403 for an X-User that the token may not act for, 422 for one that is no
                name; 503 when the key set is away.
        """
        if self.open_mode:
            return open_principal(headers.get("x-user"))
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthenticated("A bearer token is needed.")
        return _acting(await self.of_token(token.strip()), headers.get("x-user"))

    async def of_token(self, token: str) -> Principal:
        """The principal that a token stands for; in open mode any token is the local user.

        Raises:
            Problem: 401 `unauthenticated`; 503 when the key set is away.
        """
        if self.open_mode:
            return open_principal(None)
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        now = self._clock()
        known = self._verified.get(digest)
        if known is not None and now < known[1]:
            self._verified.move_to_end(digest)
            return known[0]
        principal = principal_of(await self._claims(token))
        self._verified[digest] = (principal, min(principal.expires_at or now, now + self._keep_s))
        self._verified.move_to_end(digest)
        if len(self._verified) > self._cache_max:
            self._verified.popitem(last=False)
        return principal

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            key, algorithms = await self._key(token)
            return jwt.decode(token, key, algorithms, options=_CLAIMS, audience=self._audience, issuer=self._issuer)
        except jwt.ExpiredSignatureError:
            raise unauthenticated("The token has expired.") from None
        except jwt.InvalidAudienceError:
            raise unauthenticated("The token is for another audience.") from None
        except jwt.InvalidIssuerError:
            raise unauthenticated("The token is of another issuer.") from None
        except jwt.MissingRequiredClaimError as error:
            raise unauthenticated(f"The token lacks the claim {error.claim}.") from None
        except KeySetAwayError:
            raise Problem(503, Code.UNAVAILABLE, texts.UNAVAILABLE, retry_after=1) from None
        except _MALFORMED:
            raise unauthenticated("The token is not valid.") from None

    async def _key(self, token: str) -> tuple[Any, Sequence[str]]:
        if self._keys is None:
            return self._secret, ("HS256",)
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:  # before a made-up token can have the key set read
            raise jwt.InvalidAlgorithmError
        key = await self._keys.key(header.get("kid"))
        if key is None:
            raise jwt.InvalidKeyError
        return key, ALGORITHMS


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """The principal of verified claims.

    Raises:
        Problem: 401, naming the claim that is missing or of another type.
    """
    sub, exp = claims.get("sub"), claims.get("exp")
    if not isinstance(sub, str) or not _is_user(sub):
        raise _bad_claim("sub", f"a printable text of 1 to {_USER_MAX} characters")
    if isinstance(exp, bool) or not isinstance(exp, (int, float)) or not 0 <= exp < _TIME_END:
        raise _bad_claim("exp", "a time in seconds")
    projects, scopes = claims.get("projects"), claims.get("scopes")
    if projects != "*" and not _texts(projects, _PROJECT):
        raise _bad_claim("projects", 'a list of project ids or "*"')
    if not _texts(scopes, re.compile(rf"\S{{1,{_SCOPE_MAX}}}")):
        raise _bad_claim("scopes", "a list of scopes")
    return Principal(sub, None if projects == "*" else frozenset(projects or ()), frozenset(scopes or ()), float(exp))


def open_principal(user: str | None) -> Principal:
    """Everybody's principal in open mode, by the value of X-User (as Starlette gives it: Latin-1 of UTF-8).

    Raises:
        Problem: 422, when it is no printable text of 1 to 200 characters.
    """
    return _LOCAL if user is None else Principal(_named(user), None, _ALL_SCOPES)


def _acting(principal: Principal, user: str | None) -> Principal:
    """The principal as whom X-User names: with `users:act` a service does what its users ask it to."""
    if user is None or (name := _named(user)) == principal.sub:
        return principal
    principal.require(Scope.USERS_ACT)
    return replace(principal, sub=name, bearer=principal.sub)


def _named(user: str) -> str:
    try:
        name = user.encode("latin-1").decode()
    except UnicodeError:
        name = ""
    if not _is_user(name):
        raise invalid("X-User", f"Input should be a printable text of 1 to {_USER_MAX} characters")
    return name


def make_token(secret: str, *, sub: str, projects: Sequence[str] | str, scopes: Sequence[str], ttl_s: float) -> str:
    """A token for `sub` that is good for `ttl_s` seconds; `projects` is a list of ids or "*".

    Raises:
        ValueError: the server would not take it.
    """
    claims = {
        "sub": sub,
        "projects": projects if isinstance(projects, str) else list(projects),
        "scopes": [str(scope) for scope in scopes],
        "exp": int(time.time() + ttl_s),
    }
    try:
        principal_of(claims)
    except Problem as problem:
        raise ValueError(problem.detail) from None
    return jwt.encode(claims, secret, "HS256")


def unauthenticated(detail: str) -> Problem:
    """401: who asks is not known."""
    return Problem(401, Code.UNAUTHENTICATED, detail)


def _bad_claim(name: str, wanted: str) -> Problem:
    return unauthenticated(f"The claim {name} must be {wanted}.")


def _is_user(text: str) -> bool:
    return 0 < len(text) <= _USER_MAX and text.isprintable() and bool(text.strip())


def _texts(value: Any, form: re.Pattern[str]) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and form.fullmatch(text) for text in value)


_ALL_SCOPES: frozenset[str] = frozenset(Scope)
_LOCAL = Principal("local", None, _ALL_SCOPES)
