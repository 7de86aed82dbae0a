import { ActionIcon, Button, Tooltip } from "@mantine/core";
import { useMutation } from "convex/react";
import { type Source, sources } from "../../api/sources.ts";
import { useArrival } from "../../lib/arrivals.ts";
import { useDeed } from "../../lib/deed.ts";
import { useNow } from "../../lib/now.ts";
import { hashOf } from "../../lib/place.ts";
import { ago, count, duration, many, moment, reasonOf } from "../../lib/words.ts";
import { ConfirmDelete } from "../../parts/confirm.tsx";
import { RetryIcon, StopIcon } from "../../parts/icons.tsx";
import { Dot, Facts } from "../../parts/small.tsx";
import { State } from "../../parts/state.tsx";

/** A source in the list: what it is, how far it is, and what can be done. */
export function SourceLine({ source, arrives }: { source: Source; arrives: boolean }) {
  const arrival = useArrival(arrives);
  const now = useNow();
  const remove = useMutation(sources.remove);
  const isInWork = source.state === "reading" || source.state === "embedding";
  return (
    <li className="source" data-state={source.state} {...arrival}>
      <Dot of={source.id} />
      <div className="source-body">
        <a className="source-name cut" href={hashOf("sources", source.id)} data-row>
          {source.name}
        </a>
        <Facts
          of={[
            source.kind,
            source.version > 0 && many(source.chunkCount, "chunk"),
            source.version > 1 && `version ${source.version}`,
            source.category,
            source.key !== source.name && source.key,
            source.origin != null && source.origin !== source.name && source.origin !== source.key && source.origin,
          ]}
        />
      </div>
      <div className="source-state">
        {isInWork ? <Progress source={source} now={now} /> : <State of={source.state} />}
      </div>
      <time className="source-time quiet" title={moment(source.updated)}>
        {ago(source.updated, now)}
      </time>
      <div className="source-acts">
        {isInWork && <Stop source={source} />}
        <ConfirmDelete label={`Delete ${source.name}`} act={() => remove({ source: source.id })}>
          Delete <strong>{source.name}</strong>, its {many(source.chunkCount, "chunk")} and their vectors?
        </ConfirmDelete>
      </div>
      {(source.state === "failed" || source.state === "stopped" || source.error != null) && <Trouble source={source} />}
    </li>
  );
}

function Progress({ source, now }: { source: Source; now: number }) {
  const { progress, nextTry } = source;
  const waits = nextTry != null && nextTry > now ? `again in ${duration(nextTry - now)}` : undefined;
  const share = progress && progress.total > 0 ? progress.embedded / progress.total : 0;
  return (
    <>
      <State
        of={source.state}
        label={source.version > 0 ? `Version ${source.pending ?? source.version + 1}` : undefined}
      />
      {progress && source.state === "embedding" && (
        <span className="source-progress">
          <span
            className="thin-bar"
            role="progressbar"
            aria-label={`Embedded of ${source.name}`}
            aria-valuenow={Math.round(share * 100)}
          >
            <span style={{ width: `${share * 100}%` }} />
          </span>
          <span className="number quiet">{waits ?? `${count(progress.embedded)} / ${count(progress.total)}`}</span>
        </span>
      )}
    </>
  );
}

function Stop({ source }: { source: Source }) {
  const stop = useMutation(sources.stop);
  return (
    <Tooltip label="Stop">
      <ActionIcon
        variant="subtle"
        color="gray"
        aria-label={`Stop ${source.name}`}
        onClick={() => void stop({ source: source.id })}
      >
        <StopIcon size={15} />
      </ActionIcon>
    </Tooltip>
  );
}

const GO_ON = { stopped: "Go on", failed: "Retry", reading: "Try now", embedding: "Try now", ready: "Retry" };

/** Why a source is not ready, or what it waits for, and the button that goes on. */
function Trouble({ source }: { source: Source }) {
  const retry = useMutation(sources.retry);
  const deed = useDeed(retry);
  return (
    <div className="trouble">
      <span>
        {source.error ?? (source.state === "stopped" ? "Stopped before it was finished." : "The reason was not given.")}
        {deed.error !== null && <span role="alert"> {reasonOf(deed.error)}</span>}
      </span>
      <Button
        variant="default"
        size="compact-xs"
        leftSection={<RetryIcon size={12} />}
        loading={deed.isRunning}
        onClick={() => void deed.run({ source: source.id })}
      >
        {GO_ON[source.state]}
      </Button>
    </div>
  );
}
