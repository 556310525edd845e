import { whenUnauthorized } from './api';
import { client } from './client';
import type { Role, Session } from './types';

export const session = $state<{ value: Session | null; error: string | null; needsPassword: boolean }>({
  value: null,
  error: null,
  needsPassword: false,
});

whenUnauthorized(() => {
  if (session.value) session.value = { ...session.value, user: null };
});

export async function loadSession() {
  try {
    session.value = await client.session();
    session.error = null;
  } catch (error) {
    session.error = (error as Error).message;
  }
}

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };
/** True where the person's role is enough. */
export function may(role: Role): boolean {
  const user = session.value?.user;
  return !!user && RANK[user.role] >= RANK[role];
}
