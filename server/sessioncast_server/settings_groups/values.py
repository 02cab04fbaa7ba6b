"""What the value of a setting may be."""

from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.port == 0:  # reading it raises ValueError for what is no number
        raise ValueError("Port must not be 0")
    return parts


def _database_url(url: str) -> str:
    if url.startswith("sqlite:///"):
        if url.removeprefix("sqlite:///") in ("", ":memory:"):
            raise ValueError("needs the path of a file; a database in memory would not keep what it acknowledged")
        return url
    if url.startswith("postgresql://") and _split(url).path.strip("/"):
        return url
    raise ValueError("must be sqlite:///PATH or postgresql://USER@HOST/DATABASE")


def _redis_url(url: str) -> str:
    parts = _split(url)
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.netloc or parts.path):
        raise ValueError("must be redis://HOST, rediss://HOST or unix:///PATH")
    return url


def _http_url(url: str) -> str:
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://… or https://…")
    return url


def _secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < 32:
        raise ValueError("must have at least 32 bytes (RFC 7518, section 3.2)")
    return secret


def _commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _origin(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{value!r} is no origin; write it as https://console.example.com")
    return value.lower()


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=1024, le=2**40)]
Seconds = Annotated[float, Field(gt=0, le=366 * 86400, allow_inf_nan=False)]
KernelBytes = Annotated[int, Field(ge=1024, le=2**30)]  # the kernel's options and the transport's marks are C ints
Pulse = Annotated[float, Field(ge=0.05, le=366 * 86400, allow_inf_nan=False)]  # faster, it is all a node would do
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], NoDecode, BeforeValidator(_commas)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_commas)]
