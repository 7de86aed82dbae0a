import { Button, Drawer, NumberInput, Select, Textarea, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useAction, useMutation, useQuery } from "convex/react";
import { useState } from "react";
import { answers, type Prompt, type Template, templates } from "../../api/answers.ts";
import { useDeed } from "../../lib/deed.ts";
import { reasonOf } from "../../lib/words.ts";
import { RetryIcon } from "../../parts/icons.tsx";
import { Waiting } from "../../parts/small.tsx";
import { PromptView } from "./prompt_view.tsx";

type TemplatesProps = { isOpen: boolean; close: () => void };

/** Where prompts are seen and changed. */
export function Templates({ isOpen, close }: TemplatesProps) {
  return (
    <Drawer
      opened={isOpen}
      onClose={close}
      position="right"
      size="xl"
      title="Templates"
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {isOpen && <Content />}
    </Drawer>
  );
}

function Content() {
  const list = useQuery(templates.list, {});
  const [name, setName] = useState("answer");
  if (!list) return <Waiting />;
  const template = list.find((one) => one.name === name) ?? list[0];
  if (!template) return null;
  return (
    <div className="templates">
      <Select
        label="Template"
        allowDeselect={false}
        value={template.name}
        data={list.map((one) => ({ value: one.name, label: one.changed ? `${one.name} (changed)` : one.name }))}
        onChange={(value) => setName(value ?? "answer")}
      />
      <Editor key={`${template.name}/${template.prompt}/${template.instructions}`} template={template} />
    </div>
  );
}

function Editor({ template }: { template: Template }) {
  const [draft, setDraft] = useState(template);
  const save = useMutation(templates.save);
  const reset = useMutation(templates.reset);
  const saving = useDeed(save);
  const [wanted] = useDebouncedValue(draft, 200);
  const { name, instructions, prompt, tokenBudget } = draft;
  const problems =
    useQuery(templates.check, { name: wanted.name, instructions: wanted.instructions, prompt: wanted.prompt }) ?? [];
  const isChanged =
    prompt !== template.prompt || instructions !== template.instructions || tokenBudget !== template.tokenBudget;
  const set = (part: Partial<Template>) => setDraft({ ...draft, ...part });
  return (
    <>
      <Textarea
        label="Instructions"
        autosize
        minRows={3}
        maxRows={14}
        classNames={{ input: "mono" }}
        value={instructions}
        onChange={(event) => set({ instructions: event.currentTarget.value })}
      />
      <Textarea
        label="Prompt"
        autosize
        minRows={5}
        maxRows={18}
        classNames={{ input: "mono" }}
        value={prompt}
        onChange={(event) => set({ prompt: event.currentTarget.value })}
      />
      <dl className="fields">
        {template.fields.map((field) => (
          <div key={field.name}>
            <dt>
              <button
                type="button"
                className="field mono"
                title="Put it at the end of the prompt"
                onClick={() => set({ prompt: `${prompt}{${field.name}}` })}
              >
                {`{${field.name}}`}
              </button>
            </dt>
            <dd>
              {field.meaning}
              {field.required && <span className="quiet"> (needed)</span>}
            </dd>
          </div>
        ))}
      </dl>
      <NumberInput
        label="Token budget"
        description="Passages that go beyond it are left out, the weakest first"
        min={100}
        step={100}
        value={tokenBudget}
        onChange={(value) => typeof value === "number" && set({ tokenBudget: value })}
      />
      {problems.length > 0 && (
        <ul className="template-problems" role="alert">
          {problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      )}
      {saving.error !== null && (
        <p role="alert" className="outcome" data-error>
          {reasonOf(saving.error)}
        </p>
      )}
      <div className="template-acts">
        <Button
          loading={saving.isRunning}
          disabled={!isChanged || problems.length > 0}
          onClick={() => void saving.run({ name, instructions, prompt, tokenBudget })}
        >
          Save
        </Button>
        {template.changed && (
          <Button variant="default" leftSection={<RetryIcon size={13} />} onClick={() => void reset({ name })}>
            {template.builtIn ? "As it was" : "Delete"}
          </Button>
        )}
      </div>
      {template.name !== "condense" && <Preview template={draft} isSound={problems.length === 0} />}
    </>
  );
}

/** What would be sent for a question; nothing is stored, and no model is asked. */
function Preview({ template, isSound }: { template: Template; isSound: boolean }) {
  const preview = useAction(answers.preview);
  const [question, setQuestion] = useState("");
  const [made, setMade] = useState<Prompt | null>(null);
  const deed = useDeed(async () => {
    const { name, instructions, prompt, tokenBudget } = template;
    setMade(await preview({ question, template: name, instructions, prompt, tokenBudget }));
  });
  return (
    <section aria-label="Preview" className="preview">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void deed.run();
        }}
      >
        <TextInput
          label="Try it with a question"
          placeholder="What would be sent for…"
          value={question}
          onChange={(event) => setQuestion(event.currentTarget.value)}
        />
        <Button
          type="submit"
          size="sm"
          variant="default"
          loading={deed.isRunning}
          disabled={!question.trim() || !isSound}
        >
          Preview
        </Button>
      </form>
      {deed.error !== null && (
        <p role="alert" className="outcome" data-error>
          {reasonOf(deed.error)}
        </p>
      )}
      {made && <PromptView prompt={made} />}
    </section>
  );
}
