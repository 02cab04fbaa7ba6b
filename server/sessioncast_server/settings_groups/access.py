"""Who may use the interface: tokens, the keys that prove them, and the origins of pages."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Count, HttpUrl, Origins, Seconds, Secret


class Access(BaseModel):
    """Fields of `Settings`."""

    jwt_secret: Secret | None = Field(
        None, description="HS256 secret of bearer tokens, 32 bytes or more; with no secret and no JWKS: open mode"
    )
    jwks_url: HttpUrl | None = Field(None, description="key set for RS256 and ES256 bearer tokens")
    jwt_audience: str | None = Field(None, min_length=1, description="audience a token must name; none: no audience")
    jwt_issuer: str | None = Field(None, min_length=1, description="issuer a token must name; none: any")
    jwks_keep_s: Seconds = Field(300, description="age at which the key set is read again")
    jwks_min_interval_s: Seconds = Field(10, description="least time between two readings of the key set")
    jwks_timeout_s: Seconds = Field(5, description="deadline for reading the key set")
    token_cache_max: Count = Field(4096, description="verified tokens remembered until they expire")
    allowed_origins: Origins = Field((), description="comma list of origins whose pages may use the interface")
