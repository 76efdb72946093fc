"""Whose eyes the doctor looks through: the daemon's user, also when root asks."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, ENTER = 4, 2, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with the groups it belongs to."""

    name: str
    uid: int
    gids: frozenset[int]

    def may(self, path: Path, wanted: int) -> bool:
        """Whether the path's own permissions grant READ, WRITE, ENTER or a sum of them.

        Raises OSError when the path cannot be looked at.
        """
        status = path.stat()
        if self.uid == 0:
            return True
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid == self.uid:
            granted = mode >> 6
        elif status.st_gid in self.gids:
            granted = mode >> 3
        else:
            granted = mode
        return granted & wanted == wanted

    def group_that_may(self, path: Path) -> str | None:
        """The group to join for what the person may not do; None where none would help."""
        status = path.stat()
        if not stat.S_IMODE(status.st_mode) >> 3 & READ or status.st_gid == 0:
            return None
        try:
            return grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            return str(status.st_gid)


def person(name: str | None = None) -> Person:
    """The user of this name; by default alprd's where root asks and there is one, else ourselves.

    Raises KeyError for a name that nobody has.
    """
    if name is None and os.geteuid() == 0:
        try:
            return person("alprd")
        except KeyError:
            pass
    if name is None:
        gids = frozenset({os.getegid(), *os.getgroups()})
        try:
            own = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            own = str(os.geteuid())
        return Person(name=own, uid=os.geteuid(), gids=gids)
    entry = pwd.getpwnam(name)
    gids = frozenset(os.getgrouplist(name, entry.pw_gid))
    return Person(name=name, uid=entry.pw_uid, gids=gids)
