"""A provider's command line, as far as resuming goes: it keeps sessions, locks them, and loses some.

Run it by its path; it needs the standard library only. `run` begins a session or resumes one, `compact` shortens one.
The answer is a JSON object on stdout: `session_id`, `usage` and `seconds`, or `error` and `message` with an exit status
of its own. What it did with each call is in `log.jsonl` beside the sessions.

Prices are by token. What a fresh run must read of its project costs in full; what a session knows already is read from
the cache, once for each turn, at a tenth (`--cold`: in the first turn in full, the cache has lost it by then). Time is
reading and writing at fixed rates, `--pace` real seconds to one.
"""

import argparse
import fcntl
import json
import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

FULL_USD, CACHED_USD, WRITTEN_USD = 3e-6, 0.3e-6, 15e-6
"""For a token that is read, read again from the cache, or written."""
FULL_PER_S, KNOWN_PER_S, CACHED_PER_S, WRITTEN_PER_S = 1500, 10_000, 100_000, 60
"""Tokens. Reading a project means looking for the files, too: that is why it is so much slower than what is known."""
STATUS = {"in_use": 3, "not_found": 4, "corrupted": 5, "hangs": 6}
"""Exit statuses by error; one that hangs has it only if nobody ends it."""


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("command", choices=("run", "compact"))
    parser.add_argument("--state", type=Path, required=True, help="folder of the sessions; made if it is not there")
    parser.add_argument("--resume", metavar="ID")
    parser.add_argument("--session-id", metavar="ID", help="of a fresh session")
    parser.add_argument("--keep-id", action="store_true", help="answer with the id that was resumed, not a new one")
    parser.add_argument("--project-tokens", type=int, default=0, help="what a fresh run reads first")
    parser.add_argument("--prompt-tokens", type=int, default=0, help="what any run reads for its work")
    parser.add_argument("--output-tokens", type=int, default=0)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--compact-to", type=float, default=0.1, help="share of its context that a session keeps")
    parser.add_argument("--cold", action="store_true", help="what a resumed session knows is not in the cache")
    parser.add_argument("--lock-s", type=float, default=2.0, help="how long a session stays in use after its use")
    parser.add_argument("--hang-s", type=float, default=60.0)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--seed", default="0", help="the same one loses the same: the first use, the third, …")
    for name in ("forgets", "corrupts", "hangs"):
        parser.add_argument(f"--{name}", type=float, default=0.0, help="share of uses, or of resumed ones for hangs")
    options = parser.parse_args()
    if options.command == "compact" and options.resume is None:
        parser.error("compact: --resume is missing")
    if options.resume is not None and options.session_id is not None:
        parser.error("--session-id is for fresh sessions")
    return options


class RefusalError(Exception):
    """The provider's refusal; `error` is one of `STATUS`."""

    def __init__(self, error: str, id_: str) -> None:
        texts = {"in_use": "is already in use", "not_found": "was not found", "corrupted": "cannot be read"}
        super().__init__(f"Session ID {id_} {texts[error]}")
        self.error = error


