import { Button } from "@mantine/core";
import { useMutation, useQuery } from "convex/react";
import { type Job, jobs, sources } from "../../api/sources.ts";
import { useDeed } from "../../lib/deed.ts";
import { useNow } from "../../lib/now.ts";
import { hashOf } from "../../lib/place.ts";
import { ago, count, duration, many, reasonOf } from "../../lib/words.ts";
import { CheckIcon, RetryIcon, StopIcon } from "../../parts/icons.tsx";
import { Dot, Facts, Waiting } from "../../parts/small.tsx";
import { State } from "../../parts/state.tsx";
import { Panel } from "./panel.tsx";

/** What is not ready, and what keeps it. */
export function Jobs() {
  const list = useQuery(jobs.list, {});
  const retryAll = useMutation(sources.retryAll);
  const deed = useDeed(retryAll);
  const halted = list?.filter((job) => job.state === "failed" || job.state === "stopped").length ?? 0;
  return (
    <Panel
      title="Jobs"
      isWide
      end={
        halted > 0 && (
          <Button
            variant="default"
            leftSection={<RetryIcon size={13} />}
            loading={deed.isRunning}
            onClick={() => void deed.run({})}
          >
            Retry {many(halted, "source")}
          </Button>
        )
      }
    >
      <Pump />
      {list === undefined && <Waiting rows={2} />}
      {list?.length === 0 && (
        <p className="all-well">
          <CheckIcon size={15} /> Every chunk has its vector. Nothing is waiting.
        </p>
      )}
      {list && list.length > 0 && (
        <ul className="jobs">
          {list.map((job) => (
            <Line key={job.source} job={job} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Pump() {
  const status = useQuery(jobs.status, {});
  const now = useNow();
  if (!status || status.state === "idle") return null;
  const until = status.until != null && status.until > now ? `, again in ${duration(status.until - now)}` : "";
  return (
    <p className="pump">
      <State of={status.state} />
      <span className="quiet">
        {status.reason}
        {until}
      </span>
    </p>
  );
}

function Line({ job }: { job: Job }) {
  const now = useNow();
  const retry = useMutation(sources.retry);
  const stop = useMutation(sources.stop);
  const isHalted = job.state === "failed" || job.state === "stopped";
  const deed = useDeed(isHalted ? retry : stop);
  const waits = job.nextTry != null && job.nextTry > now ? `again in ${duration(job.nextTry - now)}` : null;
  return (
    <li className="job">
      <Dot of={job.source} />
      <a className="plain cut job-name" href={hashOf("sources", job.source)} data-row>
        {job.name}
      </a>
      <State of={job.state} />
      <Facts
        of={[
          job.total > 0 && `${count(job.done)} / ${count(job.total)}`,
          job.attempts > 0 && `try ${job.attempts + 1}`,
          waits,
          ago(job.updated, now),
        ]}
      />
      <Button
        variant="subtle"
        color="gray"
        size="compact-xs"
        leftSection={isHalted ? <RetryIcon size={12} /> : <StopIcon size={12} />}
        loading={deed.isRunning}
        onClick={() => void deed.run({ source: job.source })}
      >
        {isHalted ? "Retry" : "Stop"}
      </Button>
      {(job.error != null || deed.error !== null) && (
        <p className="job-error">{deed.error === null ? job.error : reasonOf(deed.error)}</p>
      )}
    </li>
  );
}
