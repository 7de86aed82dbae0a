"""One run that writes an answer: the question, what is found for it, the prompt, and what a model makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import reflow as rf
from reflow.errors import ProviderError
from reflow.rag.answers.answer_steps import Ending, Job, Prepared
from reflow.rag.answers.chat import Chat, complete
from reflow.rag.answers.citations import Citations, Span
from reflow.rag.answers.extractive import extract
from reflow.rag.answers.feed import Feed, reading
from reflow.rag.answers.followups import condensed, condensing, joined
from reflow.rag.answers.prompts import Passage, Prompt, compose
from reflow.rag.embedders.base import batching
from reflow.rag.faults import in_words
from reflow.rag.search.queries import Spent
from reflow.rag.search.results import Passage as Around
from reflow.rag.search.results import ResultRow
from reflow.rag.search.search_rows import FoundOnce
from reflow.rag.tables import AnswerKind

if TYPE_CHECKING:
    from reflow.rag.answers.writing import Writing

NOTHING = "Nothing in the sources answers this."


class Answering:
    """Writes an answer, as long as its run is the one that counts."""

    def __init__(self, writing: Writing, ctx: rf.ActionCtx, answer: str, job: Job) -> None:
        self._writing = writing
        self._corpus = writing.corpus
        self._limits = writing.corpus.limits
        self._ctx = ctx
        self._answer = answer
        self._job = job
        self._spent: list[Spent] = []

    async def answer(self) -> None:
        """Writes the answer, or stores why that can't be done."""
        try:
            await self._write()
        except ProviderError as error:
            await self._trouble(str(error), error.retryable, error.retry_after)
        except rf.ReflowError as error:
            await self._trouble(str(error))
        except Exception as error:
            await self._trouble(in_words(error))
            raise

    async def _write(self) -> None:
        chat = self._corpus.chat_for(self._ctx) if self._job.chat else None
        started = perf_counter()
        searched = await self._searchable(chat)
        searching = perf_counter()
        found = await self._corpus.searches.find(self._ctx, searched, self._job.options, within=self._job.within)
        self._spent += found.spent
        ready = Ready(
            searched=searched,
            passages=passages_of(found, self._limits.answer_passage_chars),
            condense_ms=None if searched == self._job.question else (searching - started) * 1000,
            search_ms=(perf_counter() - searching) * 1000,
            note=found.note,
        )
        if not ready.passages:
            await self._say_nothing(ready)
        elif chat is None:
            await self._quote(ready)
        else:
            await self._word(chat, ready)

    async def _searchable(self, chat: Chat | None) -> str:
        """The question as it is searched for: by itself, whatever was said before."""
        job = self._job
        if not job.turns:
            return job.question
        if chat is None or job.condense is None:
            return joined(job.question, job.turns)
        longest = self._limits.search_input_length
        made = await complete(chat, condensing(job.condense, job.question, job.turns), longest=longest)
        self._spent.append(
            Spent(work="rewrite", model=made.model, tokens_in=made.tokens_in, tokens_out=made.tokens_out, ms=made.ms)
        )
        return condensed(made.text, job.question, longest)

    # The ways to answer

    async def _say_nothing(self, ready: Ready) -> None:
        if await self._prepare("nothing", ready, Prompt.empty(ready.passages)):
            await self._finish("done", 0, [Span(text=NOTHING)])

    async def _quote(self, ready: Ready) -> None:
        """Says what the sources say, sentence by sentence."""
        embedder = batching(self._corpus.embedder).configured(self._ctx.env)
        most = self._limits.answer_sentences
        found = await extract(embedder, ready.searched, ready.passages, self._corpus.extractive, most=most)
        self._spent.append(
            Spent(work="answer", model=embedder.id, tokens_in=found.tokens, ms=found.ms, retries=found.retries)
        )
        if not found.sentences:
            await self._say_nothing(ready)
            return
        if not await self._prepare("extractive", ready, Prompt.empty(ready.passages)):
            return
        last = len(found.sentences) - 1
        for number, sentence in enumerate(found.sentences):
            mark = Span(
                text=f"[{sentence.passage}]",
                passages=[sentence.passage],
                first_line=sentence.first_line,
                last_line=sentence.last_line,
            )
            spans = [Span(text=f"{sentence.text} "), mark]
            if number == last:
                await self._finish("done", number, spans)
            elif not await self._append(number, [*spans, Span(text="\n\n")]):
                return

    async def _word(self, chat: Chat, ready: Ready) -> None:
        """Has a chat model word the answer."""
        prompt = compose(self._job.template, self._job.question, ready.passages, self._job.turns)
        if not await self._prepare("chat", ready, prompt, chat.id):
            return
        started = perf_counter()
        async with reading(chat.stream(prompt.messages), self._limits.answer_pieces) as (feed, reader):
            said = await self._take_down(feed, Citations(prompt.used))
            if said is None:
                return
            error = None if said.cut else await _error_of(reader)
        if error is not None and not said.characters:
            raise error
        spent = None
        if error is None and feed.usage.tokens_out:
            usage = feed.usage
            ms = (perf_counter() - started) * 1000
            spent = Spent(work="answer", model=chat.id, tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, ms=ms)
        note = said.cut or _why_cut(feed.usage.cut)
        if error is None:
            await self._finish("done", said.blocks, said.rest, note=note, spent=spent)
        else:
            reason = f"{in_words(error)}. What came before is kept: try again."
            await self._finish("failed", said.blocks, said.rest, error=reason)
            if not isinstance(error, rf.ReflowError):
                raise error

    async def _take_down(self, feed: Feed, citations: Citations) -> Said | None:
        """Writes what comes in, block by block; None if the run is over."""
        said = Said()
        longest = self._limits.answer_chars
        while (text := await feed.take(self._limits.answer_look_seconds)) is not None:
            if not text:
                if not await self._ctx.run_query(self._writing.goes_on, self._answer, self._job.run):
                    return None
                continue
            over = said.characters + len(text) > longest
            text = text[: longest - said.characters]
            said.characters += len(text)
            # Half of a surrogate pair is no text, and no database takes it.
            spans = citations.feed(text.encode("utf-8", "replace").decode())
            if spans:
                if not await self._append(said.blocks, spans):
                    return None
                said.blocks += 1
            if over:
                said.cut = f"Cut after {longest} characters (limits.answer_chars)."
                break
            # Long answers come in fewer blocks than they could, so that there is a bound on how many they are.
            await asyncio.sleep(
                self._limits.answer_write_seconds * (1 + said.blocks // self._limits.answer_slow_blocks)
            )
        said.rest = citations.end()
        return said

    # Steps

    async def _prepare(self, kind: AnswerKind, ready: Ready, prompt: Prompt, model: str | None = None) -> bool:
        prepared = Prepared(
            kind=kind,
            model=model,
            passages=prompt.passages,
            used=prompt.used,
            messages=prompt.messages,
            tokens=prompt.tokens,
            searched=ready.searched,
            spent=self._taken(),
            note=ready.note,
            condense_ms=ready.condense_ms,
            search_ms=ready.search_ms,
        )
        return await self._ctx.run_mutation(self._writing.prepare, self._answer, self._job.run, prepared)

    async def _append(self, number: int, spans: list[Span]) -> bool:
        return await self._ctx.run_mutation(self._writing.append, self._answer, self._job.run, number, spans)

    async def _finish(
        self,
        state: Literal["done", "failed"],
        number: int,
        spans: list[Span],
        *,
        error: str | None = None,
        note: str | None = None,
        spent: Spent | None = None,
    ) -> None:
        ending = Ending(state=state, number=number, spans=spans, error=error, note=note, spent=spent)
        await self._ctx.run_mutation(self._writing.finish, self._answer, self._job.run, ending)

    async def _trouble(self, reason: str, retryable: bool = False, pause: float | None = None) -> None:
        await self._ctx.run_mutation(
            self._writing.trouble, self._answer, self._job.run, reason, retryable, pause, self._taken()
        )

    def _taken(self) -> list[Spent]:
        """What was spent and is not recorded yet."""
        taken, self._spent = self._spent, []
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A question with what was found for it, and how long that took in milliseconds."""

    searched: str
    passages: list[Passage]
    condense_ms: float | None
    search_ms: float
    note: str | None
    """What a reader should know of the search."""


@dataclass(slots=True)
class Said:
    """What was written so far: how many blocks and characters. `rest` is what is not written yet."""

    blocks: int = 0
    characters: int = 0
    cut: str | None = None
    """Why the rest is not written."""
    rest: list[Span] = field(default_factory=list[Span])


async def _error_of(reader: asyncio.Task[None]) -> Exception | None:
    try:
        await reader
    except Exception as error:  # it is told to the answer's readers
        return error
    return None


def _why_cut(reason: str | None) -> str | None:
    match reason:
        case None:
            return None
        case "length":
            return "The model stopped at its limit of tokens: the answer may lack its end."
        case _:
            return f"The model stopped early ({reason[:60]})."


def passages_of(found: FoundOnce, longest: int) -> list[Passage]:
    """What a search has found, as passages of a prompt: chunks, or where neighbours were asked for those with them."""
    parts: Sequence[ResultRow | Around] = found.passages or found.rows
    return [
        Passage(
            number=number,
            chunk=part.hits[0] if isinstance(part, Around) else part.id,
            source=part.source,
            key=part.source_key,
            name=part.source_name,
            version=part.version,
            first_line=part.first_line,
            last_line=part.last_line,
            start=part.start,
            end=part.end,
            page=part.page,
            headings=part.headings,
            score=part.score,
            text=part.text[:longest],
        )
        for number, part in enumerate(parts, 1)
    ]
