package filter_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/chorusd/chorusd/mapping/filter"
)

// both is an expression and what is the same in SQL.
type both struct{ ours, sql string }

// maker makes expressions over the table of TestSameAsSQL at random. Integers
// stay so small that the servers can calculate with them, and decimals are
// calculated with as DOUBLE, since that is what they are here.
type maker struct{ *rand.Rand }

func pick[T any](m maker, of ...T) T { return of[m.IntN(len(of))] }

func (m maker) join(l both, op string, r both) both {
	return both{fmt.Sprintf("(%s %s %s)", l.ours, op, r.ours), fmt.Sprintf("(%s %s %s)", l.sql, op, r.sql)}
}

func (m maker) integer(depth int) both {
	if depth > 0 {
		switch m.IntN(6) {
		case 0:
			op := pick(m, "+", "-", "*")
			return m.join(m.integer(depth-1), op, m.integer(depth-1))
		case 1:
			a, b := m.integer(depth-1), m.integer(depth-1)
			return both{fmt.Sprintf("(%s %% %s)", a.ours, b.ours), fmt.Sprintf("MOD(%s, %s)", a.sql, b.sql)}
		case 2:
			return m.either(depth, m.integer)
		case 3:
			t := m.text(depth - 1)
			return both{fmt.Sprintf("len(%s)", t.ours), fmt.Sprintf("CHAR_LENGTH(%s)", t.sql)}
		}
	}
	switch m.IntN(4) {
	case 0:
		n := strconv.Itoa(m.IntN(12) - 3)
		return both{"(" + n + ")", "(" + n + ")"}
	case 1:
		return both{"user.level", "CAST(@level AS SIGNED)"}
	default:
		return pick(m, both{"k", "k"}, both{"j", "j"})
	}
}

func (m maker) float(depth int) both {
	if depth > 0 {
		switch m.IntN(4) {
		case 0:
			return m.join(m.number(depth-1), pick(m, "+", "-", "*", "/"), m.float(depth-1))
		case 1:
			return m.either(depth, m.float)
		}
	}
	if m.IntN(4) == 0 {
		n := strconv.FormatFloat(float64(m.IntN(40)-10)/4, 'f', 2, 64)
		return both{"(" + n + ")", "(" + n + "e0)"}
	}
	return pick(m, both{"d", "d"}, both{"f", "(f + 0e0)"}, both{"price", "(price + 0e0)"})
}

func (m maker) number(depth int) both {
	if m.IntN(2) == 0 {
		i := m.integer(depth)
		return both{i.ours, "(" + i.sql + " + 0e0)"}
	}
	return m.float(depth)
}

// exact are columns that are compared only.
func (m maker) exact() both {
	n := pick(m, "9223372036854775807", "9007199254740993", "-9223372036854775807", "0", "5")
	return pick(m, both{"big", "big"}, both{"huge", "huge"}, both{"digits", "digits"}, both{n, n})
}

func (m maker) text(depth int) both {
	if depth > 0 {
		switch m.IntN(5) {
		case 0:
			a, b := m.text(depth-1), m.text(depth-1)
			return both{fmt.Sprintf("(%s + %s)", a.ours, b.ours), fmt.Sprintf("CONCAT(%s, %s)", a.sql, b.sql)}
		case 1:
			name, a := pick(m, "lower", "upper", "trim"), m.text(depth-1)
			return both{fmt.Sprintf("%s(%s)", name, a.ours), fmt.Sprintf("%s(%s)", strings.ToUpper(name), a.sql)}
		case 2:
			return m.either(depth, m.text)
		}
	}
	switch m.IntN(3) {
	case 0:
		return m.word()
	case 1:
		return both{"user.role", "CONVERT(@role USING utf8mb4)"}
	default:
		return pick(m, both{"s", "s"}, both{"l", "CONVERT(l USING utf8mb4)"}, both{"e", "CONVERT(e USING utf8mb4)"})
	}
}

