/** The stand-in for Laravel, as a signed-in page sees it. */
import type { TableName } from './wire';

export interface User {
  id: number;
  name: string;
}

export interface Session {
  user: User;
  /** The Pusher-compatible server. */
  pusher: { key: string; host: string; port: number };
  /** Which table arrives on which channel; without Pusher's "private-". */
  feeds: { table: TableName; channel: string }[];
}

/** Signs the page's user in, or goes on with the session that there is. */
export async function signIn(): Promise<Session> {
  const response = await fetch('session', { method: 'POST' });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as Session;
}
