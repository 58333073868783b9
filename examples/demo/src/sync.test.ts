import { describe, expect, it } from 'vitest';
import { fold, initialState, step, type SyncEffect, type SyncEvent, type SyncState } from './sync';
import { arrival } from './testing';

/** Runs events through the machine from its initial state. */
function run(...events: SyncEvent[]): { state: SyncState; effects: SyncEffect[] } {
  let state = initialState;
  const effects: SyncEffect[] = [];
  for (const event of events) {
    const [next, caused] = step(state, event);
    state = next;
    effects.push(...caused);
  }
  return { state, effects };
}

describe('step', () => {
  const a = arrival(1, 'create', 'a');
  const b = arrival(1, 'update', 'b');
  const c = arrival(2, 'create', 'c');

  it('loads on every subscription', () => {
    const { effects } = run({ type: 'subscribed' }, { type: 'subscribed' });
    expect(effects).toEqual([
      { type: 'load', round: 1 },
      { type: 'load', round: 2 },
    ]);
  });

  it('holds harmonics back until the load has replaced the table, then applies them once, in order', () => {
    const rows = [{ id: 1, title: 'loaded' }];
    const { state, effects } = run(
      { type: 'subscribed' },
      { type: 'arrived', arrival: a },
      { type: 'arrived', arrival: b },
      { type: 'loaded', round: 1, rows },
      { type: 'arrived', arrival: c },
    );
    expect(effects).toEqual([
      { type: 'load', round: 1 },
      { type: 'replace', rows, held: [a, b] },
      { type: 'apply', arrival: c },
    ]);
    expect(state).toEqual({ phase: 'live', round: 1 });
  });

  it('ignores a load that a later subscription has overtaken, and keeps nothing from before it', () => {
    const { state, effects } = run(
      { type: 'subscribed' },
      { type: 'arrived', arrival: a },
      { type: 'subscribed' },
      { type: 'loaded', round: 1, rows: [{ id: 9 }] },
      { type: 'arrived', arrival: b },
      { type: 'loaded', round: 2, rows: [] },
    );
    expect(effects.slice(2)).toEqual([{ type: 'replace', rows: [], held: [b] }]);
    expect(state.phase).toBe('live');
  });

  it('ignores a load that arrives after the connection has gone', () => {
    const { state, effects } = run(
      { type: 'subscribed' },
      { type: 'unsubscribed' },
      { type: 'loaded', round: 1, rows: [] },
    );
    expect(effects).toEqual([{ type: 'load', round: 1 }]);
    expect(state.phase).toBe('idle');
  });
});

describe('fold', () => {
  it('lets the last harmonic of a record decide', () => {
    const updated = arrival(1, 'update', 'b');
    const gone = arrival(2, 'delete');
    expect(fold([arrival(1, 'create', 'a'), arrival(2, 'create'), updated, gone])).toEqual({
      puts: [updated.harmonic.row],
      deletes: [2],
      last: [updated, gone],
    });
  });

  it('brings back a record that was deleted and created again', () => {
    const again = arrival(1, 'create', 'again');
    expect(fold([arrival(1, 'delete'), again])).toEqual({
      puts: [again.harmonic.row],
      deletes: [],
      last: [again],
    });
  });

  it('keeps the order of last arrival', () => {
    const { last } = fold([arrival(1, 'create'), arrival(2, 'create'), arrival(1, 'update')]);
    expect(last.map(({ harmonic }) => harmonic.key)).toEqual([2, 1]);
  });
});
