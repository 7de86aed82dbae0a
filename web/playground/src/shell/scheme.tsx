import { ActionIcon, Tooltip, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { MoonIcon, SunIcon } from "../parts/icons.tsx";

/** Return a function that changes between dark and light, and which of them it is. */
export function useScheme() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  return { scheme, change: () => setColorScheme(scheme === "dark" ? "light" : "dark") };
}

export function SchemeSwitch() {
  const { scheme, change } = useScheme();
  const label = scheme === "dark" ? "Use light colours" : "Use dark colours";
  return (
    <Tooltip label={`${label} (D)`}>
      <ActionIcon variant="subtle" color="gray" aria-label={label} onClick={change}>
        {scheme === "dark" ? <SunIcon /> : <MoonIcon />}
      </ActionIcon>
    </Tooltip>
  );
}
