# SPDX-License-Identifier: Apache-2.0
"""Which name does a user of the host have?"""

from __future__ import annotations

FILE = "/etc/passwd"


def login_name(uid: int, passwd: str) -> str:
    """The name of a user, or "" if it has none.

    passwd  the text of /etc/passwd, which is asked first: it is read faster than pwd is loaded. A static program has to do with
            it, as it can't load what nsswitch.conf names.
    """
    for line in passwd.split("\n"):
        name, *fields = line.split(":")
        if fields[1:2] == [str(uid)]:
            return name
    from ociruntime.native import full_python

    if full_python.form == "snapshot":
        return ""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def passwd() -> str:
    """The text of /etc/passwd; "" if it can't be read."""
    try:
        with open(FILE, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
