import { expect, it } from 'vitest';
import { duration, parseTime, plural } from './time';

it('keeps the microseconds of a time', () => {
  const base = Date.UTC(2026, 10, 22, 17, 25, 39);
  expect(parseTime('2026-11-22T17:25:39.123456Z')).toBeCloseTo(base + 123.456, 3);
  expect(parseTime('2026-11-22T17:25:39Z')).toBe(base);
});

it.each([null, undefined, 7, '', 'yesterday', '2026-11-22 17:25:39'])(
  'sees no time in %s',
  (value) => {
    expect(parseTime(value)).toBeNull();
  },
);

it.each([
  [-3, '0.0 ms'],
  [0.84, '0.8 ms'],
  [11.6, '12 ms'],
  [1_340, '1.3 s'],
])('writes %f ms as %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

it('counts things', () => {
  expect([plural(0, 'row'), plural(1, 'row'), plural(1_500, 'row')]).toEqual([
    '0 rows',
    '1 row',
    '1,500 rows',
  ]);
});
