import { Button } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery } from "convex/react";
import { useEffect, useRef } from "react";
import { answers, threads } from "../../api/answers.ts";
import { useDeed } from "../../lib/deed.ts";
import { go, hashOf, usePlace } from "../../lib/place.ts";
import { Boundary, Problem } from "../../parts/boundary.tsx";
import { AskIcon, EditIcon, HistoryIcon, PlusIcon } from "../../parts/icons.tsx";
import { Header } from "../../shell/header.tsx";
import "./ask.css";
import { Composer } from "./composer.tsx";
import { Conversation } from "./conversation.tsx";
import { Templates } from "./templates.tsx";
import { ThreadList } from "./thread_list.tsx";
import { AskedWith, useWays, type Ways } from "./ways.tsx";

/** Questions that are answered from the corpus, in threads. */
export function AskScreen({ id }: { id: string | null }) {
  const { params } = usePlace();
  const [areTemplatesOpen, templates] = useDisclosure();
  const [isListOpen, list] = useDisclosure();
  const [ways, setWays] = useWays();
  const thread = useQuery(threads.get, id ? { thread: id } : "skip");
  const start = useMutation(threads.start);
  const ask = useMutation(answers.ask);
  const deed = useDeed(async (question: string, wanted: Ways) => {
    const into = id ?? (await start({ title: question }));
    await ask({ question, thread: into, ...wanted.asked });
    go("ask", into);
  });
  const given = useRef<string | null>(null);
  const asked = params.get("q");
  const { run } = deed;
  useEffect(() => {
    if (!asked || given.current === asked) return;
    given.current = asked;
    void run(asked, ways);
    // The question in the address is asked once.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [asked]);
  return (
    <>
      <Header title="Ask" note={thread?.title}>
        <Button
          variant="default"
          className="threads-button"
          leftSection={<HistoryIcon size={14} />}
          onClick={list.toggle}
          aria-expanded={isListOpen}
        >
          Threads
        </Button>
        <Button variant="default" leftSection={<EditIcon size={14} />} onClick={templates.open}>
          Template
        </Button>
        {id && (
          <Button component="a" href={hashOf("ask")} leftSection={<PlusIcon size={14} />}>
            New thread
          </Button>
        )}
      </Header>
      <div className="ask">
        <Boundary what="The list of threads">
          <ThreadList here={id} isOpen={isListOpen} close={list.close} />
        </Boundary>
        <div className="ask-main">
          <Boundary key={id} what="The conversation">
            {id ? <Conversation thread={id} /> : <Beginning ask={(question) => void run(question, ways)} />}
          </Boundary>
          <div className="ask-foot">
            {deed.error !== null && <Problem title="The question could not be asked" error={deed.error} />}
            <Composer key={id} isAsking={deed.isRunning} ask={(question) => run(question, ways)}>
              <AskedWith ways={ways} change={setWays} />
            </Composer>
          </div>
        </div>
      </div>
      <Templates isOpen={areTemplatesOpen} close={templates.close} />
    </>
  );
}

const EXAMPLES = ["What is this about?", "Which numbers are given, and where?", "What should I do first?"];

function Beginning({ ask }: { ask: (question: string) => void }) {
  return (
    <div className="body beginning">
      <span className="empty-icon">
        <AskIcon size={22} />
      </span>
      <h2>Ask the corpus</h2>
      <p>
        Each answer says where it is from: a click on a mark such as <span className="cite-sample">1</span> opens the
        very lines. Everybody who watches sees the same words as they come.
      </p>
      <div className="chips">
        {EXAMPLES.map((example) => (
          <button key={example} type="button" className="chip" onClick={() => ask(example)}>
            {example}
          </button>
        ))}
      </div>
    </div>
  );
}
