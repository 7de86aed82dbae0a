// A titled part of the page that fails alone: an error inside it leaves the rest of the page standing.
import { Alert, Box, Button, Group, Paper, Text, Title } from "@mantine/core";
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
        <Button
          size="xs"
          variant="light"
          color="red"
          leftSection={<RetryIcon size={14} />}
          onClick={() => this.setState({ error: null })}
        >
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
    <Alert role="alert" color="red" variant="light" title={title} icon={<WarningIcon />}>
      <Text size="sm" style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>
        {reasonOf(error)}
      </Text>
      {children && <Group mt="sm">{children}</Group>}
    </Alert>
  );
}

type PanelProps = { title: string; note?: ReactNode; aside?: ReactNode; children: ReactNode };

export function Panel({ title, note, aside, children }: PanelProps) {
  return (
    <Paper component="section" aria-label={title} withBorder radius="lg" className="panel">
      <Group justify="space-between" align="baseline" wrap="nowrap" className="panel-head">
        <Group gap="sm" align="baseline" wrap="wrap">
          <Title order={2} size="h5">
            {title}
          </Title>
          {note && (
            <Text size="sm" c="dimmed">
              {note}
            </Text>
          )}
        </Group>
        {aside}
      </Group>
      <Boundary what={title}>{children}</Boundary>
    </Paper>
  );
}

type EmptyProps = { title: string; children?: ReactNode };

/** An honest empty state: what there is not, and what to do next. */
export function Empty({ title, children }: EmptyProps) {
  return (
    <Box className="empty">
      <Text fw={600}>{title}</Text>
      {children && (
        <Text size="sm" c="dimmed" mt={4} component="div">
          {children}
        </Text>
      )}
    </Box>
  );
}
