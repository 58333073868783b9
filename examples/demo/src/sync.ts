/**
 * How one table is kept in sync, as a pure state machine: `step(state, event)`
 * gives the next state and what is to be done. I/O is in client.ts.
 *
 * Stock Echo has no catch-up, and a Pusher server no replay: what is published
 * while a client is not subscribed never reaches it. So every successful
 * subscription, the first as well as those after a reconnect, starts a *round*:
 *
 *   1. subscribed: harmonics are held back while the first load is fetched. The
 *      load is read after the subscription, so it holds every change that was
 *      published before it.
 *   2. loaded: the load replaces the table and the harmonics held back are
 *      applied over it, in one transaction. Some of them may be older than the
 *      load; that heals itself, for the newer ones are still to come, in order.
 *   3. live: harmonics are applied as they arrive.
 *
 * Invariants (each has a test): a harmonic is applied exactly once and in the
 * order it arrived; nothing is applied between subscription and load; the answer
 * to an earlier round's load is ignored.
 */
import type { Harmonic, Key, Row } from './wire';

/** A harmonic and when it arrived, in milliseconds since the epoch. */
export interface Arrival {
  harmonic: Harmonic;
  at: number;
}

export type SyncState =
  { phase: 'idle' | 'live'; round: number } | { phase: 'loading'; round: number; held: Arrival[] };

export type SyncEvent =
  | { type: 'subscribed' }
  | { type: 'unsubscribed' }
  | { type: 'arrived'; arrival: Arrival }
  | { type: 'loaded'; round: number; rows: Row[] };

export type SyncEffect =
  | { type: 'load'; round: number }
  | { type: 'replace'; rows: Row[]; held: Arrival[] }
  | { type: 'apply'; arrival: Arrival };

export const initialState: SyncState = { phase: 'idle', round: 0 };

/** The next state and what is to be done, in order. */
export function step(state: SyncState, event: SyncEvent): [SyncState, SyncEffect[]] {
  switch (event.type) {
    case 'subscribed': {
      const round = state.round + 1;
      return [{ phase: 'loading', round, held: [] }, [{ type: 'load', round }]];
    }
    case 'unsubscribed':
      return [{ phase: 'idle', round: state.round }, []];
    case 'arrived':
      if (state.phase === 'loading') {
        return [{ ...state, held: [...state.held, event.arrival] }, []];
      }
      return [state, [{ type: 'apply', arrival: event.arrival }]];
    case 'loaded':
      if (state.phase !== 'loading' || state.round !== event.round) return [state, []];
      return [
        { phase: 'live', round: state.round },
        [{ type: 'replace', rows: event.rows, held: state.held }],
      ];
  }
}

/** What a run of one table's harmonics comes to: at most one operation per record. */
export interface Outcome {
  puts: Row[];
  deletes: Key[];
  /** The last arrival of each record, in order. */
  last: Arrival[];
}

/**
 * Folds harmonics, which hold whole rows, into one bulk write: a record's last
 * harmonic decides, create and update alike store the row.
 */
export function fold(arrivals: readonly Arrival[]): Outcome {
  const byKey = new Map<Key, Arrival>();
  for (const arrival of arrivals) {
    byKey.delete(arrival.harmonic.key); // so that the map keeps the order of the last arrival
    byKey.set(arrival.harmonic.key, arrival);
  }
  const outcome: Outcome = { puts: [], deletes: [], last: [...byKey.values()] };
  for (const { harmonic } of outcome.last) {
    if (harmonic.operation === 'delete') outcome.deletes.push(harmonic.key);
    else outcome.puts.push(harmonic.row);
  }
  return outcome;
}
