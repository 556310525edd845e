import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const BINARY = resolve(process.env.BELLWETHER_BIN ?? '../target/release/bellwether');
/** How long a start may take: first-party plugins are compiled, maybe on a busy machine. */
const START = 180_000;

/** The program as it is installed, with a data folder of its own. */
export class Engine {
  /** What it printed, for people and for the report of a failure. */
  output = '';

  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: string,
    readonly url: string,
  ) {
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (this.output += text));
  }

  /** Runs `bellwether serve` with a configuration file; ready to log in. */
  static async serve(config: (url: string) => object): Promise<Engine> {
    return Engine.start(async (folder, listen) => {
      const file = join(folder, 'bellwether.yaml');
      // JSON is YAML.
      await writeFile(file, JSON.stringify(config(`http://${listen}`), null, 2));
      return ['serve', '--config', file, '--data-dir', join(folder, 'data'), '--listen', listen];
    });
  }

  /** Runs `bellwether demo`. */
  static async demo(): Promise<Engine> {
    return Engine.start(async (folder, listen) => ['demo', '--data-dir', join(folder, 'data'), '--listen', listen]);
  }

  private static async start(args: (folder: string, listen: string) => Promise<string[]>): Promise<Engine> {
    const folder = await mkdtemp(join(tmpdir(), 'bellwether-journey-'));
    const listen = `127.0.0.1:${await freePort()}`;
    const { BELLWETHER_ADMIN_PASSWORD: _, ...env } = process.env;
    const child = spawn(BINARY, await args(folder, listen), { stdio: ['ignore', 'pipe', 'pipe'], env });
    const engine = new Engine(child, folder, `http://${listen}`);
    try {
      await engine.printed(/^Log in (?:once with|at) \S+$/m);
    } catch (error) {
      await engine.stop();
      throw error;
    }
    return engine;
  }

  /** The link of the first start, as printed. */
  get loginLink(): string {
    const link = /^Log in once with (\S+)$/m.exec(this.output)?.[1];
    if (!link) throw new Error(`expected a login link, the engine printed:\n${this.output}`);
    return link;
  }

  private printed(pattern: RegExp): Promise<void> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`the engine did not start within ${START / 1000} s:\n${this.output}`)), START);
      const look = () => {
        if (!pattern.test(this.output)) return;
        clearTimeout(timer);
        done();
      };
      this.child.stdout?.on('data', look);
      this.child.once('error', (error) => fail(new Error(`${BINARY} does not start (BELLWETHER_BIN names another one): ${error.message}`)));
      this.child.once('exit', (code) => fail(new Error(`the engine ended with code ${code}:\n${this.output}`)));
    });
  }

  /** Ends it as an operator does, and removes its folder. */
  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null && this.child.pid !== undefined) {
      const ended = once(this.child, 'exit');
      this.child.kill('SIGTERM');
      const hard = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
      await ended;
      clearTimeout(hard);
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}
