"""Every bound of the client, with its default."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of requests and streams; seconds unless said otherwise.

    Attributes:
        deadline_s: a request is given up, with all its repetitions, after so long.
        attempt_s: one attempt of a request is given up, and repeated, after so long without a byte.
        connect_s: one attempt to connect is given up after so long.
        backoff_base_s: the first repetition comes after at most so long, each further one after at most twice that.
        backoff_cap_s: no repetition waits longer, unless the server asked for it.
        retry_after_cap_s: a longer wait than this is not believed, whoever asks for it.
        lease_s: an open provider session, or the run of a thread, is given up by the server after so long without a
            sign of this client, which gives one three times as often.
        close_s: a provider session, or a run, that is left goes on trying to tell the server for so long.
        thread_s: one that is left waits for so long for a function that still runs in a thread, then closes without it.
        give_up_s: giving up a turn, or a place in the queue, that nobody waits for any more is tried for so long.
        turn_s: the longest wait for a turn that the server may have for one who names none.
        body_bytes: messages for a thread that are larger together are not sent: the server, as it comes, would not
            take them.
        idle_s: a stream on which nothing was heard for so long is stale, and dead: twice the server's heartbeat.
        first_frame_s: a stream that was opened and says nothing for so long is one that does not get through.
        renew_s: a token that expires, and can be renewed, is renewed so long before.
        buffer_bytes, buffer_frames: of a subscription that shares a connection with others, what came and was not read
            yet. What is more is not kept: see `Client.subscribe`.
        frame_bytes: a longer frame or event ends the stream with a `ProtocolError`.
    """

    deadline_s: float = 60.0
    attempt_s: float = 30.0
    connect_s: float = 10.0
    backoff_base_s: float = 0.25
    backoff_cap_s: float = 10.0
    retry_after_cap_s: float = 300.0
    lease_s: float = 60.0
    close_s: float = 30.0
    thread_s: float = 300.0
    give_up_s: float = 5.0
    turn_s: float = 60.0
    body_bytes: int = 2**20
    idle_s: float = 30.0
    first_frame_s: float = 5.0
    renew_s: float = 30.0
    buffer_bytes: int = 16 * 2**20
    buffer_frames: int = 10_000
    frame_bytes: int = 64 * 2**20
