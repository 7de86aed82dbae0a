import { Button, Code, Loader, Paper, PasswordInput, Text, TextInput, Title } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { Logo } from "../../article/src/components/icons.tsx";
import { Problem } from "../../article/src/components/panel.tsx";
import type { Session } from "./session.ts";

export function SignIn({ session }: { session: Session }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    session
      .signIn(name, password)
      .catch(setError)
      .finally(() => setBusy(false));
  };

  if (session.isLoading) return <Loader className="waiting" aria-label="Looking who is signed in" />;
  return (
    <main className="door">
      <Paper component="form" withBorder radius="lg" className="door-card" onSubmit={submit} aria-label="Sign in">
        <div className="door-head">
          <Logo />
          <Title order={1} size="h3" className="wordmark">
            reflow chat
          </Title>
        </div>
        <TextInput label="Name" autoComplete="username" required autoFocus value={name} onChange={(e) => setName(e.target.value)} />
        <PasswordInput
          label="Password"
          autoComplete="current-password"
          required
          value={password}
          onChange={(e) => setPassword(e.target.value)}
        />
        {error !== null && <Problem title="Not signed in" error={error} />}
        <Button type="submit" loading={isBusy}>
          Sign in
        </Button>
        <Text size="sm" c="dimmed" component="div">
          No account yet? Who runs the server makes one: <Code>reflow run accounts:create</Code>
        </Text>
      </Paper>
    </main>
  );
}