class Log:
    """What was done with each call; one process writes at a time."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._path = folder / "log.jsonl"
        self._call = {"call": uuid.uuid4().hex, "command": options.command, "resume": options.resume}

    def write(self, outcome: str, **more: Any) -> None:
        """Append a line."""
        with self._path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({**self._call, "at": time.time(), "outcome": outcome, **more}) + "\n")

    def number(self, outcome: str, resume: str | None = None) -> int:
        """How many lines there are with an outcome, and of an id if one is named."""
        with self._path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            lines = [json.loads(line) for line in file]
        return sum(line["outcome"] == outcome and resume in (None, line["resume"]) for line in lines)


@contextmanager
def held(folder: Path, id_: str, lock_s: float) -> Iterator[None]:
    """A session while it is used; it stays locked for a while if the use ends well.

    Raises:
        RefusalError: somebody uses it, or did so a moment ago.
    """
    with (folder / f"{id_}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of by the kernel if we are killed
        except BlockingIOError:
            raise RefusalError("in_use", id_) from None
        file.seek(0)
        if time.monotonic() < float(file.read() or 0):  # one clock for all processes of a Linux machine
            raise RefusalError("in_use", id_)
        yield
        file.truncate(0)
        file.write(str(time.monotonic() + lock_s))


def use(options: argparse.Namespace, log: Log, kept: dict[str, Any] | None) -> dict[str, Any]:
    """What a use reads and writes: its usage, seconds, and the context that it leaves."""
    fresh, context = (True, options.project_tokens) if kept is None else (False, kept["context"])
    known = context if options.cold and not fresh else 0
    if options.command == "compact":
        read, cached, written, turns = 0, context - known, round(context * options.compact_to), 1
        after = written
    else:
        read, written, turns = options.prompt_tokens + (context if fresh else 0), options.output_tokens, options.turns
        cached = context * (turns - fresh) - known
        after = context + options.prompt_tokens + written
    if kept is not None:
        chance = random.Random(f"{options.seed}:{kept['use']}:{log.number('hangs', options.resume)}")
        if chance.random() < options.hangs:
            log.write("hangs")
            time.sleep(options.hang_s)
            sys.exit(STATUS["hangs"])
    seconds = read / FULL_PER_S + known / KNOWN_PER_S + cached / CACHED_PER_S + written / WRITTEN_PER_S
    time.sleep(seconds * options.pace)
    cost = round((read + known) * FULL_USD + cached * CACHED_USD + written * WRITTEN_USD, 9)
    tokens = read + known + cached + written
    usage = {"tokens": tokens, "cached_tokens": cached, "turns": turns, "cost_usd": cost}
    return {"usage": usage, "seconds": seconds, "context": after}


def keep(options: argparse.Namespace, log: Log, id_: str, used: dict[str, Any]) -> None:
    """Leave the session for a later resume, unless it is one that gets lost; and tell the log."""
    number = log.number("done")
    chance = random.Random(f"{options.seed}:{number}").random()
    lost = options.forgets + options.corrupts
    fate = "forgotten" if chance < options.forgets else "corrupted" if chance < lost else "kept"
    path, text = options.state / f"{id_}.json", json.dumps({"context": used["context"], "use": number})
    path.write_text(text[: len(text) // 2] if fate == "corrupted" else text)
    if fate == "forgotten":
        path.unlink()
    log.write("done", session_id=id_, fate=fate, usage=used["usage"], seconds=used["seconds"], context=used["context"])


def serve(options: argparse.Namespace, log: Log) -> dict[str, Any]:
    """The answer to a call.

    Raises:
        RefusalError: the session cannot be used.
    """
    folder, resumed = options.state, options.resume
    if resumed is None:
        id_ = options.session_id or str(uuid.uuid4())
        if (folder / f"{id_}.lock").exists():
            raise RefusalError("in_use", id_)
        with held(folder, id_, options.lock_s):
            used = use(options, log, None)
            keep(options, log, id_, used)
        return {"session_id": id_, **used}
    if not (folder / f"{resumed}.json").exists():
        raise RefusalError("not_found", resumed)
    with held(folder, resumed, options.lock_s):
        try:
            kept = json.loads((folder / f"{resumed}.json").read_text())
        except ValueError:
            raise RefusalError("corrupted", resumed) from None
        used = use(options, log, kept)
        id_ = resumed if options.keep_id else str(uuid.uuid4())
        if options.keep_id:
            keep(options, log, id_, used)
        else:
            with held(folder, id_, options.lock_s):
                keep(options, log, id_, used)
    return {"session_id": id_, **used}


def main() -> NoReturn:
    """Serve one call."""
    options = parse()
    options.state.mkdir(parents=True, exist_ok=True)
    log = Log(options.state, options)
    log.write("began")
    try:
        answer, status = serve(options, log), 0
    except RefusalError as refusal:
        log.write(refusal.error)
        answer, status = {"error": refusal.error, "message": str(refusal)}, STATUS[refusal.error]
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
