import { Button, Text, TextInput, Title } from "@mantine/core";
import { useDocumentTitle, useHotkeys } from "@mantine/hooks";
import { useConvexAuth, useMutation, useQuery } from "convex/react";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Logo } from "../../article/src/components/icons.tsx";
import { Boundary, Problem } from "../../article/src/components/panel.tsx";
import { api, type Channel } from "./api.ts";
import { Messages } from "./messages.tsx";
import { Search } from "./search.tsx";
import type { User } from "./session.ts";

type ChatProps = { user: User; signOut: () => Promise<void> };

export function Chat({ user, signOut }: ChatProps) {
  const { isAuthenticated } = useConvexAuth();
  const channels = useQuery(api.channels.all, isAuthenticated ? {} : "skip");
  const begin = useMutation(api.channels.begin);
  const [chosen, setChosen] = useState<string | null>(null);
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>(null);
  const box = useRef<HTMLInputElement>(null);
  const channel = channels?.find(({ _id }) => _id === chosen) ?? channels?.[0];
  useDocumentTitle(channel ? `#${channel.name} · reflow chat` : "reflow chat");
  useHotkeys([
    ["/", () => box.current?.select()],
    ["mod+K", () => box.current?.select()],
  ]);

  const isEmpty = channels?.length === 0;
  useEffect(() => {
    if (isEmpty) begin({}).catch(setError);
  }, [isEmpty, begin]);

  const open = (id: string) => {
    setChosen(id);
    setText("");
  };
  return (
    <div className="chat">
      <header className="chat-header">
        <div className="chat-mark">
          <Logo />
          <Title order={1} size="h4" className="wordmark">
            {user.team}
          </Title>
        </div>
        <TextInput
          ref={box}
          type="search"
          role="searchbox"
          aria-label="Search messages"
          placeholder="Search by meaning, or by words"
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => event.key === "Escape" && setText("")}
        />
        <div className="chat-user">
          <Text size="sm">{user.name}</Text>
          <Button variant="default" size="compact-sm" onClick={() => void signOut().catch(setError)}>
            Sign out
          </Button>
        </div>
      </header>
      <nav className="chat-channels" aria-label="Channels">
        <Boundary what="The list of channels">
          <Channels all={channels} current={channel?._id} open={open} />
        </Boundary>
      </nav>
      <main className="chat-main">
        {error !== null && <Problem title="This did not work" error={error} />}
        <Boundary what="The conversation">
          {text.trim() ? (
            <Search text={text.trim()} open={open} />
          ) : (
            channel && <Messages key={channel._id} channel={channel} user={user} />
          )}
        </Boundary>
      </main>
    </div>
  );
}

type ChannelsProps = { all: Channel[] | undefined; current: string | undefined; open: (id: string) => void };

function Channels({ all, current, open }: ChannelsProps) {
  const create = useMutation(api.channels.create);
  const [name, setName] = useState("");
  const [error, setError] = useState<string | null>(null);
  const add = (event: FormEvent) => {
    event.preventDefault();
    if (!name.trim()) return;
    create({ name })
      .then((id) => {
        setName("");
        setError(null);
        open(id);
      })
      .catch((failed: Error & { data?: unknown }) => setError(String(failed.data ?? failed.message)));
  };
  return (
    <>
      <ul>
        {all?.map((channel) => (
          <li key={channel._id}>
            <button
              type="button"
              aria-current={channel._id === current ? "page" : undefined}
              onClick={() => open(channel._id)}
            >
              # {channel.name}
            </button>
          </li>
        ))}
      </ul>
      <form onSubmit={add}>
        <TextInput
          size="xs"
          aria-label="New channel"
          placeholder="New channel"
          value={name}
          error={error}
          onChange={(event) => setName(event.target.value)}
        />
      </form>
    </>
  );
}
