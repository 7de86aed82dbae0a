"""Pages of long results, in the shape that Convex's clients expect."""

from __future__ import annotations

from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from reflow.schema import Object, missing

D = TypeVar("D", default=Any)
Other = TypeVar("Other", default=Any)


class Page(Object, Generic[D], rename="camel"):
    """One page of a paginated query, in the shape that Convex's clients expect."""

    page: list[D]
    is_done: bool
    continue_cursor: str
    split_cursor: str | None = None
    page_status: Literal["SplitRecommended", "SplitRequired"] | None = None

    def with_items(self, items: list[Other]) -> Page[Other]:
        """The same page with other rows, such as documents joined with their neighbours."""
        return Page(
            page=items,
            is_done=self.is_done,
            continue_cursor=self.continue_cursor,
            split_cursor=self.split_cursor,
            page_status=self.page_status,
        )


class PaginationOptions(Object, rename="camel"):
    """What a client asks of a page. `cursor` is None for the first one; `id` tells apart equal paginations."""

    num_items: int
    cursor: str | None = None
    end_cursor: str | None = missing()
    maximum_rows_read: int | None = missing()
    maximum_bytes_read: int | None = missing()
    id: int | None = missing()
