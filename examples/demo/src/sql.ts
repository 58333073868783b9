/** SQL for the eye: tinted, and cut where it is long. */

export type Kind = 'keyword' | 'string' | 'number' | 'comment' | 'text';

export interface Token {
  kind: Kind;
  text: string;
}

const KEYWORDS = new Set(
  `AND AS ASC BEGIN BETWEEN BY CASE COMMIT CONCAT DELETE DESC ELSE END FROM IN INSERT INTO IS LIKE
   LIMIT NOT NULL ON OR ORDER REPLACE ROLLBACK SELECT SET START THEN TRANSACTION UPDATE VALUES WHEN
   WHERE`.split(/\s+/),
);

const TOKEN =
  /(?<comment>\/\*[^]*?\*\/|-- .*)|(?<string>'(?:[^'\\]|''|\\[^])*'?)|(?<number>\b\d+(?:\.\d+)?\b)|(?<word>[A-Za-z_]\w*)|[^]/g;

/** Splits a statement for tinting; the texts put together are the statement. */
export function tokenize(sql: string): Token[] {
  const tokens: Token[] = [];
  for (const match of sql.matchAll(TOKEN)) {
    const token = { kind: kindOf(match), text: match[0] };
    const last = tokens.at(-1);
    if (last?.kind === 'text' && token.kind === 'text') last.text += token.text;
    else tokens.push(token);
  }
  return tokens;
}

function kindOf({ groups }: RegExpMatchArray): Kind {
  if (groups?.['comment'] !== undefined) return 'comment';
  if (groups?.['string'] !== undefined) return 'string';
  if (groups?.['number'] !== undefined) return 'number';
  return KEYWORDS.has(groups?.['word']?.toUpperCase() ?? '') ? 'keyword' : 'text';
}

/** Cuts a long list of VALUES after a whole row, and says how many rows are not shown. */
export function elide(sql: string, rows: number, max = 320): string {
  if (sql.length <= max) return sql;
  const cut = sql.lastIndexOf('),', max);
  if (cut < 0) return `${sql.slice(0, max)} /* … */`;
  const shown = sql.slice(0, cut + 2);
  const inserted = (shown.match(/\),/g) ?? []).length;
  return `${shown} /* … ${(rows - inserted).toLocaleString('en')} more rows */`;
}
