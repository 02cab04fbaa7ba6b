"""The responder that answers where no other is set: it needs no network, and shows what it was told of the thread.

It counts, quotes, finds and lists what was said before; a statement is acknowledged with what came before it. The
forms it knows are few, and looked for by whole words in messages of at most `_QUESTION_WORDS` words without a colon
(«find» aside): whatever is longer, or has one, is a statement.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from sessioncast_server.threads.responder import Context, Said

_QUESTION_WORDS = 12
_QUOTED = 200
"""Characters of a message that are quoted."""
_LISTED = 10
"""Messages in a list; it begins with how many it leaves out."""

_STATEMENT = 500
"""Characters above which a message is a statement, whatever its words: no list of them has to be made."""

_EDGES = ".,;:!?…-–—()[]{}<>«»„“”‘’\"'`*_"
_PLACES = {"first": 0, "earliest": 0, "last": -1, "latest": -1, "newest": -1, "previous": -1}
_NAMES = {"user": "you", "assistant": "I"}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_OPENINGS = _set("what what's which list show quote repeat")
_ARTICLES = _set("a all an any are did do is many me my of our the these those us was were your")
_ENDS = _set(
    "am and are can did do for from had has have here i in is left like now on so there to was were we with you"
)
_SAYING = _set("ask asked mention mentioned say said tell told write wrote written")
_TALKING = _set("cover covered discuss discussed speak spoke talk talked")
_MESSAGES = _set("answer line message question statement thing")
_REFERRING = _set("that it")

_Said = Sequence[Said]
_Answer = Callable[[_Said], str]


def respond(context: Context, message: str) -> Iterator[str]:
    """The answer, word by word; the pieces together are the whole of it."""
    words = answer(context, message).split(" ")
    for word in words[:-1]:
        yield word + " "
    yield words[-1]


def answer(context: Context, message: str) -> str:
    """The answer as one text, never empty."""
    if not context.available:
        return f"I have no memory of this thread right now; I only know that you say {_quote(message)}."
    asked = _question(message)
    return asked(context.said) if asked else _acknowledged(context.said, message)


def _question(message: str) -> _Answer | None:
    """What answers it; None: it is a statement."""
    needle = _needle(message)
    if needle:
        return lambda said: _found(said, needle)
    if len(message) > _STATEMENT or ":" in message:
        return None
    words = _words(message)
    if not words or len(words) > _QUESTION_WORDS:
        return None
    if words[0] in {"summary", "summarise", "summarize", "recap"}:
        return _summary
    if words[:2] == ["how", "many"]:
        noun = _noun(words[2:])
        return _counted if not noun or _singular(noun) in _MESSAGES else lambda said: _listed(said, noun)
    if words[0] not in _OPENINGS:
        return None
    noun = _noun(words[words.index("about") + 1 :] if "about" in words else words[1:])
    if "about" in words and noun:
        return lambda said: _listed(said, noun)
    if not _TALKING.isdisjoint(words):
        return _summary
    if not _SAYING.isdisjoint(words) or (not _PLACES.keys().isdisjoint(words) and _messages_named(words)):
        return lambda said: _quoted(said, words)
    return (lambda said: _listed(said, noun)) if noun and noun not in _REFERRING else None


def _needle(message: str) -> str:
    """What is to be found: the rest of «find …» and «search [for] …»; empty where it is neither."""
    opening, _, rest = message.strip().partition(" ")
    if opening.casefold() not in {"find", "search"}:
        return ""
    first, _, others = rest.strip().partition(" ")
    if opening.casefold() == "search" and first.casefold() == "for":
        rest = others
    return rest.strip().strip("«»„“”\"'?").strip()


def _words(text: str) -> list[str]:
    words = (word.strip(_EDGES) for word in text.casefold().split())
    return [word for word in words if word]


def _messages_named(words: Sequence[str]) -> bool:
    return any(_singular(word) in _MESSAGES for word in words)


def _noun(words: Sequence[str]) -> str:
    """The last word of the first phrase: `tasks` of `are the open tasks that I have`; empty: there is none."""
    start = next((place for place, word in enumerate(words) if word not in _ARTICLES), len(words))
    end = next((place for place in range(start, len(words)) if words[place] in _ENDS), len(words))
    return words[end - 1] if end > start else ""


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _statements(said: _Said) -> list[Said]:
    """What the user said, without what he asked."""
    own = (one for one in said if one.role == "user")
    return [one for one in own if not one.text.rstrip().endswith("?") and _question(one.text) is None]


def _about(said: _Said, noun: str) -> list[Said]:
    wanted = _singular(noun)
    return [one for one in _statements(said) if wanted in map(_singular, _words(one.text))]


def _counted(said: _Said) -> str:
    if not said:
        return "No message before this one."
    by = Counter(one.role for one in said)
    parts = [f"{count} by {'me' if role == 'assistant' else _who(role)}" for role, count in by.items()]
    gone = f" The first of them is #{said[0].seq}: older ones are gone." if said[0].seq > 1 else ""
    return f"{_number(len(said), 'message')} before this one: {', '.join(parts)}.{gone}"


def _quoted(said: _Said, words: Sequence[str]) -> str:
    """The first or last message, of the user, of the responder, or of anybody."""
    speaker = None
    if not {"i", "my"}.isdisjoint(words):
        speaker = "user"
    elif not {"you", "your"}.isdisjoint(words):
        speaker = "assistant"
    heard = [one for one in said if speaker is None or one.role == speaker]
    place = next((_PLACES[word] for word in words if word in _PLACES), -1)
    which = "first" if place == 0 else "last"
    if not heard:
        return f"Nothing was said before this{f' by {_who(speaker)}' if speaker == 'user' else ''}."
    one = heard[place]
    return f"The {which} thing that {_who(one.role)} said is #{one.seq}: {_quote(one.text)}."


def _found(said: _Said, needle: str) -> str:
    folded = needle.casefold()
    hits = [one for one in said if folded in one.text.casefold()]
    return _list(f"{_number(len(hits), 'message')} with {_quote(needle)}", hits, folded)


def _listed(said: _Said, noun: str) -> str:
    hits = _about(said, noun)
    if not hits:
        return f"You said nothing about {_quote(noun)} before this."
    return _list(f"You said {_number(len(hits), 'thing')} about {_quote(noun)}", hits)


def _summary(said: _Said) -> str:
    statements = _statements(said)
    if not statements:
        return f"You told me nothing yet. {_counted(said)}"
    return _list(f"In {_number(len(said), 'message')} you told me {_number(len(statements), 'thing')}", statements)


def _acknowledged(said: _Said, message: str) -> str:
    """Which message it is, what «that» in it means, or what came before."""
    if not said:
        return "Noted, as the first message of this thread."
    told = _statements(said) or [one for one in said if one.role == "user"] or list(said)
    words = _words(message)
    place = next((place for place, word in enumerate(words) if word in _REFERRING), None)
    noted = f"Noted, as message {len(said) + 1} of those that I remember."
    if place is None:
        one = told[-1]
        return f"{noted} Before it {_who(one.role)} said (#{one.seq}): {_quote(one.text)}."
    noun = _noun(words[place + 1 : place + 2])
    one = (_about(said, noun) or told)[-1] if noun else told[-1]
    return f"{noted} By «{words[place]}» I understand what {_who(one.role)} said (#{one.seq}): {_quote(one.text)}."


def _list(title: str, said: _Said, around: str = "") -> str:
    if not said:
        return title + "."
    left = len(said) - _LISTED
    head = f"{title}, {left} of them before these:" if left > 0 else f"{title}:"
    lines = (f"- #{one.seq} {_who(one.role)}: {_quote(one.text, around)}" for one in said[-_LISTED:])
    return "\n".join((head, *lines))


def _who(role: str) -> str:
    return _NAMES.get(role) or _cut(role) or "somebody"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _quote(text: str, around: str = "") -> str:
    """One line of it, within «»; of a long one the part with `around`, which is folded, in the middle."""
    start = max(0, text.casefold().find(around) - _QUOTED // 2) if around and len(text) > _QUOTED else 0
    line = _cut(text[start:])
    return f"«{'…' if start else ''}{line}»" if line else "something without text"


def _cut(text: str) -> str:
    """One line of its beginning."""
    line = " ".join(text[: 2 * _QUOTED].split())
    return line if len(line) <= _QUOTED and len(text) <= 2 * _QUOTED else line[: _QUOTED - 1].rstrip() + "…"
