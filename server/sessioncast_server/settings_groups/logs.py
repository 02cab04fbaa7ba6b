"""How a node tells what it does."""

from typing import Literal

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Level


class Logs(BaseModel):
    """Fields of `Settings`."""

    log: Literal["console", "json"] | None = Field(None, description="console or json; none: console on a terminal")
    log_level: Level = Field("info", description="debug, info, warning or error")
