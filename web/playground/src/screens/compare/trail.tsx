import { useEffect, useState } from "react";
import type { ResultRow } from "../../api/searches.ts";
import { hashOf } from "../../lib/place.ts";
import { Dot } from "../../parts/small.tsx";

type Step = { chunk: string; source: string; label: string };

const KEPT = 8;
const LABEL_LENGTH = 34;

// The way outlives the screen: one goes to a text and comes back.
let walked: Step[] = [];

/** Return the chunks one came by, the present one last. */
export function useTrail(target: ResultRow | undefined): Step[] {
  const [steps, setSteps] = useState(walked);
  useEffect(() => {
    if (!target) return;
    const at = walked.findIndex((step) => step.chunk === target._id);
    const label = (target.name ?? target.text.trim()).slice(0, LABEL_LENGTH);
    const former = at < 0 ? walked : walked.slice(0, at);
    walked = [...former, { chunk: target._id, source: target.source, label }].slice(-KEPT);
    setSteps(walked);
  }, [target]);
  return steps;
}

/** The way from the first chunk to this one. */
export function Trail({ steps, here }: { steps: Step[]; here: string }) {
  if (steps.length < 2) return null;
  return (
    <nav className="steps" aria-label="Way">
      {steps.map((step) => (
        <a
          key={step.chunk}
          className="step plain"
          href={hashOf("compare", step.chunk)}
          aria-current={step.chunk === here ? "step" : undefined}
        >
          <Dot of={step.source} />
          <span className="cut">{step.label}</span>
        </a>
      ))}
    </nav>
  );
}
