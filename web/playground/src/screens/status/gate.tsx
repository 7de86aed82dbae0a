import { CopyButton, Tooltip } from "@mantine/core";
import { useQuery } from "convex/react";
import { type Check, status } from "../../api/status.ts";
import { CheckIcon, InfoIcon, WarningIcon } from "../../parts/icons.tsx";
import { Waiting } from "../../parts/small.tsx";
import { Panel } from "./panel.tsx";

const NAMES: Record<Check["name"], string> = {
  embedder: "Embedder",
  model: "Vectors",
  chat: "Chat model",
  reranker: "Reranker",
  transforms: "Question changes",
  budget: "Budget",
  prices: "Prices",
};

/** What is configured, and what is missing; it clears by itself once that is set. */
export function Gate() {
  const gate = useQuery(status.check, {});
  return (
    <Panel title="Configuration" isWide>
      {gate === undefined ? (
        <Waiting rows={2} />
      ) : (
        <ul className="checks">
          {gate.checks.map((check) => (
            <Line key={`${check.name}/${check.text}`} check={check} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Line({ check }: { check: Check }) {
  return (
    <li className="check" data-state={check.state}>
      <Sign state={check.state} />
      <strong>{NAMES[check.name]}</strong>
      <span className="check-text">
        {check.text}
        {check.command && <Command text={check.command} />}
      </span>
    </li>
  );
}

function Sign({ state }: { state: Check["state"] }) {
  if (state === "ok") return <CheckIcon size={15} />;
  return state === "off" ? <InfoIcon size={15} /> : <WarningIcon size={15} />;
}

function Command({ text }: { text: string }) {
  return (
    <CopyButton value={text}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? "Copied" : "Copy"}>
          <button type="button" className="command mono" onClick={copy}>
            {text}
          </button>
        </Tooltip>
      )}
    </CopyButton>
  );
}
