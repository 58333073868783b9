import { expect, it } from 'vitest';
import { Ledger } from './ledger';
import type { Receipt } from './messages';

function receipt(at: number): Receipt {
  return { table: 'todos', key: 1, operation: 'update', at, latency: null };
}

it('credits the action that was the last to start before the arrival', () => {
  const ledger = new Ledger();
  const first = ledger.open(100);
  ledger.credit(receipt(110));
  const second = ledger.open(200);
  // Told late, by the other frame: it had arrived before the second action.
  expect(ledger.credit(receipt(150))).toBe(first);
  expect(ledger.credit(receipt(230))).toBe(second);
  expect(ledger.credit(receipt(220))).toBe(second);
  expect(first).toEqual({ startedAt: 100, harmonics: 2, last: 50 });
  expect(second).toEqual({ startedAt: 200, harmonics: 2, last: 30 });
});

it('counts what no action here has caused', () => {
  const ledger = new Ledger();
  expect(ledger.credit(receipt(50))).toBeNull();
  expect(ledger.received).toBe(1);
});
