/** A signed-in user's page: Echo keeps Dexie in sync, and all that is shown comes from Dexie. */
import { liveQuery } from 'dexie';
import { Client, type Connection } from './client';
import { byId } from './dom';
import { hear, tellShell, type Receipt, type ToPane } from './messages';
import { PaneView, summarize, type Contents } from './pane-view';
import { signIn, type Session } from './session';
import { Store } from './store';
import type { Arrival } from './sync';
import { now, parseTime } from './time';
import type { Key } from './wire';
import { Writer } from './writer';

/** How many todos a page shows; all of them are stored. */
const ROWS_SHOWN = 80;
const NOTES_SHOWN = 2;
const CHANGES_SHOWN = 3;

const user = Number(/\/u\/(\d+)\//.exec(location.pathname)?.[1]);
const store = new Store(user);
let client: Client | null = null;
let liveSince = Infinity;

const view = new PaneView({
  pick: (row) => tellShell({ type: 'picked', user, row: summarize(row) }),
  toggle: (row) => tellShell({ type: 'toggle', user, key: row.id }),
});

async function read(): Promise<Contents> {
  const todos = await store.rows('todos').orderBy('id').reverse().limit(ROWS_SHOWN).toArray();
  const notes = await store.rows('notes').orderBy('id').reverse().limit(NOTES_SHOWN).toArray();
  const keys = [
    ...todos.map(({ id }) => ['todos', id] as ['todos', Key]),
    ...notes.map(({ id }) => ['notes', id] as ['notes', Key]),
  ];
  const changes = await store.changes.bulkGet(keys);
  return {
    todos: todos.map((row, i) => ({ row, change: changes[i] ?? null })),
    notes: notes.map((row, i) => ({ row, change: changes[todos.length + i] ?? null })),
    count: await store.rows('todos').count(),
    recent: await store.changes.orderBy('at').reverse().limit(CHANGES_SHOWN).toArray(),
  };
}

/** Shows what is stored, now and after every write: before the network, and without it. */
liveQuery(read).subscribe({
  next: (contents) => {
    view.show(contents);
    tellShell({ type: 'rows', user, rows: contents.todos.map(({ row }) => summarize(row)) });
  },
  error: (error: unknown) => view.problem(`cannot read the local database: ${String(error)}`),
});

function stored(arrivals: readonly Arrival[]): void {
  if (arrivals.length > 0) {
    tellShell({ type: 'received', user, receipts: arrivals.map(receipt) });
  }
}

function receipt({ harmonic: { table, key, operation, row }, at }: Arrival): Receipt {
  const written = operation === 'delete' ? null : parseTime(row['updated_at']);
  const latency = written !== null && written >= liveSince ? at - written : null;
  return { table, key, operation, at, latency };
}

function connectionChanged(connection: Connection): void {
  if (connection !== 'live') liveSince = Infinity;
  else if (liveSince === Infinity) liveSince = now();
  view.connection(connection);
  tellShell({ type: 'connection', user, connection });
}

async function start(): Promise<void> {
  let session: Session;
  try {
    session = await signIn();
  } catch (error) {
    connectionChanged('refused');
    view.problem(`not signed in: ${String(error)}`);
    return;
  }
  view.signedIn(session);
  const writer = new Writer(store, stored, (error) =>
    view.problem(`a change was not stored: ${String(error)}`),
  );
  client = new Client(session, writer, connectionChanged, (problem) => view.problem(problem));
}

byId('switch').addEventListener('click', () => {
  if (view.isOffline()) client?.connect();
  else client?.disconnect();
});
hear<ToPane>(
  () => window.parent,
  (message) => view.highlight(message.key),
);
view.user(user);
void start();
