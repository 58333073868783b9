/**
 * The demo's page in headless Chromium, fed by real servers through the real
 * chorusd. "Never" is never a matter of waiting long enough: what must not
 * arrive is looked for after something committed later has arrived on the same
 * channel, where order is kept.
 */
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { startDemo, type Demo } from './demo';
import { Showcase, eventually, launchBrowser, type Pane } from './showcase';

let demo: Demo;
let browser: Browser;
let showcase: Showcase;
let ada: Pane;
let grace: Pane;
let markers = 0;

beforeAll(async () => {
  [demo, browser] = await Promise.all([startDemo(), launchBrowser()]);
});

afterAll(async () => {
  await browser?.close();
  await demo?.stop();
});

beforeEach(async () => {
  showcase = await Showcase.open(browser, demo.url);
  ({ ada, grace } = showcase);
  await showcase.live();
});

const keyAlone = (row: Record<string, unknown>) => Object.keys(row).join() === 'id';

/** Whatever a test did: nobody has, or was ever sent, another's row. */
afterEach(async () => {
  for (const pane of [ada, grace]) {
    const rows = [...(await pane.stored()), ...showcase.received(pane.user)];
    const own = new Set(rows.filter((row) => row['user_id'] === pane.user).map((row) => row['id']));
    // Who comes back soon is told by the key alone of a row that is gone.
    expect(
      rows.filter((row) => row['user_id'] !== pane.user && !(keyAlone(row) && own.has(row['id']))),
    ).toEqual([]);
  }
  await showcase.page.context().close();
});

/** Adds a todo for each user and waits for it: all that was committed before has arrived. */
async function settle(): Promise<void> {
  for (const [name, pane] of [
    ['Ada', ada],
    ['Grace', grace],
  ] as const) {
    markers += 1;
    await showcase.add(name, `marker ${markers}`);
    await pane.sees(`marker ${markers}`);
  }
}

async function titles(pane: Pane): Promise<unknown[]> {
  return (await pane.stored()).map((row) => row['title']);
}

it('shows each user the rows from before the page was opened, and nobody else’s', async () => {
  expect(await titles(ada)).toContain('Add a note G');
  expect(await titles(grace)).toContain('Tape the moth into the logbook');
  expect(await titles(ada)).not.toContain('Tape the moth into the logbook');
  expect(await titles(grace)).not.toContain('Add a note G');
  expect(await ada.notes()).toEqual(await grace.notes());
  expect(JSON.stringify(await ada.stored('notes'))).not.toContain('Platform 4');
});

it('takes a new row to its user, and to no other, in the same form as the first load', async () => {
  await showcase.add('Ada', 'for Ada alone');
  const live = await ada.sees('for Ada alone');
  expect(await ada.operation('for Ada alone')).toBe('create');
  await settle();

  expect(await grace.has('for Ada alone')).toBe(false);
  expect(showcase.frames(1).join()).toContain('for Ada alone');
  expect(showcase.frames(2)).not.toHaveLength(0);
  expect(showcase.frames(2).join()).not.toContain('for Ada alone');

  await showcase.page.reload();
  await showcase.live();
  expect(await ada.sees('for Ada alone')).toEqual(live);
});

it('sees bulk updates, multi-row inserts and deletes by raw SQL, each for its user', async () => {
  await showcase.sql(`INSERT INTO todos (user_id, title) VALUES
    (1, 'raw A1'), (2, 'raw G1'), (1, 'raw A2'), (2, 'raw G2')`);
  for (const title of ['raw A1', 'raw A2']) await ada.sees(title);
  for (const title of ['raw G1', 'raw G2']) await grace.sees(title);

  await showcase.sql("UPDATE todos SET done = 1, hours = 2.5 WHERE title LIKE 'raw %'");
  await settle();
  for (const pane of [ada, grace]) {
    const rows = (await pane.stored()).filter((row) => String(row['title']).startsWith('raw '));
    expect(rows.map((row) => [row['user_id'], row['done'], row['hours']])).toEqual([
      [pane.user, true, '2.50'],
      [pane.user, true, '2.50'],
    ]);
  }
  expect(await ada.operation('raw A1')).toBe('update');

  await showcase.sql("DELETE FROM todos WHERE title LIKE 'raw %'");
  for (const title of ['raw A1', 'raw A2']) await ada.loses(title);
  for (const title of ['raw G1', 'raw G2']) await grace.loses(title);
  expect(showcase.frames(1).join()).not.toContain('raw G');
  expect(showcase.frames(2).join()).not.toContain('raw A');
});

it('takes five hundred rows of one statement to where they belong', async () => {
  const [adas, graces] = [(await ada.stored()).length, (await grace.stored()).length];
  await showcase.press('many');
  await eventually('five hundred rows', async () => {
    const [a, g] = [(await ada.stored()).length, (await grace.stored()).length];
    return a === adas + 250 && g === graces + 250;
  });
  await showcase.press('clear');
  await eventually('five hundred rows less', async () => {
    const [a, g] = [(await ada.stored()).length, (await grace.stored()).length];
    return a === adas && g === graces;
  });
});

