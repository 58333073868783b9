/**
 * The wire: what chorusd publishes as `harmonic.created`, decoded.
 * The messages themselves are described in harmonic/WIRE.md.
 */

/** The tables that this demo maps, by the names that clients use. */
export const TABLES = ['todos', 'notes'] as const;
export type TableName = (typeof TABLES)[number];

export type Operation = 'create' | 'update' | 'delete';

/** A record's key: a number or a string, of the same type in the row and in `record_id`. */
export type Key = number | string;

/** A row with the fields that the mapping gives to clients. */
export interface Row {
  id: Key;
  [field: string]: unknown;
}

/** One committed change of one record. */
export interface Harmonic {
  /** UUIDv7 text; ids rise in commit order. */
  id: string;
  table: TableName;
  key: Key;
  operation: Operation;
  /** All synced fields: the row after the change; for a delete, the row that was there. */
  row: Row;
}

/**
 * Decodes what Echo hands to a listener of `.harmonic.created`.
 * Throws an Error that names the offending field.
 */
export function decodeHarmonic(payload: unknown): Harmonic {
  const message = object(payload, 'harmonic');
  const { id, table_name: table, record_id: key, operation, data } = message;
  if (typeof id !== 'string') throw new Error('harmonic: id is not a string');
  if (!isTable(table)) throw new Error(`harmonic ${id}: unknown table ${String(table)}`);
  if (!isKey(key)) throw new Error(`harmonic ${id}: record_id is no key`);
  if (!isOperation(operation))
    throw new Error(`harmonic ${id}: unknown operation ${String(operation)}`);
  if (typeof data !== 'string') throw new Error(`harmonic ${id}: data is not a JSON string`);
  const row = object(JSON.parse(data), `harmonic ${id}: data`);
  if (row['id'] !== key) throw new Error(`harmonic ${id}: record_id differs from the row's key`);
  return { id, table, key, operation, row: { ...row, id: key } };
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`${what} is not an object`);
  }
  return value as Record<string, unknown>;
}

function isTable(value: unknown): value is TableName {
  return TABLES.some((table) => table === value);
}

function isKey(value: unknown): value is Key {
  return typeof value === 'number' || typeof value === 'string';
}

function isOperation(value: unknown): value is Operation {
  return value === 'create' || value === 'update' || value === 'delete';
}
