"""The database: engines, sessions with callbacks around their commit, and migrations."""

from app.db.engine import make_engine, read_engine
from app.db.migrations import is_current, upgrade
from app.db.notifications import listen, notify
from app.db.sessions import after_commit, among, before_commit, lock_name, reading, transaction, try_lock_name
from app.db.times import database_time, iso, now

__all__ = [
    "after_commit",
    "among",
    "before_commit",
    "database_time",
    "is_current",
    "iso",
    "listen",
    "lock_name",
    "make_engine",
    "notify",
    "now",
    "read_engine",
    "reading",
    "transaction",
    "try_lock_name",
    "upgrade",
]
