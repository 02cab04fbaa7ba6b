"""What is tracked: models, flags, and tasks in bulk."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Names, Seconds


class Tracking(BaseModel):
    """Fields of `Settings`."""

    model_critical_params: Names = Field(
        ("temperature", "top_p", "max_tokens", "system_prompt", "tools", "reasoning_effort"),
        description="comma list of model parameters whose difference is another model",
    )
    flags_refresh_s: Seconds = Field(0.5, description="period of reading the flags that others may have changed")
    bulk_max: int = Field(1000, ge=1, le=10_000, description="items in one bulk request")
    bulk_chunk: int = Field(50, ge=1, le=1000, description="tasks of a bulk request in one commit")
