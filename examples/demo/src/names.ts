/** Names that more than one part must agree on. */

/** The name of a user's local database. */
export function databaseName(userId: number): string {
  return `chorusd-demo-user-${userId}`;
}
