import { expect, it } from 'vitest';
import type { Arrival } from './sync';
import { arrival } from './testing';
import type { Row, TableName } from './wire';
import { Writer } from './writer';

/** A target that records its writes and fails on demand. */
class Recorder {
  readonly writes: unknown[] = [];
  readonly stored: Arrival[] = [];
  readonly errors: unknown[] = [];
  broken = false;
  readonly writer = new Writer(
    this,
    (arrivals) => this.stored.push(...arrivals),
    (error) => this.errors.push(error),
  );

  async replace(table: TableName, rows: Row[], held: readonly Arrival[]): Promise<void> {
    this.writes.push({ table, rows, held });
  }

  async apply(arrivals: readonly Arrival[]): Promise<void> {
    if (this.broken) throw new Error('disk full');
    this.writes.push([...arrivals]);
  }
}

const [a, b, c] = [arrival(1, 'create'), arrival(2, 'create'), arrival(3, 'create')];

it('writes a burst in one transaction', async () => {
  const recorder = new Recorder();
  recorder.writer.apply(a);
  recorder.writer.apply(b);
  await recorder.writer.idle();
  recorder.writer.apply(c);
  await recorder.writer.idle();
  expect(recorder.writes).toEqual([[a, b], [c]]);
  expect(recorder.stored).toEqual([a, b, c]);
});

it('never writes an arrival before the rows that it follows', async () => {
  const recorder = new Recorder();
  recorder.writer.apply(a);
  recorder.writer.replace('todos', [], [b]);
  recorder.writer.apply(c);
  await recorder.writer.idle();
  expect(recorder.writes).toEqual([[a], { table: 'todos', rows: [], held: [b] }, [c]]);
});

it('tells of a failed write and goes on with the next', async () => {
  const recorder = new Recorder();
  recorder.broken = true;
  recorder.writer.apply(a);
  await recorder.writer.idle();
  recorder.broken = false;
  recorder.writer.apply(b);
  await recorder.writer.idle();
  expect(recorder.errors).toEqual([new Error('disk full')]);
  expect(recorder.writes).toEqual([[b]]);
  expect(recorder.stored).toEqual([b]);
});
