/** The panel's controls, and the row they act on. */
import type { Action } from './actions';
import { byId } from './dom';
import type { Summary } from './messages';
import type { Key } from './wire';

const NAMES: Record<number, string> = { 1: 'Ada', 2: 'Grace' };

/** Titles to offer, so that a click is enough. */
const SUGGESTIONS = [
  'Find the moth in relay 70',
  'Write the first program',
  'Explain a nanosecond with wire',
  'Check the Bernoulli numbers',
  'Compile it, then compile the compiler',
  'Post the notes to Charles',
];

export class Panel {
  private readonly rows = new Map<number, Summary[]>();
  private picked: Key | null = null;
  private suggestion = 0;

  /** `perform` runs an action; `highlight` is told which row is picked. */
  constructor(
    private readonly perform: (action: Action) => void,
    private readonly highlight: (key: Key | null) => void,
  ) {
    onSubmit('add', (form) => {
      const title = String(form.get('title'));
      this.suggest();
      this.perform({ name: 'add', user: Number(form.get('user')), title });
    });
    onSubmit('picked', (form) =>
      this.withPicked(({ key }) => ({ name: 'rename', key, title: String(form.get('title')) })),
    );
    onSubmit('sql', (form) => this.perform({ name: 'sql', sql: String(form.get('sql')) }));
    byId('sql-text').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        byId<HTMLFormElement>('sql').requestSubmit();
      }
    });

    onClick('toggle', () => this.withPicked(({ key }) => ({ name: 'toggle', key })));
    onClick('move', () =>
      this.withPicked(({ key }, owner) => ({ name: 'move', key, user: other(owner) })),
    );
    onClick('delete', () => this.withPicked(({ key }) => ({ name: 'delete', key })));
    onClick('bulk', () => this.perform({ name: 'bulk', done: this.anythingOpen() }));
    for (const name of ['insert', 'many', 'clear', 'rollback', 'note'] as const) {
      onClick(name, () => this.perform({ name }));
    }
    this.suggest();
    this.refresh();
  }

  /** Takes note of the rows that a user's page shows. */
  setRows(user: number, rows: Summary[]): void {
    this.rows.set(user, rows);
    this.refresh();
  }

  pick(key: Key): void {
    this.picked = key;
    this.refresh();
  }

  /** Brings the controls up to date with the rows. */
  private refresh(): void {
    const before = byId('picked').dataset['key'];
    const found = this.current();
    if (found) {
      const { row, owner } = found;
      byId('picked-label').textContent = `Picked row · ${NAMES[owner]}’s no. ${row.key}`;
      byId('toggle').textContent = row.done ? 'Mark open' : 'Mark done';
      byId('move').textContent = `Move to ${NAMES[other(owner)]}`;
      const input = byId<HTMLInputElement>('picked-title');
      // Not under the fingers of somebody who is typing a new title.
      if (before !== String(row.key) || document.activeElement !== input) input.value = row.title;
    } else {
      byId('picked-label').textContent = 'Picked row';
      byId<HTMLInputElement>('picked-title').value = '';
    }
    byId('picked').dataset['key'] = String(found?.row.key ?? '');
    for (const id of ['toggle', 'move', 'delete']) byId<HTMLButtonElement>(id).disabled = !found;
    byId('bulk').querySelector('b')!.textContent = this.anythingOpen()
      ? 'Finish everything'
      : 'Reopen everything';
    byId('bulk').querySelector('code')!.textContent =
      `SET done = ${this.anythingOpen() ? 1 : 0} WHERE …`;
    this.highlight(found?.row.key ?? null);
  }

  private withPicked(action: (row: Summary, owner: number) => Action): void {
    const found = this.current();
    if (!found) return;
    this.picked = found.row.key; // wherever it goes, it stays picked
    this.perform(action(found.row, found.owner));
  }

  /**
   * The picked row, or the newest while that one is nowhere: deleted for good,
   * or for a moment on its way from one user to the other.
   */
  private current(): { row: Summary; owner: number } | null {
    let first = null;
    for (const owner of [1, 2]) {
      for (const row of this.rows.get(owner) ?? []) {
        if (row.key === this.picked) return { row, owner };
        first ??= { row, owner };
      }
    }
    return first;
  }

  private anythingOpen(): boolean {
    const rows = [...this.rows.values()].flat();
    return rows.length === 0 || rows.some(({ done }) => !done);
  }

  private suggest(): void {
    const title = SUGGESTIONS[this.suggestion++ % SUGGESTIONS.length]!;
    byId<HTMLInputElement>('add-title').value = title;
  }
}

function other(user: number): number {
  return user === 1 ? 2 : 1;
}

function onClick(id: string, callback: () => void): void {
  byId(id).addEventListener('click', callback);
}

function onSubmit(id: string, callback: (form: FormData) => void): void {
  const form = byId<HTMLFormElement>(id);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    callback(new FormData(form));
  });
}
