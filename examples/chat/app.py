"""The chat as an application: `reflow dev examples/chat/app.py`."""

from __future__ import annotations

import reflow as rf
from chat.accounts import accounts, door
from chat.messages import channels, messages
from chat.tokens import provider
from reflow.bundled import web_folder

app = rf.App(
    modules=[accounts, channels, messages],
    routes=[door],
    auth=[provider()],
    pages=web_folder("chat"),
)
