/** The changes that the panel can make; the server writes the SQL and says what it ran. */
import type { Key } from './wire';

/** An action by name, with what it needs. */
export type Action =
  | { name: 'add'; user: number; title: string }
  | { name: 'toggle'; key: Key }
  | { name: 'rename'; key: Key; title: string }
  | { name: 'move'; key: Key; user: number }
  | { name: 'delete'; key: Key }
  | { name: 'bulk'; done: boolean }
  | { name: 'insert' }
  | { name: 'many' }
  | { name: 'clear' }
  | { name: 'rollback' }
  | { name: 'note' }
  | { name: 'sql'; sql: string };

/** A statement as the server ran it. */
export interface Statement {
  sql: string;
  /** How many rows it changed; null for BEGIN, COMMIT and the like. */
  rows: number | null;
}

export interface Result {
  statements: Statement[];
  rolledBack: boolean;
  /** What the database said, if it refused. */
  error?: string;
}

/** Runs an action. A database's refusal is a Result; only a lost server throws. */
export async function run({ name, ...parameters }: Action): Promise<Result> {
  const response = await fetch(`/actions/${name}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(parameters),
  });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as Result;
}
