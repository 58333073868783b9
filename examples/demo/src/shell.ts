/** The page around the two browsers: the panel, the figures, and the log of what ran. */
import { run, type Action } from './actions';
import type { Connection } from './client';
import { byId, replay } from './dom';
import { Ledger } from './ledger';
import { Log } from './log';
import { hear, tellPane, type FromPane, type Receipt } from './messages';
import { Panel } from './panel';
import { duration, now } from './time';

const frames = [...document.querySelectorAll('iframe')];
const connections = new Map<number, Connection>();
const ledger = new Ledger();
const log = new Log();
const panel = new Panel(
  (action) => void perform(action),
  (key) => {
    for (const frame of frames) tellPane(frame, { type: 'highlight', key });
  },
);

async function perform(action: Action): Promise<void> {
  const tally = ledger.open(now());
  const entry = log.add(tally);
  try {
    entry.finish(await run(action));
  } catch (error) {
    entry.fail(error);
  }
  log.announce(entry);
}

function received(receipts: Receipt[]): void {
  for (const receipt of receipts) {
    const tally = ledger.credit(receipt);
    if (tally) log.refresh(tally);
    if (receipt.latency !== null) byId('latency').textContent = duration(receipt.latency);
  }
  byId('received').textContent = ledger.received.toLocaleString('en');
  replay(byId('pipeline'), 'pulse');
}

function connectionChanged(user: number, connection: Connection): void {
  connections.set(user, connection);
  const states = [...connections.values()];
  const live = states.filter((state) => state === 'live').length;
  const all = live === frames.length;
  byId('connections').dataset['state'] = all ? 'live' : live > 0 ? 'partly' : 'connecting';
  byId('connections').textContent = all ? 'live' : `${live} of ${frames.length} live`;
}

for (const frame of frames) {
  hear<FromPane>(
    () => frame.contentWindow,
    (message) => {
      switch (message.type) {
        case 'connection':
          return connectionChanged(message.user, message.connection);
        case 'received':
          return received(message.receipts);
        case 'rows':
          return panel.setRows(message.user, message.rows);
        case 'picked':
          return panel.pick(message.row.key);
        case 'toggle':
          return void perform({ name: 'toggle', key: message.key });
      }
    },
  );
}

void fetch('/about')
  .then((response) => response.json())
  .then(({ database }: { database: string }) => (byId('database').textContent = database));
