import { CheckIcon, StopIcon, WarningIcon } from "./icons.tsx";

const LABELS: Record<string, string> = {
  reading: "Reading",
  embedding: "Embedding",
  ready: "Ready",
  failed: "Failed",
  stopped: "Stopped",
  replaced: "Replaced",
  waiting: "Waiting",
  searching: "Searching",
  writing: "Writing",
  done: "Done",
  running: "Running",
  idle: "Idle",
  pending: "Searching",
};

/** Says how something is, with a word and a sign beside the colour. */
export function State({ of, label }: { of: string; label?: string | undefined }) {
  return (
    <span className="state" data-state={of}>
      <Sign of={of} />
      {label ?? LABELS[of] ?? of}
    </span>
  );
}

function Sign({ of }: { of: string }) {
  switch (of) {
    case "ready":
    case "done":
    case "replaced":
    case "idle":
      return <CheckIcon size={13} />;
    case "failed":
      return <WarningIcon size={13} />;
    case "stopped":
      return <StopIcon size={12} />;
    default:
      return <span className="spin" />;
  }
}
