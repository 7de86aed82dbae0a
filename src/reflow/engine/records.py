"""Free-standing vector indexes inside one transaction: which there are; `record_index` has what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reflow.engine.record_index import RecordIndex
from reflow.engine.record_names import (
    add_row,
    all_indexes,
    existing_index,
    find_index,
    leave_to_purge,
    new_number,
)
from reflow.engine.record_tables import INDEXES, RECORDS, VectorIndexRow
from reflow.engine.transaction import EngineTransaction
from reflow.errors import LimitExceeded, SchemaError, VectorIndexExists, VectorIndexProtected
from reflow.schema import Metric
from reflow.vectors import IndexInfo, Vectors, check_definition, name_of


class Records:
    """The free-standing indexes, as one transaction sees and changes them: a `reflow.vectors.Store`, and more."""

    def __init__(self, tx: EngineTransaction) -> None:
        self._tx = tx

    def index(self, index: str | Vectors) -> RecordIndex:
        """An index by its declaration or name. Whether it exists shows when it is used."""
        self._tx.check_open()
        return RecordIndex(self._tx, name_of(index))

    async def declare(self, declared: Iterable[Vectors]) -> None:
        """Makes the indexes that an application declares. Raises SchemaError where one is there and otherwise."""
        for wanted in declared:
            row = await find_index(self._tx, wanted.name)
            if row is not None and (row.dims or None, row.metric) != (wanted.dims, wanted.metric):
                if (await self.index(wanted).stats()).records:
                    raise SchemaError(
                        f"vector index {wanted.name!r} holds {_kind(row.dims)} compared by {row.metric} and is now "
                        f"declared as {wanted!r}. It was left as it is: declare an index of another name for the new "
                        "vectors, or delete the old one first"
                    )
                await self.delete_index(wanted.name)
                row = None
            if row is None:
                await self.create_index(wanted.name, dims=wanted.dims, metric=wanted.metric)

    async def list_indexes(self) -> list[IndexInfo]:
        """All indexes, in order of their names."""
        return [_told(row) for row in await all_indexes(self._tx)]

    async def describe_index(self, name: str) -> IndexInfo | None:
        """One index, None when there is none of that name."""
        row = await find_index(self._tx, name)
        return None if row is None else _told(row)

    async def create_index(
        self,
        name: str,
        *,
        dims: int | None,
        metric: Metric = "cosine",
        deletion_protection: bool = False,
        tags: Mapping[str, str] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> IndexInfo:
        """Makes an index. `dims` None: for sparse vectors only, which are compared by "dotproduct".

        Raises VectorIndexExists, InvalidValue and LimitExceeded.
        """
        check_definition(name, dims, metric)
        if await find_index(self._tx, name) is not None:
            raise VectorIndexExists(f"vector index {name!r} exists already: use it, or choose another name")
        limits = self._tx.host.limits
        if len(await all_indexes(self._tx)) >= limits.vector_indexes:
            raise LimitExceeded(f"there are limits.vector_indexes = {limits.vector_indexes} indexes: delete one first")
        table = self._tx.host.catalog.codec(RECORDS)
        row = VectorIndexRow(
            name=name,
            number=new_number(self._tx),
            dims=dims or 0,
            metric=metric,
            deletion_protection=deletion_protection,
            tags=dict(tags or {}),
            about=dict(about or {}),
        )
        # The number is a new one: where this transaction fails, nobody knows of this empty place.
        index = table.vectors[0]
        shape = self._tx.host.catalog.shape(table, index)
        self._tx.host.vectors.create((index.number, row.number), row.dims, row.metric, shape)
        await add_row(self._tx, INDEXES, row)
        return _told(row)

    async def configure_index(
        self,
        name: str,
        *,
        deletion_protection: bool | None = None,
        tags: Mapping[str, str] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> IndexInfo:
        """Changes what is given. `tags` are merged, an empty text removes one. Raises NoVectorIndex."""
        row = await existing_index(self._tx, name)
        changes: dict[str, Any] = {}
        if deletion_protection is not None:
            changes["deletion_protection"] = deletion_protection
        if tags is not None:
            changes["tags"] = {key: value for key, value in {**row.tags, **tags}.items() if value}
        if about is not None:
            changes["about"] = {**row.about, **about}
        with self._tx.as_system():
            await self._tx.patch(row.id, changes)
        return _told(await existing_index(self._tx, name))

    async def delete_index(self, name: str) -> None:
        """Removes an index: at once for everybody, its records in the background.

        Raises NoVectorIndex, and VectorIndexProtected where it is protected.
        """
        row = await existing_index(self._tx, name)
        if row.deletion_protection:
            raise VectorIndexProtected(
                f"vector index {name!r} is protected from deletion: disable its deletion protection first"
            )
        with self._tx.as_system():
            await self._tx.delete([row.id])
        await leave_to_purge(self._tx, row.number)


def _kind(dims: int) -> str:
    return f"vectors of {dims} numbers" if dims else "sparse vectors"


def _told(row: VectorIndexRow) -> IndexInfo:
    return IndexInfo(
        name=row.name,
        dims=row.dims or None,
        metric=row.metric,
        deletion_protection=row.deletion_protection,
        tags=row.tags,
        about=row.about,
        created=row.created,
    )
