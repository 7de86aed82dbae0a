import { Button, Textarea } from "@mantine/core";
import { getHotkeyHandler } from "@mantine/hooks";
import { useMutation } from "convex/react";
import { type FormEvent, useState } from "react";
import { sources } from "../../api/sources.ts";
import { many, reasonOf } from "../../lib/words.ts";
import { Key } from "../../parts/small.tsx";

/** The form for web addresses, one in each line. */
export function AddAddress({ added }: { added: (name: string) => void }) {
  const put = useMutation(sources.putUrl);
  const [text, setText] = useState("");
  const [isAdding, setAdding] = useState(false);
  const [errors, setErrors] = useState<string[]>([]);
  const addresses = text.split(/\s+/).filter(Boolean);
  const submit = async (event?: FormEvent) => {
    event?.preventDefault();
    if (addresses.length === 0 || isAdding) return;
    setAdding(true);
    const refused: string[] = [];
    const kept: string[] = [];
    for (const address of addresses) {
      try {
        await put({ url: /^[a-z]+:\/\//i.test(address) ? address : `https://${address}` });
      } catch (error) {
        refused.push(`${address}: ${reasonOf(error)}`);
        kept.push(address);
      }
    }
    setAdding(false);
    setErrors(refused);
    setText(kept.join("\n"));
    if (kept.length < addresses.length) added(many(addresses.length - kept.length, "address", "addresses"));
  };
  return (
    <form className="add-form" onSubmit={submit} onKeyDown={getHotkeyHandler([["mod+Enter", () => void submit()]])}>
      <Textarea
        aria-label="Addresses"
        placeholder={"https://example.org/an-article\none address in each line"}
        data-autofocus
        autosize
        minRows={4}
        maxRows={12}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {errors.map((error) => (
        <p key={error} role="alert" className="outcome" data-error>
          {error}
        </p>
      ))}
      <div className="add-end">
        <span className="outcome">The server fetches the pages; addresses inside its own network are refused.</span>
        <Button
          type="submit"
          size="sm"
          loading={isAdding}
          disabled={addresses.length === 0}
          rightSection={<Key>Ctrl Enter</Key>}
        >
          Fetch
        </Button>
      </div>
    </form>
  );
}
