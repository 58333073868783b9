/** What a user's frame (pane.ts) and the page around it (shell.ts) tell each other. */
import type { Connection } from './client';
import type { Key, Operation, TableName } from './wire';

/** A harmonic that has arrived and is stored. */
export interface Receipt {
  table: TableName;
  key: Key;
  operation: Operation;
  /** When it arrived, in milliseconds since the epoch. */
  at: number;
  /**
   * Milliseconds from the statement, on MySQL's clock, to the arrival; null for
   * deletes, which write no time, and for rows written before the page was live.
   */
  latency: number | null;
}

/** A todo, as far as the panel needs it. */
export interface Summary {
  key: Key;
  title: string;
  done: boolean;
}

/** From a frame to the page around it. */
export type FromPane =
  | { type: 'connection'; user: number; connection: Connection }
  | { type: 'received'; user: number; receipts: Receipt[] }
  | { type: 'rows'; user: number; rows: Summary[] }
  | { type: 'picked'; user: number; row: Summary }
  | { type: 'toggle'; user: number; key: Key };

/** From the page to a frame: which row is picked, whoever has it. */
export type ToPane = { type: 'highlight'; key: Key | null };

export function tellShell(message: FromPane): void {
  if (window.parent !== window) window.parent.postMessage(message, location.origin);
}

export function tellPane(frame: HTMLIFrameElement, message: ToPane): void {
  frame.contentWindow?.postMessage(message, location.origin);
}

/** Calls back with the messages of one window, and of our own origin only. */
export function hear<M>(source: () => Window | null, callback: (message: M) => void): void {
  window.addEventListener('message', (event: MessageEvent<M>) => {
    if (event.origin === location.origin && event.source === source()) callback(event.data);
  });
}
