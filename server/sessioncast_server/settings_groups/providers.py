"""Provider sessions: what is resumed, who waits for whose turn, and when a silent holder has lost it."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Bytes, Count, Pulse, Seconds


class Providers(BaseModel):
    """Fields of `Settings`."""

    resume_stale_s: Seconds = Field(
        86400, description="age after its last use at which a provider's id is not resumed any more"
    )
    resume_failures_max: Count = Field(3, description="failures in a row after which it is not tried any more")
    resume_changed_share: float = Field(
        0.3, ge=0, le=1, description="share of changed paths above which an operation begins afresh"
    )
    structure_max_bytes: Bytes = Field(262144, description="largest map of paths to hashes")
    resume_wait_s: float = Field(
        30, ge=0, le=60, description="how long a resume waits for those before it, unless it says so itself"
    )
    turns_waiting_max: Count = Field(
        1000, description="requests of a node that wait for a turn; one more is refused at once"
    )
    turn_look_s: Pulse = Field(0.25, description="period of looking whose turn it is, while somebody waits")
    waiter_lease_s: Seconds = Field(5, description="time a place in the queue outlives its connection or its node")
    turn_lease_s: float = Field(
        60, ge=1, le=3600, description="time a granted turn lives before a provider session is opened in it"
    )
    provider_lease_s: float = Field(
        60, ge=1, le=3600, description="time an open provider session lives without a sign of its holder"
    )
    lease_look_s: Pulse = Field(2, description="period of looking for leases that have run out")
