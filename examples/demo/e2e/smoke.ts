/** The main job, once, in headless Chromium; one line says what was seen. */
import { startDemo } from './demo';
import { Showcase, eventually, launchBrowser } from './showcase';

/** Prints the line and returns the exit code. */
export async function smoke(): Promise<number> {
  const seen: string[] = [];
  try {
    const demo = await startDemo();
    try {
      await run(demo.url, seen);
    } finally {
      await demo.stop();
    }
  } catch (error) {
    const reason = String(error).replaceAll(/\s*\n\s*/g, ' | ');
    console.log(`smoke: FAILED after: ${seen.join(', ') || 'nothing'}; ${reason}`);
    return 1;
  }
  console.log(`smoke: ok, ${seen.join(', ')}`);
  return 0;
}

async function run(url: string, seen: string[]): Promise<void> {
  const browser = await launchBrowser();
  try {
    const showcase = await Showcase.open(browser, url);
    const { page, ada, grace } = showcase;
    await showcase.live();
    const before = (await ada.stored()).length;
    if (before === 0) throw new Error('no rows from before the page was opened');
    seen.push(`ada had ${before} rows`);

    await showcase.add('Ada', 'smoke');
    await ada.sees('smoke');
    seen.push(`saw an insert in ${await page.textContent('#latency')}`);

    await showcase.sql('UPDATE todos SET hours = 7.77');
    const rows = await eventually('a harmonic for every row of the bulk update', async () => {
      const outcome = await showcase.outcome(/committed/);
      const [rows, harmonics] = [...outcome.matchAll(/\d+/g)].map(Number);
      return rows === harmonics && rows;
    });
    seen.push(`bulk update ${rows} rows`);

    await showcase.press('rollback');
    await showcase.outcome(/nobody was told/);
    await ada.pick('smoke');
    await showcase.press('move');
    await grace.sees('smoke');
    await ada.loses('smoke');
    seen.push('move to grace');
    for (const pane of [ada, grace]) {
      if (await pane.has('This never happened')) throw new Error(`${pane} saw the rollback`);
    }
    seen.push('rollback not seen');

    await grace.pick('smoke');
    await showcase.press('delete');
    await grace.loses('smoke');
    seen.push('delete');

    await page.route('**/sync/**', (route) => route.abort());
    await page.reload();
    const kept = await eventually('the rows after a reload', async () => {
      const shown = (await ada.shown()).length + (await grace.shown()).length;
      return shown === rows - 1 && shown;
    });
    seen.push(`reload kept ${kept} rows`);
  } finally {
    await browser.close();
  }
}
