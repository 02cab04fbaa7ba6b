"""All tables together, for migrations."""

from sqlmodel import SQLModel

from sessioncast_server.audit import tables as _audit
from sessioncast_server.channels import tables as _channels
from sessioncast_server.exchange import tables as _exchange
from sessioncast_server.flags import tables as _flags
from sessioncast_server.models import tables as _models
from sessioncast_server.projects import tables as _projects
from sessioncast_server.providers import tables as _providers
from sessioncast_server.sessions import tables as _sessions
from sessioncast_server.tasks import tables as _tasks
from sessioncast_server.threads import tables as _threads
from sessioncast_server.turns import tables as _turns
from sessioncast_server.versions import tables as _versions

FEATURES = (
    _audit, _channels, _exchange, _flags, _models, _projects, _providers, _sessions, _tasks, _threads, _turns,
    _versions,
)  # fmt: skip

METADATA = SQLModel.metadata
