import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type ParsedMail, simpleParser } from 'mailparser';
import { SMTPServer } from 'smtp-server';

/** A mail as it arrived. */
export interface Arrived extends ParsedMail {
  /** Recipients of the envelope. */
  recipients: string[];
  /** The types of its parts, outermost first. */
  types: string[];
}

/** A real SMTP server that keeps what it accepts. */
export class MailServer {
  readonly mails: Arrived[] = [];
  private waiting: (() => void)[] = [];

  private readonly server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    onData: (stream, session, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => void this.accept(Buffer.concat(chunks), session.envelope.rcptTo.map((to) => to.address), done));
    },
  });

  static async start(): Promise<MailServer> {
    const mail = new MailServer();
    mail.server.listen(0, '127.0.0.1');
    await once(mail.server.server, 'listening');
    return mail;
  }

  get url(): string {
    return `smtp://127.0.0.1:${(this.server.server.address() as AddressInfo).port}`;
  }

  private async accept(raw: Buffer, recipients: string[], done: (error?: Error | null, message?: string) => void) {
    const types = [...raw.toString('latin1').matchAll(/^Content-Type: *([\w/.-]+)/gim)].map((found) => found[1].toLowerCase());
    this.mails.push({ ...(await simpleParser(raw)), recipients, types });
    // smtp-server hands this text to the client as its reply to the mail.
    done(null, `queued as journey-${this.mails.length}`);
    for (const wake of this.waiting.splice(0)) wake();
  }

  /** The first mail whose subject begins so, now or when it arrives. */
  async expect(subject: string, within = 30_000): Promise<Arrived> {
    const deadline = Date.now() + within;
    for (;;) {
      const found = this.mails.find((mail) => mail.subject?.startsWith(subject));
      if (found) return found;
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`expected a mail “${subject}…” within ${within / 1000} s, found ${JSON.stringify(this.mails.map((mail) => mail.subject))}`);
      await new Promise<void>((wake) => {
        const timer = setTimeout(wake, left);
        this.waiting.push(() => {
          clearTimeout(timer);
          wake();
        });
      });
    }
  }

  stop(): Promise<void> {
    return new Promise((done) => this.server.close(done));
  }
}