// words are alike to a collation that is not binary.
var words = []string{"", " ", "a", "A", "ä", "a ", " a", "ab", "AB", "Äb", "b", "x%", "é"}

func (m maker) word() both {
	w := pick(m, words...)
	return both{strconv.Quote(w), fmt.Sprintf("_utf8mb4'%s'", w)}
}

func (m maker) time(depth int) both {
	if depth > 0 && m.IntN(4) == 0 {
		return m.either(depth, m.time)
	}
	if m.IntN(4) == 0 {
		at := fmt.Sprintf("2026-01-0%d %02d:00:00", 1+m.IntN(3), m.IntN(2)*12)
		return both{fmt.Sprintf("date(%q)", at), "TIMESTAMP'" + at + "'"}
	}
	return pick(m, both{"dt", "dt"}, both{"ts", "ts"}, both{"day", "TIMESTAMP(day)"})
}

// either is one of two values by what they or a condition are.
func (m maker) either(depth int, of func(int) both) both {
	a, b := of(depth-1), of(depth-1)
	if m.IntN(2) == 0 {
		return both{fmt.Sprintf("(%s ?? %s)", a.ours, b.ours), fmt.Sprintf("COALESCE(%s, %s)", a.sql, b.sql)}
	}
	c := m.condition(depth - 1)
	return both{fmt.Sprintf("(%s ? %s : %s)", c.ours, a.ours, b.ours), fmt.Sprintf("IF(%s, %s, %s)", c.sql, a.sql, b.sql)}
}

func (m maker) condition(depth int) both {
	if depth > 0 {
		switch m.IntN(5) {
		case 0, 1:
			return m.join(m.condition(depth-1), pick(m, "and", "or"), m.condition(depth-1))
		case 2:
			c := m.condition(depth - 1)
			return both{"not " + c.ours, "(NOT " + c.sql + ")"}
		}
	}
	depth = max(0, depth-1)
	switch m.IntN(9) {
	case 0:
		return m.compared(m.number(depth), m.number(depth))
	case 1:
		return m.compared(m.integer(depth), m.integer(depth))
	case 2:
		return m.compared(m.exact(), m.exact())
	case 3:
		return m.compared(binary(m.text(depth)), binary(m.text(depth)))
	case 4:
		return m.compared(m.time(depth), m.time(depth))
	case 5:
		return m.part(m.text(depth), m.text(depth))
	case 6:
		return m.in(depth)
	case 7:
		of := pick(m, both{"k", "k"}, both{"s", "s"}, both{"dt", "dt"}, both{"j", "j"}, both{"meta", "meta"}, both{"user.role", "@role"}, both{"k / j", "(k + 0e0) / j"})
		op := pick(m, "==", "!=")
		return both{fmt.Sprintf("(%s %s nil)", of.ours, op), fmt.Sprintf("(%s IS %sNULL)", of.sql, map[string]string{"==": "", "!=": "NOT "}[op])}
	default:
		return pick(m, both{"active", "(active <> 0)"}, both{"(active == true)", "((active <> 0) = TRUE)"}, both{"(false != active)", "((active <> 0) <> FALSE)"})
	}
}

func binary(t both) both { return both{t.ours, "CAST(" + t.sql + " AS BINARY)"} }

func (m maker) compared(l, r both) both {
	op := pick(m, "==", "!=", "<", "<=", ">", ">=")
	c := m.join(l, op, r)
	if op == "==" {
		c.sql = fmt.Sprintf("(%s = %s)", l.sql, r.sql)
	}
	return c
}

func (m maker) part(of, part both) both {
	a, b := binary(of).sql, binary(part).sql
	op := pick(m, "startsWith", "endsWith", "contains")
	return both{fmt.Sprintf("(%s %s %s)", of.ours, op, part.ours), map[string]string{
		"startsWith": fmt.Sprintf("(LEFT(%s, LENGTH(%s)) = %[2]s)", a, b),
		"endsWith":   fmt.Sprintf("(RIGHT(%s, LENGTH(%s)) = %[2]s)", a, b),
		"contains":   fmt.Sprintf("(LOCATE(%s, %s) > 0)", b, a),
	}[op]}
}

