/** Runs the real demo, with its real servers and chorusd, for tests. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** How long the demo may take to end, in milliseconds. */
const STOP_TIMEOUT = 20_000;

export interface Demo {
  url: string;
  /** Ends the demo as Ctrl-C does; rejects unless it then exits with 0. */
  stop(): Promise<void>;
}

/** Builds and starts the demo. CHORUSD may name a chorusd program, else one is built. */
export async function startDemo(): Promise<Demo> {
  const folder = mkdtempSync(join(tmpdir(), 'chorusd-e2e-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    const program = join(folder, 'demo');
    build(program);
    const chorusd = process.env['CHORUSD'];
    const child = spawn(program, chorusd ? ['--chorusd', chorusd] : [], { cwd: root });
    const output = collect(child);
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const killOnExit = () => child.kill('SIGKILL');
    process.once('exit', killOnExit);
    const url = await Promise.race([
      output.find(/http:\/\/127\.0\.0\.1:\d+\//),
      exited.then(() => Promise.reject(new Error(reason(output.text())))),
    ]);
    return {
      url,
      async stop() {
        const late = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT);
        child.kill('SIGINT');
        const status = await exited;
        clearTimeout(late);
        process.off('exit', killOnExit);
        remove();
        if (status !== 0) throw new Error(`the demo did not end well:\n${output.text()}`);
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Why the demo ended, out of all that it said. */
function reason(text: string): string {
  return text.slice(Math.max(0, text.indexOf('The demo ends:')));
}

function build(program: string): void {
  const { status, stderr } = spawnSync('go', ['build', '-o', program, './examples/demo'], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`go build: ${stderr}`);
}

/** Gathers what a process prints. */
function collect(child: ChildProcess): { text(): string; find(pattern: RegExp): Promise<string> } {
  let text = '';
  const watchers = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      for (const watcher of watchers) watcher();
    });
  }
  return {
    text: () => text,
    find: (pattern) =>
      new Promise((resolve) => {
        const look = () => {
          const match = pattern.exec(text);
          if (!match) return;
          watchers.delete(look);
          resolve(match[0]);
        };
        watchers.add(look);
        look();
      }),
  };
}
