/** The messages that harmonic/WIRE.md owns, which the Go tests read too. */
import { readFileSync, readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { decodeHarmonic } from './wire';

const folder = new URL('../../../harmonic/testdata/', import.meta.url);

interface Golden {
  name: string;
  event: string;
  data: string;
  message: { id: string; table_name: string; record_id: unknown; rejected?: boolean };
  row: Record<string, unknown>;
}

const goldens = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Golden)
  .filter(({ event, message }) => event === 'harmonic.created' && message.table_name === 'todos')
  .filter(({ message }) => !message.rejected && !Array.isArray(message.record_id));

it('finds the goldens', () => {
  expect(goldens.map(({ name }) => name)).toContain('harmonic-update');
});

it.each(goldens)('decodes $name', ({ data, message, row }) => {
  const harmonic = decodeHarmonic(JSON.parse(data));
  expect(harmonic).toMatchObject({ id: message.id, key: message.record_id });
  expect(harmonic.row).toEqual(row);
});
