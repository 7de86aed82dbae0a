import { Autocomplete, Button, NumberInput, Select } from "@mantine/core";
import { useMutation, useQuery } from "convex/react";
import { useState } from "react";
import { searches } from "../../api/searches.ts";
import { type Source, sources, type Version } from "../../api/sources.ts";
import { useDeed } from "../../lib/deed.ts";
import { useNow } from "../../lib/now.ts";
import { amend } from "../../lib/place.ts";
import { ago, count, duration, many, money, reasonOf } from "../../lib/words.ts";
import { RetryIcon } from "../../parts/icons.tsx";
import { Facts } from "../../parts/small.tsx";

/** What is known of a source, and what can be changed. */
export function About({ source, version }: { source: Source; version: number | null }) {
  const versions = useQuery(sources.versions, { source: source.id }) ?? [];
  const shown = versions.find((one) => one.number === (version ?? source.version)) ?? versions[0];
  return (
    <section className="aside-part" aria-label="Facts">
      <Facts of={[source.kind, source.key, source.origin !== source.key && source.origin]} />
      {source.error && <Failure source={source} />}
      {shown && <VersionFacts version={shown} />}
      {versions.length > 1 && (
        <Select
          label="Version"
          size="xs"
          allowDeselect={false}
          value={String(version ?? source.version)}
          data={versions.map((one) => ({ value: String(one.number), label: `${one.number} · ${one.state}` }))}
          onChange={(value) => amend({ version: value, chunk: null, lines: null })}
        />
      )}
      <Change source={source} />
      {source.summary && <p className="summary">{source.summary}</p>}
    </section>
  );
}

function Failure({ source }: { source: Source }) {
  const retry = useMutation(sources.retry);
  const deed = useDeed(retry);
  return (
    <div role="alert" className="aside-failure">
      <p>{deed.error === null ? source.error : reasonOf(deed.error)}</p>
      <Button
        variant="default"
        leftSection={<RetryIcon size={13} />}
        loading={deed.isRunning}
        onClick={() => void deed.run({ source: source.id })}
      >
        Retry
      </Button>
    </div>
  );
}

function VersionFacts({ version }: { version: Version }) {
  const now = useNow();
  const rows: [string, string][] = [
    ["Version", `${version.number}, ${ago(version.created, now)}`],
    ["Text", `${many(version.lines, "line")}, ${count(version.characters)} characters`],
    [
      "Chunks",
      version.reused > 0 ? `${count(version.chunkCount)}, ${count(version.reused)} kept` : count(version.chunkCount),
    ],
  ];
  if (version.pages) rows.push(["Pages", count(version.pages)]);
  if (version.tokens > 0) rows.push(["Tokens", count(version.tokens)]);
  if (version.embeddingMs > 0) rows.push(["Embedding", duration(version.embeddingMs)]);
  if (version.cached > 0) rows.push(["From the cache", count(version.cached)]);
  if (version.retries > 0) rows.push(["Retries", count(version.retries)]);
  if (version.cost > 0) rows.push(["Cost", money(version.cost)]);
  return (
    <dl className="facts-list number">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
      {version.model && (
        <div>
          <dt>Model</dt>
          <dd className="mono">{version.model}</dd>
        </div>
      )}
      {version.file && (
        <div>
          <dt>Original</dt>
          <dd>
            <a className="link" href={version.file} target="_blank" rel="noreferrer">
              Open
            </a>
          </dd>
        </div>
      )}
    </dl>
  );
}

/** A source's weight and category, which take effect in every search at once. */
function Change({ source }: { source: Source }) {
  const update = useMutation(sources.update);
  const choices = useQuery(searches.choices, {});
  const deed = useDeed(update);
  const [category, setCategory] = useState(source.category ?? "");
  const [importance, setImportance] = useState<string | number>(source.importance);
  const isChanged = category.trim() !== (source.category ?? "") || Number(importance) !== source.importance;
  const save = () => void deed.run({ source: source.id, category: category.trim(), importance: Number(importance) });
  return (
    <form
      className="change"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <Autocomplete
        label="Category"
        size="xs"
        placeholder="none"
        data={choices?.categories ?? []}
        value={category}
        onChange={setCategory}
      />
      <NumberInput
        label="Importance"
        size="xs"
        min={0}
        max={10}
        step={0.25}
        decimalScale={2}
        value={importance}
        onChange={setImportance}
      />
      {isChanged && (
        <Button type="submit" loading={deed.isRunning}>
          Save
        </Button>
      )}
      {deed.error !== null && (
        <p role="alert" className="outcome" data-error>
          {reasonOf(deed.error)}
        </p>
      )}
    </form>
  );
}
