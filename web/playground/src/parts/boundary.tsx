// A part of the page that fails alone: an error inside it leaves the rest of the page standing.
import { Button } from "@mantine/core";
import { Component, type ReactNode } from "react";
import { reasonOf } from "../lib/words.ts";
import { RetryIcon, WarningIcon } from "./icons.tsx";

type BoundaryProps = { what: string; children: ReactNode };

/** Shows what failed and a way to try again in place of its children when one of them throws. */
export class Boundary extends Component<BoundaryProps, { error: unknown }> {
  override state: { error: unknown } = { error: null };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <Problem title={`${this.props.what} could not be shown`} error={this.state.error}>
        <Button variant="default" leftSection={<RetryIcon size={14} />} onClick={() => this.setState({ error: null })}>
          Try again
        </Button>
      </Problem>
    );
  }
}

type ProblemProps = { title: string; error: unknown; children?: ReactNode };

/** Says what went wrong and offers the next step. */
export function Problem({ title, error, children }: ProblemProps) {
  return (
    <div role="alert" className="problem">
      <WarningIcon size={18} />
      <div>
        <strong>{title}</strong>
        <p>{reasonOf(error)}</p>
        {children}
      </div>
    </div>
  );
}
