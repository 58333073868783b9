package binlog

import (
	"slices"
	"strings"
	"testing"
)

func TestReferencesOfStatements(t *testing.T) {
	for _, c := range []struct {
		text    string
		written string
		called  string
	}{
		{"INSERT INTO a VALUES (1)", "a", ""},
		{"INSERT LOW_PRIORITY IGNORE `s`.`a` (x) SELECT f(x) FROM b", "s.a", "f"},
		{"REPLACE a SET v = REPLACE(v, 'INSERT INTO b', INSERT('x', 1, 1, 'y'))", "a", ""},
		{"INSERT INTO a VALUES (1) ON DUPLICATE KEY UPDATE v = 1", "a", ""},
		{"WITH c AS (SELECT 1) UPDATE a, c SET v = 1", "a c", ""},
		{"UPDATE a SET v = (SELECT MAX(x) FROM b)", "a", "MAX"},
		{"UPDATE `a` AS x JOIN s.b y ON x.id = f(y.id, 2) LEFT JOIN (SELECT id, v FROM c) d USING (id) SET x.v = 1", "a s.b", "f"},
		{"UPDATE (a, b FORCE INDEX (i)) NATURAL JOIN c PARTITION (p0, p1) SET a.v = 1", "a b c", ""},
		{"DELETE FROM a WHERE id IN (SELECT id FROM b)", "a", ""},
		{"DELETE QUICK x, b.* FROM a x, b WHERE x.id = b.id", "b a b", ""},
		{"DELETE FROM x USING a AS x INNER JOIN b ON x.id = b.id", "a b", ""},
		{"LOAD DATA INFILE 'INTO TABLE b' REPLACE INTO TABLE `s` . `a` (id) SET v = f(1)", "s.a", "f"},
		{"/* INSERT INTO c */ INSERT -- INTO d\n /*!50000 INTO */ # e\n a VALUES ('it''s \\' INSERT INTO b')", "a", ""},
		{"CALL s.p; SELECT 'x' FOR UPDATE", "", "s.p"},
		{"BEGIN IF NEW.x > 1 THEN UPDATE b SET v = 1; ELSE DELETE FROM c; END IF; INSERT INTO d SELECT * FROM e; END", "b c d", ""},
		{"CREATE OR REPLACE TABLE IF NOT EXISTS s.a (x INT) AS SELECT f(x) FROM b", "s.a", "f"},
		{"CREATE TABLE a (x INT) PARTITION BY RANGE (x) (PARTITION p VALUES LESS THAN (1))", "", ""},
		{"CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW INSERT INTO b SELECT 1", "", ""},
		{"CREATE TEMPORARY TABLE a SELECT 1", "", ""},
		{"SET STATEMENT binlog_format = 'STATEMENT' FOR UPDATE a SET v = 1", "a", ""},
		{"UPDATE 1st, 2e3x SET v = 1e5 + 2", "1st 2e3x", ""},
		{"insert into `we``ird` values (.5, 1e3, a.5)", "we`ird", ""},
	} {
		refs := referencesOf(c.text, sqlMode{})
		if got := chains(refs.written); got != c.written {
			t.Errorf("%s: written %q, want %q", c.text, got, c.written)
		}
		for want := range strings.FieldsSeq(c.called) {
			if !slices.Contains(strings.Fields(chains(refs.called)), want) {
				t.Errorf("%s: called %q, want %s among them", c.text, chains(refs.called), want)
			}
		}
	}
	for mode, want := range map[sqlMode]string{{}: "a", {ansiQuotes: true}: "x y", {plainBackslash: true}: "a b"} {
		text := map[sqlMode]string{
			{}: `INSERT INTO a VALUES ("\"; INSERT INTO b")`, {ansiQuotes: true}: `INSERT INTO "x" VALUES (1); DELETE FROM "y"`,
			{plainBackslash: true}: `INSERT INTO a VALUES ('\'); INSERT INTO b VALUES ('')`,
		}[mode]
		if got := chains(referencesOf(text, mode).written); got != want {
			t.Errorf("%s in %+v: written %q, want %q", text, mode, got, want)
		}
	}
}

func chains(list []chain) string {
	var out []string
	for _, c := range list {
		out = append(out, strings.Join(c, "."))
	}
	return strings.Join(out, " ")
}

func FuzzReferences(f *testing.F) {
	for _, s := range []string{"INSERT INTO a", "UPDATE a, (b) SET", "DELETE a.* FROM `b", "LOAD DATA '", "/*!1 \"x\".", "CALL p"} {
		f.Add(s, true, false)
	}
	f.Fuzz(func(t *testing.T, s string, ansi, plain bool) {
		refs := referencesOf(s, sqlMode{ansi, plain})
		for _, c := range slices.Concat(refs.written, refs.called) {
			if len(c) == 0 {
				t.Fatalf("%+v", refs)
			}
		}
	})
}
