"""Resources of threads: chat histories, each of one user in one project."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from sessioncast_shared.resources import Resource


class Thread(Resource):
    """A chat history. Ids are unique per project and user: two users may have a thread of one id, and never meet.

    Attributes:
        version: rises with every change of the thread, a new message included.
        message_seq: `seq` of the newest message there ever was; it never falls.
        message_count: messages that are there.
        expires_at: when it is cleaned away, unless something is done with it before.
    """

    id: str
    project_id: str
    user: str
    title: str | None = None
    version: int
    message_seq: int
    message_count: int
    created_at: AwareDatetime
    last_activity_at: AwareDatetime
    expires_at: AwareDatetime


class Message(Resource):
    """An item of a thread.

    Attributes:
        user: whose thread it is; with `thread_id` it names the thread.
        seq: from 1 on, rising; what was taken away leaves a hole.
        content: any JSON value.
    """

    id: str
    thread_id: str
    user: str
    seq: int
    role: str
    content: Any
    created_at: AwareDatetime


class MessagePage(BaseModel):
    """A page of messages; `next` is the `after` of the page behind it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data: list[Message]
    next: str | None = None


class Appended(Resource):
    """Messages as they were appended, and how many old ones went for them."""

    data: list[Message]
    pruned: int = 0


class Popped(Resource):
    """The newest message, which is not in the thread any more; None where there was none."""

    message: Message | None = None


class ThreadStats(Resource):
    """How large and how old a thread is.

    Attributes:
        count: messages that are there.
        age_s: seconds since it was made.
        expires_at: when it is cleaned away, unless something is done with it before.
    """

    count: int
    age_s: float
    last_activity_at: AwareDatetime
    expires_at: AwareDatetime


class ThreadRun(Resource):
    """A stretch of work that has a thread to itself.

    Attributes:
        lease_s: seconds it lives without a sign of its holder.
    """

    id: str
    thread_id: str
    lease_s: float


class ThreadWithMessages(Thread):
    """A thread with its newest messages, oldest first."""

    messages: list[Message]


class Reply(BaseModel):
    """An answer in a chat.

    Attributes:
        warning: that the context could not be read, or the exchange not be written.
        kept: False with a warning: the exchange is not, or not wholly, in the thread.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    content: str
    warning: str | None = None
    kept: bool | None = None
