"""All tables together, for migrations."""

from sqlmodel import SQLModel

from sessioncast_server.channels import tables as _channels
from sessioncast_server.exchange import tables as _exchange
from sessioncast_server.flags import tables as _flags
from sessioncast_server.models import tables as _models
from sessioncast_server.projects import tables as _projects
from sessioncast_server.sessions import tables as _sessions
from sessioncast_server.tasks import tables as _tasks

FEATURES = (_channels, _exchange, _flags, _models, _projects, _sessions, _tasks)

METADATA = SQLModel.metadata
