/** The demo's page as a test sees it: two signed-in browsers, a panel, and the wire. */
import { existsSync } from 'node:fs';
import { chromium, type Browser, type FrameLocator, type Page } from 'playwright-core';
import { databaseName } from '../src/names';
import { decodeHarmonic, type Row, type TableName } from '../src/wire';

/** Where Debian and its like keep their browser; CHROMIUM names another. */
const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** How long anything may take to show, in milliseconds. */
const TIMEOUT = 15_000;
const POLL = 20;

export async function launchBrowser(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM'] ?? BROWSERS.find((path) => existsSync(path));
  if (!executablePath) throw new Error('no Chromium; install it, or name it in CHROMIUM');
  return chromium.launch({
    executablePath,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Waits until look() gives something other than undefined or false. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  const deadline = Date.now() + TIMEOUT;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > deadline) throw new Error(`not seen in ${TIMEOUT / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

export class Showcase {
  readonly ada: Pane;
  readonly grace: Pane;
  /** Every WebSocket of the page, with the text of the frames that it received. */
  private readonly sockets: string[][] = [];

  private constructor(readonly page: Page) {
    this.ada = new Pane(page, 1);
    this.grace = new Pane(page, 2);
    page.on('websocket', (socket) => {
      const frames: string[] = [];
      this.sockets.push(frames);
      socket.on('framereceived', ({ payload }) => frames.push(payload.toString()));
    });
  }

  /** Opens the page in a browser profile of its own. */
  static async open(browser: Browser, url: string): Promise<Showcase> {
    const page = await browser.newPage();
    const showcase = new Showcase(page);
    await page.goto(url);
    return showcase;
  }

  /** Waits until both browsers are subscribed and have what they may see. */
  async live(): Promise<void> {
    await this.page.locator('#connections[data-state="live"]').waitFor({ timeout: TIMEOUT });
  }

  /** All frames received on the sockets that listen on a user's own channel. */
  frames(user: number): string[] {
    const mine = `private-chorus.user.${user}"`;
    return this.sockets.filter((frames) => frames.some((text) => text.includes(mine))).flat();
  }

  /** The rows that came on a user's own channel. */
  received(user: number): Row[] {
    return this.frames(user)
      .map((text) => JSON.parse(text) as { event: string; channel?: string; data?: string })
      .filter(({ event }) => event === 'harmonic.created')
      .filter(({ channel }) => channel === `private-chorus.user.${user}`)
      .map(({ data }) => decodeHarmonic(JSON.parse(data ?? '')).row);
  }

  async add(user: 'Ada' | 'Grace', title: string): Promise<void> {
    await this.page.locator('#add').getByText(user, { exact: true }).click();
    await this.page.fill('#add-title', title);
    await this.page.click('#add button[type=submit]');
  }

  async sql(text: string): Promise<void> {
    await this.page.fill('#sql-text', text);
    await this.page.click('#sql button[type=submit]');
  }

  /** Presses one of the panel's buttons. */
  async press(id: string): Promise<void> {
    await this.page.click(`#${id}`);
  }

  /** What the log says of the last action, once it says something that matches. */
  outcome(pattern: RegExp): Promise<string> {
    return eventually(`an outcome like ${pattern}`, async () => {
      const text = await this.page.locator('#log > li .outcome').first().textContent();
      return text !== null && pattern.test(text) && text;
    });
  }
}

/** A user's browser. */
export class Pane {
  private readonly frame: FrameLocator;

  constructor(
    private readonly page: Page,
    readonly user: number,
  ) {
    this.frame = page.frameLocator(`iframe[data-user="${user}"]`);
  }

  /** Rows as Dexie has them. */
  async stored(table: TableName = 'todos'): Promise<Row[]> {
    return this.page.evaluate(readStore, { name: databaseName(this.user), table });
  }

  /** The titles that the page shows, newest first; rows on their way out do not count. */
  shown(): Promise<string[]> {
    return this.frame.locator('.todo:not(.leaving) .title').allTextContents();
  }

  notes(): Promise<string[]> {
    return this.frame.locator('.note').allTextContents();
  }

  connection(): Promise<string | null> {
    return this.frame.locator('#connection').getAttribute('data-state');
  }

  /** Waits until a todo of that title is stored and shown, and returns it. */
  async sees(title: string): Promise<Row> {
    return eventually(`${this} with "${title}"`, async () => {
      const row = (await this.stored()).find((todo) => todo['title'] === title);
      return row && (await this.shown()).includes(title) && row;
    });
  }

  /** Waits until no todo of that title is stored or shown. */
  async loses(title: string): Promise<void> {
    await eventually(`${this} without "${title}"`, async () => !(await this.has(title)));
  }

  /** Whether a todo of that title is stored or shown. */
  async has(title: string): Promise<boolean> {
    const stored = await this.stored();
    return stored.some((todo) => todo['title'] === title) || (await this.shown()).includes(title);
  }

  /** Clicks a todo and waits until the panel, which a message tells of it, has it. */
  async pick(title: string): Promise<void> {
    const todo = this.frame.locator('.todo').filter({ hasText: title }).first();
    const key = await todo.getAttribute('data-key');
    await todo.locator('.body').click();
    await eventually(`the panel with no. ${key}`, async () => {
      return (await this.page.locator('#picked').getAttribute('data-key')) === key;
    });
  }

  /** The last thing that happened to a row, as the page says it. */
  async operation(title: string): Promise<string | null> {
    return this.frame.locator('.todo').filter({ hasText: title }).first().getAttribute('data-op');
  }

  /** Disconnects, or connects again. */
  async switchConnection(): Promise<void> {
    await this.frame.locator('#switch').click();
  }

  /** Asks the app, with this user's session, to authorise a channel. */
  async authorise(channel: string): Promise<number> {
    const frame = this.page.frame({ url: new RegExp(`/u/${this.user}/$`) });
    if (!frame) throw new Error(`${this} has no frame`);
    return frame.evaluate(async (channel_name) => {
      const body = new URLSearchParams({ socket_id: '1.2', channel_name });
      return (await fetch('broadcasting/auth', { method: 'POST', body })).status;
    }, channel);
  }

  toString(): string {
    return this.user === 1 ? 'Ada' : 'Grace';
  }
}

/** Runs in the page: reads a table of a user's database without Dexie. */
function readStore({ name, table }: { name: string; table: string }): Promise<Row[]> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const reading = database.transaction(table).objectStore(table).getAll();
      reading.onerror = () => reject(reading.error);
      reading.onsuccess = () => {
        database.close();
        resolve(reading.result as Row[]);
      };
    };
  });
}
