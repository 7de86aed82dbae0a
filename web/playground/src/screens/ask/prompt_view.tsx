import type { Prompt } from "../../api/answers.ts";
import { count, many } from "../../lib/words.ts";

/** What a chat model is sent, message by message. */
export function PromptView({ prompt }: { prompt: Prompt }) {
  const share = prompt.budget > 0 ? Math.min(1, prompt.tokens / prompt.budget) : 0;
  return (
    <div className="prompt">
      <p className="prompt-budget">
        <span className="thin-bar" aria-hidden="true">
          <span style={{ width: `${share * 100}%` }} />
        </span>
        <span className="number quiet">
          about {count(prompt.tokens)} of {count(prompt.budget)} tokens
          {prompt.passages.length > prompt.used &&
            `; ${many(prompt.passages.length - prompt.used, "passage")} left out for want of room`}
        </span>
      </p>
      {prompt.messages.map((message, index) => (
        <section key={index} aria-label={message.role}>
          <h3>{message.role}</h3>
          <pre tabIndex={0}>{message.content}</pre>
        </section>
      ))}
      {prompt.messages.length === 0 && (
        <p className="quiet">No model is asked: the answer is put together from the passages.</p>
      )}
    </div>
  );
}
