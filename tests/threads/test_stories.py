"""What chats are for: a conversation goes on where it was, is nobody else's, and outlives all that is restarted."""

from pathlib import Path

from sessioncast_server.db.migrate import migrate
from support.api import Api
from support.chat import Talk
from support.chatnode import Stored, housed, key_of
from support.postgres import Postgres

GROCERIES = "Create a task to buy groceries"
MILK = "Add milk to that task"
TASKS = "What tasks do I have?"
LISTED = f"""You said 2 things about «tasks»:
- #1 you: «{GROCERIES}»
- #3 you: «{MILK}»"""


def remembers(talk: Talk) -> None:
    """The third line is answered from the first two, and the fourth from all before it."""
    assert talk.say(TASKS) == LISTED
    assert talk.say("What did I ask first?").endswith(f"#1: «{GROCERIES}».")


def test_a_conversation_has_a_context(api: Api) -> None:
    """«That task» is the one of the line before, «my tasks» are those of all lines, and each exchange is shown."""
    talk = Talk.begin(api)
    assert talk.say(GROCERIES) == "Noted, as the first message of this thread."
    assert talk.say(MILK).endswith(f"By «that» I understand what you said (#1): «{GROCERIES}».")
    remembers(talk)
    shown = talk.shown()
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"] * 4
    assert [message["seq"] for message in shown["messages"]] == list(range(1, 9))
    assert shown["messages"][5]["content"] == LISTED
    assert (shown["message_count"], shown["user"]) == (8, "ann")


def test_conversations_do_not_meet(api: Api) -> None:
    """Two users and two threads, the users' of the same ids, are spoken in by turns: each knows its own lines only."""
    first = Talk.begin(api)
    second = first.beside()
    talks = {
        f"{user}{number}": talk.acting(sub=user)
        for user in ("ann", "bob")
        for number, talk in enumerate((first, second))
    }
    for name, talk in talks.items():
        assert talk.say(f"Create a task for {name}") == "Noted, as the first message of this thread."
    for name, talk in talks.items():
        assert talk.say(MILK).endswith(f"«Create a task for {name}».")
    for name, talk in talks.items():
        assert talk.say(TASKS) == LISTED.replace(GROCERIES, f"Create a task for {name}")
    for name, talk in talks.items():
        text = repr(talk.shown()["messages"])
        assert f"for {name}" in text
        assert not any(f"for {other}" in text for other in talks if other != name)


def the_days_between(folder: Path, url: str, postgres: Postgres | None) -> None:
    with housed(folder, url) as house:
        talk = house.talk()
        talk.say(GROCERIES)
        talk.say(MILK)
        house.node.stop()
        if postgres is not None:
            postgres.restart()
        Stored(url).age(key_of(talk), hours=25)
        house.node.start()
        assert talk.api.get(f"{talk.path}/stats").json()["age_s"] > 24 * 3600
        remembers(talk)


def test_a_conversation_outlives_its_servers_and_a_day(sqlite_url: str, tmp_path: Path) -> None:
    """A server that was stopped, and a file that lay for over 24 hours: the next line is answered with all before."""
    the_days_between(tmp_path, sqlite_url, None)


def test_a_conversation_outlives_its_database_and_a_day(own_postgres: Postgres, tmp_path: Path) -> None:
    """The same where PostgreSQL was restarted, too."""
    migrate(own_postgres.url)
    the_days_between(tmp_path, own_postgres.url, own_postgres)
