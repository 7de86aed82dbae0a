"""The chat's tables. What belongs to a team says so here, once: no function can show it to another team."""

from __future__ import annotations

import reflow as rf

TEAM = "team"
"""The claim of a token that names its holder's team."""


class Account(rf.Table, table="accounts"):
    """Who may sign in. `password` is a salted scrypt digest, never shown to anybody."""

    name: str
    team: str
    password: str

    by_name = rf.Index("name")


class Session(rf.Table, table="sessions"):
    """One browser in which somebody is signed in; `secret`: the digest of its cookie, `expires`: seconds since 1970."""

    secret: str
    account: rf.Id[Account]
    expires: float

    by_secret = rf.Index("secret")
    by_expires = rf.Index("expires")


class Channel(rf.Table, table="channels", owner=rf.Owner("team", claim=TEAM)):
    """A subject that a team talks about."""

    team: str = rf.owner()
    name: str

    by_name = rf.Index("team", "name")


class Message(rf.Table, table="messages", owner=rf.Owner("team", claim=TEAM)):
    """What somebody said. Its vector follows a moment later."""

    team: str = rf.owner()
    channel: rf.Id[Channel]
    author: str
    body: str

    by_channel = rf.Index("channel")
    words = rf.TextIndex("body")
    meaning = rf.VectorIndex(dims=384)
