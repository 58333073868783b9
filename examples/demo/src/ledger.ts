/** Which harmonics came of which action: those that arrived from its start to the next one's. */
import type { Receipt } from './messages';

/** What has come of one action so far. */
export interface Tally {
  /** When the action was asked for, in milliseconds since the epoch. */
  startedAt: number;
  harmonics: number;
  /** Milliseconds from the start to the last arrival; null before the first. */
  last: number | null;
}

export class Ledger {
  /** All tallies, newest first. */
  private readonly tallies: Tally[] = [];
  private total = 0;

  /** Harmonics received, whatever caused them. */
  get received(): number {
    return this.total;
  }

  /** Opens the tally of an action that starts now. */
  open(startedAt: number): Tally {
    const tally: Tally = { startedAt, harmonics: 0, last: null };
    this.tallies.unshift(tally);
    return tally;
  }

  /** Credits a receipt, and returns the tally that it went to, if any. */
  credit(receipt: Receipt): Tally | null {
    this.total += 1;
    const tally = this.tallies.find(({ startedAt }) => startedAt <= receipt.at);
    if (!tally) return null;
    tally.harmonics += 1;
    tally.last = Math.max(tally.last ?? 0, receipt.at - tally.startedAt);
    return tally;
  }
}