func (m maker) in(depth int) both {
	of, element := binary(m.text(depth)), func() both { return binary(m.word()) }
	if m.IntN(2) == 0 {
		of, element = m.integer(depth), func() both {
			n := strconv.Itoa(m.IntN(20))
			return both{n, n}
		}
	}
	list := element()
	for range m.IntN(12) {
		e := element()
		list = both{list.ours + ", " + e.ours, list.sql + ", " + e.sql}
	}
	not := pick(m, "", "not ")
	return both{fmt.Sprintf("(%s %sin [%s])", of.ours, not, list.ours), fmt.Sprintf("(%s %sIN (%s))", of.sql, not, list.sql)}
}

// any is an expression whose value a SELECT shows.
func (m maker) any(depth int) both {
	return pick(m, m.condition, m.condition, m.condition, m.integer, m.float, m.text)(depth)
}

// row is one of TestSameAsSQL's table, as SQL literals.
func (m maker) row(id int) string {
	or := func(value string) string { return pick(m, value, value, value, "NULL") }
	return fmt.Sprintf("(%d, %s)", id, strings.Join([]string{
		or(strconv.Itoa(m.IntN(11) - 5)), or(strconv.Itoa(m.IntN(9) - 4)),
		or(pick(m, "-9223372036854775808", "9223372036854775807", "9007199254740993", "0", "5")),
		or(pick(m, "18446744073709551615", "9223372036854775808", "9223372036854775807", "5", "0")),
		or(pick(m, "999999999999999999", "-999999999999999999", "5", "0")),
		or(strconv.FormatFloat(m.NormFloat64()*10, 'g', -1, 64)), or(strconv.Itoa(m.IntN(7)) + ".25"), or(fmt.Sprintf("%.3f", m.NormFloat64()*10)),
		or(strconv.Itoa(m.IntN(3))),
		or("'" + pick(m, words...) + "'"), or("'" + pick(m, words...) + "'"), or(strconv.Itoa(1 + m.IntN(3))),
		or(fmt.Sprintf("'2026-01-0%d %02d:00:00.00000%d'", 1+m.IntN(3), m.IntN(2)*12, m.IntN(2))),
		or(fmt.Sprintf("'2026-01-0%d %02d:00:00.00%d'", 1+m.IntN(3), m.IntN(2)*12, m.IntN(2))), or(fmt.Sprintf("'2026-01-0%d'", 1+m.IntN(3))),
		or("'{}'"),
	}, ", "))
}

const randomTable = `CREATE TABLE a (id INT PRIMARY KEY, k SMALLINT, j BIGINT, big BIGINT, huge BIGINT UNSIGNED, digits DECIMAL(18),
	d DOUBLE, f FLOAT, price DECIMAL(12,3), active TINYINT,
	s VARCHAR(20) CHARACTER SET utf8mb4, l VARCHAR(20) CHARACTER SET latin1, e ENUM('a', 'A ', 'b') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
	dt DATETIME(6), ts TIMESTAMP(3) NULL, day DATE, meta JSON)`

// user is one of TestSameAsSQL, and the statement that tells SQL of it.
func (m maker) user() (*filter.User, string) {
	u, level, role := &filter.User{Attributes: make([]filter.Value, 2)}, "NULL", "NULL"
	if m.IntN(4) > 0 {
		n := m.IntN(9) - 4
		level, u.Attributes[0] = strconv.Itoa(n), filter.OfInt(int64(n))
	}
	if m.IntN(4) > 0 {
		w := pick(m, words...)
		role, u.Attributes[1] = "_utf8mb4'"+w+"'", filter.OfText(w)
	}
	return u, fmt.Sprintf("SET @level = %s, @role = %s", level, role)
}