it('never shows what was rolled back', async () => {
  await showcase.press('rollback');
  await showcase.outcome(/rolled back · nobody was told/);
  await settle();
  for (const pane of [ada, grace]) expect(await pane.has('This never happened')).toBe(false);
  const frames = [...showcase.frames(1), ...showcase.frames(2)].join();
  expect(frames).toContain(`marker ${markers}`);
  expect(frames).not.toContain('This never happened');
  expect(frames).not.toContain('?');
});

it('moves a row from one user to the other, whose name for it the first never learns', async () => {
  await showcase.add('Ada', 'on the move');
  const { id } = await ada.sees('on the move');
  await showcase.sql(`UPDATE todos SET user_id = 2, title = 'arrived' WHERE id = ${id}`);
  await grace.sees('arrived');
  await ada.loses('on the move');
  await settle();

  expect(await ada.has('arrived')).toBe(false);
  expect(showcase.frames(1).join()).not.toContain('arrived');
  expect(showcase.frames(2).join()).not.toContain('on the move');

  await grace.pick('arrived');
  await showcase.press('move');
  await ada.sees('arrived');
  await grace.loses('arrived');
  await showcase.press('delete');
  await ada.loses('arrived');
});

it('renames and ticks off the picked row', async () => {
  await showcase.add('Grace', 'picked');
  await grace.sees('picked');
  await grace.pick('picked');
  await showcase.page.fill('#picked-title', 'it\'s \\ "quoted" — ☕');
  await showcase.page.click('#picked button[type=submit]');
  await grace.sees('it\'s \\ "quoted" — ☕');
  await showcase.press('toggle');
  await eventually('the row done', async () =>
    (await grace.stored()).some((row) => row['title'] === 'it\'s \\ "quoted" — ☕' && row['done']),
  );
});

it('posts a shared note to both in one event each', async () => {
  await showcase.sql(
    "INSERT INTO notes (platform_id, body) VALUES (3, 'to all'), (4, 'to others')",
  );
  for (const pane of [ada, grace]) {
    await eventually(`the note at ${pane}`, async () => (await pane.notes()).includes('to all'));
  }
  await settle();
  const frames = [...showcase.frames(1), ...showcase.frames(2)];
  expect(frames.filter((text) => text.includes('to all'))).toHaveLength(2);
  expect(frames.join()).not.toContain('to others');
});

it('never sends a column that is not mapped', async () => {
  await showcase.sql("UPDATE todos SET internal_note = 'top secret', title = CONCAT(title, '.')");
  await settle();
  const frames = [...showcase.frames(1), ...showcase.frames(2)].join();
  expect(frames).toContain('into the logbook.');
  expect(frames).not.toMatch(/top secret|internal_note/);
  for (const pane of [ada, grace]) {
    expect(JSON.stringify(await pane.stored())).not.toMatch(/top secret|internal_note/);
  }
});

it('shows the stored rows at once after a reload, without the network', async () => {
  await showcase.add('Ada', 'kept');
  await ada.sees('kept');
  const before = await ada.shown();
  await showcase.page.route('**/sync/**', (route) => route.abort());
  await showcase.page.route('**/session', (route) => route.abort());
  await showcase.page.reload();
  await eventually('the rows from Dexie', async () => (await ada.shown()).length > 0);
  expect(await ada.shown()).toEqual(before);
  expect(await ada.connection()).toBe('refused');
});

it('catches up on what happened while it was disconnected', async () => {
  await showcase.add('Ada', 'to be deleted meanwhile');
  await ada.sees('to be deleted meanwhile');
  await ada.switchConnection();
  await eventually('Ada offline', async () => (await ada.connection()) === 'offline');

  await showcase.sql("DELETE FROM todos WHERE title = 'to be deleted meanwhile'");
  await showcase.add('Ada', 'added meanwhile');
  await showcase.outcome(/committed/);
  expect(await ada.has('to be deleted meanwhile')).toBe(true);

  await ada.switchConnection();
  await ada.sees('added meanwhile');
  await ada.loses('to be deleted meanwhile');
  await settle();
});

it('signs a session’s own channels and no others', async () => {
  expect(await ada.authorise('private-chorus.user.1')).toBe(200);
  expect(await ada.authorise('private-chorus.platform.3')).toBe(200);
  for (const channel of [
    'private-chorus.user.2',
    'private-chorus.user.11',
    'private-chorus.user.1 ',
    'private-chorus.platform.4',
    'presence-chorus.user.1',
    'private-encrypted-chorus.user.1',
    '',
  ]) {
    expect([channel, await ada.authorise(channel)]).toEqual([channel, 403]);
  }
  expect(await grace.authorise('private-chorus.user.1')).toBe(403);
  expect(await grace.authorise('private-chorus.user.2')).toBe(200);
});

it('shows what the database refuses, and goes on', async () => {
  await showcase.sql('DROP TABLE todos');
  await showcase.outcome(/denied/);
  await settle();
});
