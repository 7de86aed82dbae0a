"""A reactive backend for AI applications: documents, vectors, live queries and background work in one process."""

from __future__ import annotations

from msgspec import UNSET

from reflow.app import App
from reflow.auth import JWT, OIDC
from reflow.backend import Backend
from reflow.context import ActionCtx, Identity, MutationCtx, QueryCtx
from reflow.crons import Cron, CronRun, Crons
from reflow.database import DatabaseReader, DatabaseWriter, Query
from reflow.embedded import EmbeddedIndex, EmbeddedVectors, open_vectors
from reflow.engine.scheduled import Scheduled, ScheduledState
from reflow.errors import ApplicationError, ReflowError, RetryAfter
from reflow.files import Download, File, FileReader, FileStore, FileWriter
from reflow.functions import ActionFunction, Function, Module, MutationFunction, QueryFunction, Retry
from reflow.generations import Embedding, Generation, Generations, Model
from reflow.hits import Explanation, Hit, HybridHit, LeftOut, Leg
from reflow.limits import Limits
from reflow.migrations import Migration, MigrationCtx, MigrationStatus
from reflow.owners import Owner, namespace_of, owner
from reflow.pages import Page, PaginationOptions
from reflow.routes import Router, request_ctx
from reflow.schema import Collection, Id, Index, Object, Table, TextIndex, VectorIndex, collection, missing
from reflow.search.hybrid import fuse
from reflow.settings import Secret, Settings
from reflow.values import Int64
from reflow.vectors import Match, QueryResult, Record, SparseValues, Vectors
from reflow.watched import Watched, WatchedQuery

__all__ = [
    "JWT",
    "OIDC",
    "UNSET",
    "ActionCtx",
    "ActionFunction",
    "App",
    "ApplicationError",
    "Backend",
    "Collection",
    "Cron",
    "CronRun",
    "Crons",
    "DatabaseReader",
    "DatabaseWriter",
    "Download",
    "EmbeddedIndex",
    "EmbeddedVectors",
    "Embedding",
    "Explanation",
    "File",
    "FileReader",
    "FileStore",
    "FileWriter",
    "Function",
    "Generation",
    "Generations",
    "Hit",
    "HybridHit",
    "Id",
    "Identity",
    "Index",
    "Int64",
    "LeftOut",
    "Leg",
    "Limits",
    "Match",
    "Migration",
    "MigrationCtx",
    "MigrationStatus",
    "Model",
    "Module",
    "MutationCtx",
    "MutationFunction",
    "Object",
    "Owner",
    "Page",
    "PaginationOptions",
    "Query",
    "QueryCtx",
    "QueryFunction",
    "QueryResult",
    "Record",
    "ReflowError",
    "Retry",
    "RetryAfter",
    "Router",
    "Scheduled",
    "ScheduledState",
    "Secret",
    "Settings",
    "SparseValues",
    "Table",
    "TextIndex",
    "VectorIndex",
    "Vectors",
    "Watched",
    "WatchedQuery",
    "collection",
    "fuse",
    "missing",
    "namespace_of",
    "open_vectors",
    "owner",
    "request_ctx",
]
