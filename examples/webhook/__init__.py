"""A signed webhook: a provider reports payments, and pages see them at once."""

from __future__ import annotations
