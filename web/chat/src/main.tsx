import "@mantine/core/styles.css";
import "../../article/src/page.css";
import "./chat.css";
import { MantineProvider } from "@mantine/core";
import { ConvexProviderWithAuth, ConvexReactClient } from "convex/react";
import { StrictMode, createContext, useContext, useMemo } from "react";
import { createRoot } from "react-dom/client";
import { theme } from "../../article/src/theme.ts";
import { Chat } from "./chat.tsx";
import { type Session, useSession } from "./session.ts";
import { SignIn } from "./sign_in.tsx";

const client = new ConvexReactClient(window.location.origin, { skipConvexDeploymentUrlCheck: true });

const SessionContext = createContext<Session | null>(null);

/** What the client wants to know of the session. */
function useAuth() {
  const { isLoading, user, fetchToken } = useContext(SessionContext)!;
  const isAuthenticated = user !== null;
  return useMemo(
    () => ({ isLoading, isAuthenticated, fetchAccessToken: fetchToken }),
    [isLoading, isAuthenticated, fetchToken],
  );
}

function Root() {
  const session = useSession();
  return (
    <SessionContext value={session}>
      <ConvexProviderWithAuth client={client} useAuth={useAuth}>
        {session.user ? <Chat key={session.user.name} user={session.user} signOut={session.signOut} /> : <SignIn session={session} />}
      </ConvexProviderWithAuth>
    </SessionContext>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <Root />
    </MantineProvider>
  </StrictMode>,
);
