import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A web service that is broken while a file lies in its folder, and the command
 * that repairs it. A restart takes time: here until the test lets it end, so
 * that the outage can be looked at.
 */
export class Service {
  private constructor(
    private readonly folder: string,
    private readonly server: Server,
  ) {}

  static async start(): Promise<Service> {
    const folder = await mkdtemp(join(tmpdir(), 'bellwether-service-'));
    const server = createServer((_, response) => {
      const broken = existsSync(join(folder, 'broken'));
      response.writeHead(broken ? 503 : 200, { 'content-type': 'text/plain' }).end(broken ? 'database is gone' : 'fine');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    await writeFile(join(folder, 'repair.mjs'), REPAIR);
    return new Service(folder, server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** argv of the repair, for `commands` of the configuration. */
  get repair(): string[] {
    return [process.execPath, join(this.folder, 'repair.mjs'), this.folder];
  }

  break(): Promise<void> {
    return writeFile(join(this.folder, 'broken'), '');
  }

  letRepairsEnd(): Promise<void> {
    return writeFile(join(this.folder, 'go-on'), '');
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
    await rm(this.folder, { recursive: true, force: true });
  }
}

const REPAIR = `
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
const folder = process.argv[2];
const timer = setInterval(() => {
  if (!existsSync(join(folder, 'go-on'))) return;
  clearInterval(timer);
  rmSync(join(folder, 'broken'));
  console.log('service restarted');
}, 50);
`;

/** Accepts connections and never says a word. */
export class SilentServer {
  private readonly open = new Set<Socket>();
  private readonly server = createTcpServer((socket) => {
    this.open.add(socket);
    socket.on('close', () => this.open.delete(socket)).on('error', () => socket.destroy());
  });

  static async start(): Promise<SilentServer> {
    const silent = new SilentServer();
    silent.server.listen(0, '127.0.0.1');
    await once(silent.server, 'listening');
    return silent;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.open) socket.destroy();
    await new Promise((done) => this.server.close(done));
  }
}
