/**
 * An unmodified Laravel Echo and pusher-js client that keeps a Store in sync.
 * The rules are in sync.ts; here they meet the network.
 */
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import type { Session } from './session';
import { initialState, step, type SyncEvent, type SyncState } from './sync';
import { now } from './time';
import { decodeHarmonic, type Row, type TableName } from './wire';
import type { Writer } from './writer';

/** What the page shows of the connection. */
export type Connection = 'connecting' | 'live' | 'offline' | 'refused';

/** How long to wait before a failed first load is tried again, in milliseconds. */
const RELOAD_DELAY = 1_000;

/** One table, fed by one channel. */
interface Feed {
  table: TableName;
  channel: string;
  state: SyncState;
}

export class Client {
  private readonly feeds: Feed[];
  private readonly echo: Echo<'reverb'>;
  private wanted = true;
  private refused = false;

  constructor(
    session: Session,
    private readonly writer: Writer,
    private readonly connectionChanged: (connection: Connection) => void,
    private readonly problem: (message: string) => void,
  ) {
    this.feeds = session.feeds.map((feed) => ({ ...feed, state: initialState }));
    this.echo = new Echo({
      broadcaster: 'reverb',
      Pusher,
      key: session.pusher.key,
      wsHost: session.pusher.host,
      wsPort: session.pusher.port,
      forceTLS: false,
      enabledTransports: ['ws'],
      authEndpoint: 'broadcasting/auth', // relative: this user's path, hence this user's cookie
    });
    this.echo.connector.onConnectionChange((status) => {
      if (status !== 'connected') this.dispatchAll({ type: 'unsubscribed' });
      this.announce();
    });
    for (const feed of this.feeds) this.listen(feed);
    this.announce();
  }

  /** Closes the connection; what is stored stays, and stays on the page. */
  disconnect(): void {
    this.wanted = false;
    this.echo.connector.pusher.disconnect();
    this.announce();
  }

  /** Connects again; every table is loaded afresh once its channel is subscribed. */
  connect(): void {
    this.wanted = true;
    this.echo.connector.pusher.connect();
    this.announce();
  }

  private listen(feed: Feed): void {
    this.echo
      .private(feed.channel)
      .listen('.harmonic.created', (payload: unknown) => this.received(feed, payload))
      .subscribed(() => {
        this.refused = false;
        this.dispatch(feed, { type: 'subscribed' });
      })
      .error(() => {
        this.refused = true;
        this.problem(`not allowed to listen on private-${feed.channel}`);
        this.announce();
      });
  }

  private received(feed: Feed, payload: unknown): void {
    try {
      const arrival = { harmonic: decodeHarmonic(payload), at: now() };
      if (arrival.harmonic.table !== feed.table) return;
      this.dispatch(feed, { type: 'arrived', arrival });
    } catch (error) {
      this.problem(String(error));
    }
  }

  private dispatchAll(event: SyncEvent): void {
    for (const feed of this.feeds) this.dispatch(feed, event);
  }

  private dispatch(feed: Feed, event: SyncEvent): void {
    const [state, effects] = step(feed.state, event);
    feed.state = state;
    for (const effect of effects) {
      switch (effect.type) {
        case 'load':
          void this.load(feed, effect.round);
          break;
        case 'replace':
          this.writer.replace(feed.table, effect.rows, effect.held);
          this.announce();
          break;
        case 'apply':
          this.writer.apply(effect.arrival);
          break;
      }
    }
  }

  /** Fetches a first load until it succeeds or its round is over. */
  private async load(feed: Feed, round: number): Promise<void> {
    while (feed.state.phase === 'loading' && feed.state.round === round) {
      try {
        const response = await fetch(`sync/${feed.table}`);
        if (!response.ok) throw new Error(await response.text());
        const { records } = (await response.json()) as { records: Row[] };
        this.dispatch(feed, { type: 'loaded', round, rows: records });
      } catch (error) {
        this.problem(`first load of ${feed.table}: ${String(error)}`);
        await new Promise((resolve) => setTimeout(resolve, RELOAD_DELAY));
      }
    }
  }

  private announce(): void {
    this.connectionChanged(this.describe());
  }

  private describe(): Connection {
    if (!this.wanted) return 'offline';
    if (this.refused) return 'refused';
    return this.feeds.every((feed) => feed.state.phase === 'live') ? 'live' : 'connecting';
  }
}
