/** A user's local database: everything that the page shows comes from here. */
import Dexie, { type Table } from 'dexie';
import { databaseName } from './names';
import { fold, type Arrival } from './sync';
import { TABLES, type Key, type Operation, type Row, type TableName } from './wire';
import type { Target } from './writer';

/** The last thing that happened to a record while this browser was listening. */
export interface Change {
  table: TableName;
  key: Key;
  operation: Operation;
  /** The harmonic's id. */
  harmonic: string;
  /** When it arrived, in milliseconds since the epoch. */
  at: number;
}

/** How many changes are remembered. */
const CHANGES_KEPT = 2_000;

export class Store extends Dexie implements Target {
  declare changes: Table<Change, [TableName, Key]>;

  constructor(userId: number) {
    super(databaseName(userId));
    this.version(1).stores({ todos: 'id', notes: 'id', changes: '[table+key], at' });
  }

  rows(table: TableName): Table<Row, Key> {
    return this.table(table);
  }

  /** Replaces a table by its first load, with the harmonics held back meanwhile applied over it. */
  replace(table: TableName, rows: Row[], held: readonly Arrival[]): Promise<void> {
    return this.transaction('rw', [table, 'changes'], async () => {
      await this.rows(table).clear();
      await this.rows(table).bulkPut(rows);
      await this.write(table, held);
      const excess = (await this.changes.count()) - CHANGES_KEPT;
      if (excess > 0) await this.changes.orderBy('at').limit(excess).delete();
    });
  }

  /** Applies harmonics of any tables, all or none. */
  apply(arrivals: readonly Arrival[]): Promise<void> {
    return this.transaction('rw', [...TABLES, 'changes'], async () => {
      for (const table of TABLES) {
        await this.write(
          table,
          arrivals.filter(({ harmonic }) => harmonic.table === table),
        );
      }
    });
  }

  private async write(table: TableName, arrivals: readonly Arrival[]): Promise<void> {
    const { puts, deletes, last } = fold(arrivals);
    await this.rows(table).bulkPut(puts);
    await this.rows(table).bulkDelete(deletes);
    await this.changes.bulkPut(
      last.map(({ harmonic: { id, key, operation }, at }) => ({
        table,
        key,
        operation,
        harmonic: id,
        at,
      })),
    );
  }
}
