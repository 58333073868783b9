/** The one place that writes to the store: in order, and in few transactions. */
import type { Arrival } from './sync';
import type { Row, TableName } from './wire';

/** The writes of a Store. */
export interface Target {
  replace(table: TableName, rows: Row[], held: readonly Arrival[]): Promise<void>;
  apply(arrivals: readonly Arrival[]): Promise<void>;
}

export class Writer {
  private queue: Promise<void> = Promise.resolve();
  /** The last write of the queue while it is an apply that has not begun: more may join it. */
  private open: Arrival[] | null = null;

  /** `stored` hears of arrivals once they are in the store, `failed` of a write that was not done. */
  constructor(
    private readonly target: Target,
    private readonly stored: (arrivals: readonly Arrival[]) => void,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** Replaces a table and applies what was held back for it, in one transaction. */
  replace(table: TableName, rows: Row[], held: readonly Arrival[]): void {
    this.open = null; // what arrives from now on must not be written before the rows
    this.enqueue(held, () => this.target.replace(table, rows, held));
  }

  /** Applies an arrival, together with all that come until the writes before it are done. */
  apply(arrival: Arrival): void {
    if (this.open) {
      this.open.push(arrival);
      return;
    }
    const arrivals = [arrival];
    this.open = arrivals;
    this.enqueue(arrivals, () => {
      if (this.open === arrivals) this.open = null;
      return this.target.apply(arrivals);
    });
  }

  /** Settles when all writes asked for so far are done. */
  idle(): Promise<void> {
    return this.queue;
  }

  private enqueue(arrivals: readonly Arrival[], write: () => Promise<void>): void {
    this.queue = this.queue
      .then(write)
      .then(() => this.stored(arrivals))
      .catch(this.failed);
  }
}
