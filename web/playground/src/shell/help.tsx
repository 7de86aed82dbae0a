import { Modal } from "@mantine/core";
import { Key } from "../parts/small.tsx";
import { SHORTCUTS } from "./shortcuts.ts";

type HelpProps = { isOpen: boolean; close: () => void };

/** Lists what the keyboard does. */
export function Help({ isOpen, close }: HelpProps) {
  return (
    <Modal opened={isOpen} onClose={close} title="Keyboard" size="lg" closeButtonProps={{ "aria-label": "Close" }}>
      <div className="help">
        {SHORTCUTS.map((group) => (
          <section key={group.title} aria-label={group.title}>
            <h3>{group.title}</h3>
            <dl>
              {group.keys.map(([keys, what]) => (
                <div key={what}>
                  <dt>{what}</dt>
                  <dd>
                    {keys.map((key) => (
                      <Key key={key}>{key}</Key>
                    ))}
                  </dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Modal>
  );
}
