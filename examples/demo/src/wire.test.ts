import { describe, expect, it } from 'vitest';
import { decodeHarmonic } from './wire';

const message = {
  id: '01a2044a-c64d-7077-9754-8db81305dac4',
  table_name: 'todos',
  record_id: 7,
  operation: 'update',
  data: '{"id":7,"title":"caf\\u00e9","done":true,"hours":"1.50"}',
  user_id: null,
  created_at: '2026-11-22 17:25:39',
};

describe('decodeHarmonic', () => {
  it('decodes the row, which travels as a JSON string', () => {
    expect(decodeHarmonic(message)).toEqual({
      id: message.id,
      table: 'todos',
      key: 7,
      operation: 'update',
      row: { id: 7, title: 'café', done: true, hours: '1.50' },
    });
  });

  it.each([
    ['not an object', 'x', 'harmonic is not an object'],
    ['no id', { ...message, id: undefined }, 'id is not a string'],
    ['another table', { ...message, table_name: 'users' }, 'unknown table users'],
    ['no key', { ...message, record_id: null }, 'record_id is no key'],
    ['a key of another type', { ...message, record_id: '7' }, "differs from the row's key"],
    ['an unknown operation', { ...message, operation: 'upsert' }, 'unknown operation upsert'],
    ['data as an object', { ...message, data: { id: 7 } }, 'data is not a JSON string'],
    ['data that is a list', { ...message, data: '[]' }, 'data is not an object'],
  ])('refuses %s', (_, payload, reason) => {
    expect(() => decodeHarmonic(payload)).toThrow(reason);
  });
});
