/** Times and durations, measured, parsed and written for people. */

/** Now, in milliseconds since the epoch and fractions of one. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

/**
 * Milliseconds since the epoch of an ISO time with up to microseconds, which
 * Date.parse would cut off; null where there is none.
 */
export function parseTime(value: unknown): number | null {
  if (typeof value !== 'string') return null;
  const match = /^(.+?)(\.\d+)?Z$/.exec(value);
  if (!match) return null;
  const whole = Date.parse(`${match[1]}Z`);
  return Number.isNaN(whole) ? null : whole + Number(match[2] ?? 0) * 1_000;
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

/** The time of day, to the second. */
export function timeOfDay(ms: number): string {
  return clock.format(ms);
}

/** A duration in milliseconds: "0.8 ms", "12 ms", "1.3 s". */
export function duration(ms: number): string {
  if (ms < 0.95) return `${Math.max(0, ms).toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return `${(ms / 1_000).toFixed(1)} s`;
}

/** "1 row", "2 rows". */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}
