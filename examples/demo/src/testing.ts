/** What the unit tests share. */
import type { Arrival } from './sync';
import type { Operation, TableName } from './wire';

let count = 0;

/** A harmonic as it might arrive. */
export function arrival(
  key: number,
  operation: Operation,
  title = '',
  table: TableName = 'todos',
): Arrival {
  count += 1;
  return {
    at: count,
    harmonic: { id: `h${count}`, table, key, operation, row: { id: key, title } },
  };
}
