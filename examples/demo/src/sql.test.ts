import { expect, it } from 'vitest';
import { elide, tokenize } from './sql';

function kinds(sql: string): string[] {
  return tokenize(sql)
    .filter(({ text }) => text.trim() !== '')
    .map(({ kind, text }) => `${kind} ${text.trim()}`);
}

it('tells keywords, strings, numbers and comments apart', () => {
  expect(kinds("update todos SET title = 'it''s \\' 7' WHERE id = 42 /* one */")).toEqual([
    'keyword update',
    'text todos',
    'keyword SET',
    'text title =',
    "string 'it''s \\' 7'",
    'keyword WHERE',
    'text id =',
    'number 42',
    'comment /* one */',
  ]);
});

it.each(["SELECT 'unfinished", 'a1 1a é \n; -- end', ''])('loses nothing of %j', (sql) => {
  expect(
    tokenize(sql)
      .map(({ text }) => text)
      .join(''),
  ).toBe(sql);
});

it('cuts a list of rows after a whole one', () => {
  const sql = `INSERT INTO t (a) VALUES ${Array.from({ length: 500 }, (_, i) => `(${i})`).join(', ')}`;
  expect(elide(sql, 500, 40)).toBe('INSERT INTO t (a) VALUES (0), (1), (2), /* … 497 more rows */');
  expect(elide('SELECT 1', 1, 40)).toBe('SELECT 1');
  expect(elide('x'.repeat(50), 0, 40)).toBe(`${'x'.repeat(40)} /* … */`);
});
