/** The DOM of a user's page. */
import type { Connection } from './client';
import { byId, h, KeyedList, replay } from './dom';
import type { Summary } from './messages';
import type { Session } from './session';
import type { Change } from './store';
import { parseTime, plural, timeOfDay } from './time';
import type { Key, Row } from './wire';

/** A row and what last happened to it, if this browser saw it happen. */
export interface Item {
  row: Row;
  change: Change | null;
}

/** What the page shows, all of it read from Dexie. */
export interface Contents {
  /** Newest first, and not all if there are many. */
  todos: Item[];
  notes: Item[];
  /** How many todos are stored. */
  count: number;
  recent: Change[];
}

export interface Actions {
  pick(row: Row): void;
  toggle(row: Row): void;
}

const OPERATION_TEXT = { create: 'created', update: 'updated', delete: 'deleted' };

/** How long a row takes to leave, in milliseconds; as long as pane.css lets it. */
const LEAVING = 280;

export function summarize({ id, title, done }: Row): Summary {
  return { key: id, title: String(title), done: done === true };
}

export class PaneView {
  private readonly todos: KeyedList<Item>;
  private readonly notes: KeyedList<Item>;
  private readonly ticker: KeyedList<Change>;
  private readonly rows = new Map<Key, Row>();
  private picked: Key | null = null;
  /** Until the first contents are shown nothing flashes: it was here before. */
  private fresh = true;
  private state: Connection = 'connecting';

  constructor(private readonly actions: Actions) {
    const key = ({ row }: Item) => String(row.id);
    this.todos = new KeyedList(byId('todos'), {
      key,
      create: ({ row }) => this.createTodo(row.id),
      update: (element, item) => this.updateTodo(element, item),
      leave: (element) => {
        element.classList.add('leaving');
        element.inert = true;
        setTimeout(() => element.remove(), LEAVING);
      },
    });
    this.notes = new KeyedList(byId('notes'), {
      key,
      create: () => h('li', { class: 'note' }),
      update: (element, { row, change }) => {
        element.textContent = String(row['body']);
        this.mark(element, change);
      },
      leave: (element) => element.remove(),
    });
    this.ticker = new KeyedList(byId('ticker'), {
      key: ({ harmonic }) => harmonic,
      create: ({ operation, table, key, at }) =>
        h(
          'li',
          {},
          h('time', {}, timeOfDay(at)),
          h('span', { class: `op op-${operation}` }, operation),
          `${table} ${key}`,
        ),
      update: () => undefined,
      leave: (element) => element.remove(),
    });
  }

  /** Which user's page this is, known before anybody has signed in. */
  user(id: number): void {
    document.body.dataset['user'] = String(id);
  }

  signedIn({ user, feeds }: Session): void {
    document.title = `${user.name}’s todos`;
    byId('avatar').textContent = user.name.charAt(0);
    byId('name').textContent = user.name;
    byId('channel').textContent = `private-${feeds[0]?.channel ?? ''}`;
  }

  connection(connection: Connection): void {
    this.state = connection;
    byId('connection').dataset['state'] = connection;
    byId('connection').textContent = connection;
    byId('switch').textContent = this.isOffline() ? 'Reconnect' : 'Go offline';
    if (connection === 'live') byId('problem').hidden = true;
  }

  isOffline(): boolean {
    return this.state === 'offline';
  }

  problem(message: string): void {
    const problem = byId('problem');
    problem.hidden = false;
    problem.textContent = message;
  }

  highlight(key: Key | null): void {
    this.picked = key;
    for (const element of byId('todos').querySelectorAll<HTMLElement>('.todo')) {
      this.markPicked(element);
    }
  }

  show({ todos, notes, count, recent }: Contents): void {
    this.rows.clear();
    for (const { row } of todos) this.rows.set(row.id, row);
    this.todos.render(todos);
    this.notes.render(notes);
    this.ticker.render(recent);
    byId('count').textContent = plural(count, 'row');
    byId('empty').hidden = count > 0;
    byId('more').hidden = count <= todos.length;
    byId('more').textContent = `and ${(count - todos.length).toLocaleString('en')} more, stored`;
    this.fresh = false;
  }

  private createTodo(key: Key): HTMLElement {
    const act = (action: (row: Row) => void) => () => {
      const row = this.rows.get(key);
      if (row) action(row);
    };
    return h(
      'li',
      { class: 'todo', 'data-key': String(key) },
      h('button', {
        type: 'button',
        role: 'checkbox',
        class: 'check',
        onclick: act(this.actions.toggle),
      }),
      h(
        'button',
        { type: 'button', class: 'body', onclick: act(this.actions.pick) },
        h('span', { class: 'title' }),
        h('span', { class: 'op' }),
        h('span', { class: 'meta' }),
      ),
    );
  }

  private updateTodo(element: HTMLElement, { row, change }: Item): void {
    const part = (selector: string) => element.querySelector<HTMLElement>(selector)!;
    const title = String(row['title']);
    part('.title').textContent = title;
    part('.meta').textContent = describe(row);
    part('.check').setAttribute('aria-checked', String(row['done'] === true));
    part('.check').setAttribute('aria-label', `Done: ${title}`);
    part('.op').textContent = change ? OPERATION_TEXT[change.operation] : 'loaded';
    part('.op').className = `op op-${change?.operation ?? 'loaded'}`;
    element.dataset['op'] = change?.operation ?? 'loaded';
    this.mark(element, change);
    this.markPicked(element);
  }

  /** Lets an element flash when another harmonic has touched it. */
  private mark(element: HTMLElement, change: Change | null): void {
    const harmonic = change?.harmonic ?? '';
    if (!this.fresh && harmonic !== '' && element.dataset['harmonic'] !== harmonic) {
      replay(element, `flash-${change?.operation === 'create' ? 'create' : 'update'}`);
    }
    element.dataset['harmonic'] = harmonic;
  }

  private markPicked(element: HTMLElement): void {
    const picked = this.picked !== null && element.dataset['key'] === String(this.picked);
    element.classList.toggle('picked', picked);
    element.querySelector('.body')?.setAttribute('aria-pressed', String(picked));
  }
}

/** The other fields of a todo: "id 12 · user_id 1 · 1.50 h · 17:25:39". */
function describe(row: Row): string {
  const written = parseTime(row['updated_at']);
  return [
    `id ${row.id}`,
    `user_id ${String(row['user_id'])}`,
    `${String(row['hours'])} h`,
    ...(written === null ? [] : [timeOfDay(written)]),
  ].join(' · ');
}
