/** The list of what ran, and what came of it. */
import type { Result } from './actions';
import { byId, h, replay } from './dom';
import type { Tally } from './ledger';
import { elide, tokenize } from './sql';
import { duration, plural, timeOfDay } from './time';

/** How many entries stay on the page. */
const ENTRIES_KEPT = 100;

/** How long after an action the harmonics it caused are summed up for screen readers, in ms. */
const SETTLED = 600;

/** One action in the list. */
export class Entry {
  private readonly outcome = h('p', { class: 'outcome' }, 'running …');
  private readonly statements = h('div', { class: 'statements' });
  readonly element: HTMLElement;
  private result: Result | null = null;

  constructor(private readonly tally: Tally) {
    const time = h('time', {}, timeOfDay(tally.startedAt));
    this.element = h('li', { class: 'entry' }, time, this.statements, this.outcome);
  }

  finish(result: Result): void {
    this.result = result;
    this.statements.replaceChildren(
      ...result.statements.map(({ sql, rows }) => code(elide(sql, rows ?? 0))),
    );
    this.refresh();
  }

  fail(error: unknown): void {
    this.outcome.textContent = String(error);
    this.element.classList.add('failed');
  }

  /** Shows what the tally now says. */
  refresh(): void {
    if (!this.result) return;
    this.element.classList.toggle('failed', this.result.error !== undefined);
    this.element.classList.toggle('undone', this.result.rolledBack);
    this.outcome.textContent = this.describe();
  }

  describe(): string {
    if (!this.result) return '';
    if (this.result.error !== undefined) return this.result.error;
    const rows = this.result.statements.reduce((sum, { rows }) => sum + (rows ?? 0), 0);
    const { harmonics, last } = this.tally;
    if (this.result.rolledBack && harmonics === 0) {
      return `${plural(rows, 'row')} rolled back · nobody was told anything`;
    }
    const seen = harmonics === 0 ? 'no harmonic' : plural(harmonics, 'harmonic');
    const after = last === null ? '' : ` · ${duration(last)} after the click`;
    return `${plural(rows, 'row')} committed · ${seen}${after}`;
  }
}

export class Log {
  private readonly list = byId('log');
  private readonly entries = new Map<Tally, Entry>();

  add(tally: Tally): Entry {
    const entry = new Entry(tally);
    this.entries.set(tally, entry);
    byId('log-empty').hidden = true;
    this.list.prepend(entry.element);
    replay(entry.element, 'arriving');
    while (this.list.childElementCount > ENTRIES_KEPT) this.list.lastElementChild?.remove();
    return entry;
  }

  refresh(tally: Tally): void {
    this.entries.get(tally)?.refresh();
  }

  /** Tells screen readers what came of an entry, once, when most of it has come. */
  announce(entry: Entry): void {
    setTimeout(() => {
      byId('announcement').textContent = entry.describe();
    }, SETTLED);
  }
}

function code(sql: string): HTMLElement {
  return h(
    'pre',
    {},
    h(
      'code',
      {},
      ...tokenize(sql).map(({ kind, text }) => h('span', { class: `sql-${kind}` }, text)),
    ),
  );
}
