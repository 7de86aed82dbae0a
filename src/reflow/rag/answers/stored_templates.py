"""`Templates`: the templates of a corpus, as its users have changed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.answers.templates import ANSWER, BUILT_IN, Field, Misfit, Template, check, fields_of
from reflow.rag.part import Part
from reflow.rag.tables import StoredTemplate

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

Reader = rf.QueryCtx | rf.MutationCtx


class TemplateRow(Template):
    """A template in a list. `changed`: it is built in, and not as it was."""

    built_in: bool
    changed: bool
    fields: list[Field]


class Templates(Part):
    """The templates of a corpus: what is built in, where nobody has changed it, and those that were added."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "templates")
        self.list = self.query("list", self._list)
        self.check = self.query("check", self._check)
        self.save = self.mutation("save", self._save)
        self.reset = self.mutation("reset", self._reset)

    async def named(self, ctx: Reader, name: str) -> Template:
        """The caller's template of that name. Raises ApplicationError."""
        stored = await self._stored(ctx)
        if name in stored:
            return _plain(stored[name])
        if name not in BUILT_IN:
            known = ", ".join(sorted({*BUILT_IN, *stored}))
            raise ApplicationError(f"There is no template {name[:80]!r}; there is {known}")
        return BUILT_IN[name]

    async def _stored(self, ctx: Reader) -> dict[str, StoredTemplate]:
        table = self.corpus.tables.Template
        rows = await ctx.db.query(table).using(table.by_name).take(self.corpus.limits.templates)
        return {row.name: row for row in rows}

    async def _list(self, ctx: rf.QueryCtx) -> list[TemplateRow]:
        """All templates with the fields that each may use."""
        stored = await self._stored(ctx)
        rows: list[TemplateRow] = []
        for name in [*BUILT_IN, *(name for name in stored if name not in BUILT_IN)]:
            found = _plain(stored[name]) if name in stored else BUILT_IN[name]
            rows.append(
                TemplateRow(
                    name=name,
                    instructions=found.instructions,
                    prompt=found.prompt,
                    token_budget=found.token_budget,
                    built_in=name in BUILT_IN,
                    changed=name in BUILT_IN and found != BUILT_IN[name],
                    fields=list(fields_of(name)),
                )
            )
        return rows

    async def _check(self, ctx: rf.QueryCtx, name: str, instructions: str, prompt: str) -> list[str]:
        """What is wrong with a template, in words; empty where it can be saved."""
        try:
            check(Template(name=name, instructions=instructions, prompt=prompt))
        except Misfit as error:
            return error.problems
        return []

    async def _save(
        self, ctx: rf.MutationCtx, name: str, instructions: str, prompt: str, token_budget: int | None = None
    ) -> None:
        """Stores a template in the place of the one of that name, or as a new one: for answers.

        Raises ApplicationError; for unknown fields its data has them, and those that are known.
        """
        name = name.strip()
        budget = BUILT_IN.get(name, BUILT_IN[ANSWER]).token_budget if token_budget is None else token_budget
        template = Template(name=name, instructions=instructions, prompt=prompt, token_budget=budget)
        self.refuse(template)
        table = self.corpus.tables.Template
        row = table(name=name, instructions=instructions, prompt=prompt, token_budget=budget)
        stored = await self._stored(ctx)
        if name in stored:
            await ctx.db.patch(stored[name].id, instructions=instructions, prompt=prompt, token_budget=budget)
            return
        if len(stored) >= self.corpus.limits.templates:
            raise ApplicationError(f"There are {len(stored)} templates (limits.templates): delete one of them first")
        await ctx.db.insert(row)

    def refuse(self, template: Template) -> None:
        """Raises ApplicationError for a template that can't be used."""
        limits = self.corpus.limits
        if not 0 < len(template.name) <= 60:
            raise ApplicationError("A template's name has 1 to 60 characters")
        if max(len(template.instructions), len(template.prompt)) > limits.template_length:
            raise ApplicationError(f"A template has at most {limits.template_length} characters")
        if not 200 <= template.token_budget <= limits.template_tokens:
            raise ApplicationError(f"A token budget is 200 to {limits.template_tokens}, not {template.token_budget}")
        try:
            check(template)
        except Misfit as error:
            raise ApplicationError({"message": str(error), "unknown": error.unknown, "known": error.known}) from None

    async def _reset(self, ctx: rf.MutationCtx, name: str) -> None:
        """Makes a built-in template what it was, and deletes another one."""
        stored = await self._stored(ctx)
        if name in stored:
            await ctx.db.delete(stored[name].id)
        elif name not in BUILT_IN:
            raise ApplicationError(f"There is no template {name[:80]!r}")


def _plain(row: StoredTemplate) -> Template:
    return Template(name=row.name, instructions=row.instructions, prompt=row.prompt, token_budget=row.token_budget)
