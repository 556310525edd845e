/** Tells each timeline event in a plain sentence. */
import { duration, full, WORDS } from './format';
import type { Alert, TimelineEntry } from './types';

export interface Told {
  icon: string;
  /** Colour family; the sentence says the same in words. */
  tone: 'ok' | 'warning' | 'critical' | 'unknown' | 'fault' | 'none' | 'accent';
  text: string;
  /** A quotation: summary, reply, reason. */
  quote?: string;
  /** Long text behind a fold. */
  output?: string;
}

const MAIL: Record<string, string> = {
  firing: 'alert mail',
  resolved: 'all-clear mail',
  repair_failed: '“repair failed” mail',
  fault: 'fault mail',
  fault_resolved: 'fault all-clear mail',
};
const mail = (kind: string) => MAIL[kind] ?? 'mail';
const low = (state: keyof typeof WORDS) => (state === 'ok' ? 'OK' : WORDS[state].toLowerCase());

type Kind = Alert['source']['kind'];
const FIRED: Record<Exclude<Kind, 'rule'>, string> = { fault: 'The fault alert fired: the check gives no results.', plugin: 'The alert fired: the plugin is quarantined.' };
const RESOLVED: Record<Kind, string> = { rule: 'the rule is no longer true', fault: 'the check reports again', plugin: 'the plugin may run again' };

/** `about`: what kind of thing raised the alert. */
export function tell(e: TimelineEntry, about: Kind = 'rule'): Told {
  switch (e.event) {
    case 'state_changed': {
      const from = e.from ? `from ${low(e.from)} to ${low(e.to)}` : `to ${low(e.to)}`;
      const how = e.to === 'ok' ? '' : e.hard ? ' (confirmed)' : ` (failure ${e.attempt}, not confirmed yet)`;
      const text = e.to !== 'ok' ? `The check went ${from}${how}.` : e.from ? `The check recovered: it went ${from}.` : 'The first result of the check was OK.';
      return { icon: e.to, tone: e.to, text, quote: e.summary };
    }
    case 'fault_began':
      return {
        icon: 'fault',
        tone: 'fault',
        text: `The check could not be run (${e.fault.kind} fault). Its state is stale from here; this says nothing about the target.`,
        quote: e.fault.text,
      };
    case 'fault_ended':
      return { icon: 'ok', tone: 'fault', text: 'The fault ended: the check reports again.' };
    case 'alert_pending':
      return { icon: 'pending', tone: 'warning', text: `Rule “${e.rule}” became true. It fires if it stays true until ${full(e.until)}.` };
    case 'alert_fired':
      return { icon: about === 'rule' ? 'bell' : 'fault', tone: about !== 'rule' ? 'fault' : e.severity === 'critical' ? 'critical' : e.severity === 'warning' ? 'warning' : 'unknown', text: about === 'rule' ? `Rule “${e.rule}” fired with severity ${e.severity}.` : FIRED[about], quote: e.summary };
    case 'alert_suppressed':
      return { icon: 'mute', tone: 'none', text: `Nobody was told: ${e.parents.join(' and ')}, through which the node is reached, ${e.parents.length === 1 ? 'is' : 'are'} down.` };
    case 'alert_unsuppressed':
      return { icon: 'bell', tone: 'warning', text: 'It is still wrong although the way to the node is open again: people are told now.', quote: e.reason };
    case 'alert_resolved':
      return { icon: 'ok', tone: 'ok', text: `The alert was resolved: ${RESOLVED[about]}.`, quote: e.summary };
    case 'alert_cancelled':
      return { icon: 'none', tone: 'none', text: 'The rule became false before it had to fire. Nobody was told.' };
    case 'alert_removed':
      return { icon: 'none', tone: 'none', text: 'The alert ended without an all-clear because what it was about was removed.', quote: e.reason };
    case 'notification_queued':
      return { icon: 'mail', tone: 'accent', text: `The ${mail(e.kind)} to ${e.recipient} (contact “${e.contact}”) was put in the outbox.` };
    case 'notification_skipped':
      return { icon: 'mute', tone: 'none', text: `No ${mail(e.kind)} was sent.`, quote: e.reason };
    case 'notification_sent':
      return { icon: 'sent', tone: 'ok', text: `The mail server accepted the mail to ${e.recipient}. Its reply:`, quote: e.reply };
    case 'notification_retry':
      return { icon: 'retry', tone: 'warning', text: `Attempt ${e.attempts} to deliver to ${e.recipient} failed. The next one is at ${full(e.next_at)}.`, quote: e.error };
    case 'notification_failed':
      return { icon: 'critical', tone: 'critical', text: `The mail to ${e.recipient} was given up. Nobody behind this address was told.`, quote: e.error };
    case 'remediation_started':
      return { icon: 'tool', tone: 'accent', text: e.dry_run ? `Remediation “${e.remediation}” made a dry run (run ${e.attempt}): nothing was changed.` : `Remediation “${e.remediation}” started (run ${e.attempt}).` };
    case 'remediation_refused':
      return { icon: 'hand', tone: 'warning', text: `Remediation “${e.remediation}” was held back by its limits.`, quote: e.reason };
    case 'remediation_finished':
      return {
        icon: e.ok ? 'tool' : 'critical',
        tone: e.ok ? 'ok' : 'critical',
        text: `Remediation “${e.remediation}” ${e.ok ? 'finished' : 'failed'} after ${duration(e.duration_us)}.`,
        quote: e.summary,
        output: e.output || undefined,
      };
    case 'remediation_interrupted':
      return { icon: 'fault', tone: 'fault', text: `The engine stopped while “${e.remediation}” ran. It is not repeated blindly: the check runs first.` };
    case 'remediation_verified':
      return { icon: e.ok ? 'ok' : 'critical', tone: e.ok ? 'ok' : 'critical', text: e.ok ? `The check confirms that “${e.remediation}” repaired it.` : `The check says that “${e.remediation}” did not help.`, quote: e.summary };
    case 'remediation_escalated':
      return { icon: 'bell', tone: 'critical', text: `People were told that “${e.remediation}” could not repair it.`, quote: e.reason };
    default:
      return { icon: 'none', tone: 'none', text: `Something else happened: ${String((e as { event: string }).event).replaceAll('_', ' ')}.` };
  }
}
