import { Alert, Code, List, Text } from "@mantine/core";
import { useQuery } from "convex/react";
import { api } from "../api.ts";
import { WarningIcon } from "./icons.tsx";

/** Lists the settings the server misses; disappears by itself once they are set. */
export function EnvironmentGate() {
  const embeddings = useQuery(api.environment.embeddings, {});
  const pinecone = useQuery(api.environment.pinecone, {});
  const missing = Object.entries({ ...embeddings, ...pinecone })
    .filter(([, isSet]) => !isSet)
    .map(([name]) => name);
  if (missing.length === 0) return null;
  return (
    <Alert role="alert" color="red" icon={<WarningIcon />} title="The server misses settings" mb="md">
      <Text size="sm">Set these where the server runs; this message goes away by itself once they are there.</Text>
      <List size="sm" mt="xs">
        {missing.map((name) => (
          <List.Item key={name}>
            <Code>{name}</Code>
          </List.Item>
        ))}
      </List>
    </Alert>
  );
}
