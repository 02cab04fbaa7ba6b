"""Query parameters that reads share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sessioncast_server.web.cursor import PageQuery

MinPosition = Annotated[str | None, Field(description="wait until the log has this position")]


class ReadQuery(BaseModel):
    """Parameters of a read of one resource."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_position: MinPosition = None


class ListQuery(PageQuery):
    """Parameters of a read of many."""

    min_position: MinPosition = None
