package binlog_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
)

const typesHead = `# Types

What each column type of MySQL and MariaDB becomes in a harmonic's ` + "`data`" + `: by default, and under the casts that fit it (` + "`[tables.….casts]`" + `). Written by ` + "`go test ./binlog -run '^TestTypes$' -update`" + `, which reads every sample from the binary log and by a SELECT, on MySQL 9.7 and MariaDB 10.11 and 11.8, and holds the two against each other.

- **Names** are those of Eloquent's casts. Its other names mean the same: ` + "`bool`, `int`, `double`, `real`, `array`, `object`, `collection`, `immutable_datetime`; `date` on a DATE; `decimal:2` where 2 is the column's scale" + `.
- **Zero and partial dates** (` + "`0000-00-00`, `2026-11-00`" + `) and days that no calendar has (` + "`2026-02-31`, under ALLOW_INVALID_DATES" + `) are null as ` + "`datetime` and `timestamp`" + `. As ` + "`string`" + `, which is a DATE's own form, they keep their text. So it is from the log, in a SELECT and in every zone. (Carbon would make -0001-11-30 of a zero date.)
- **DATETIME** is of the app's zone (` + "`mysql.timezone`" + `), here UTC; **TIMESTAMP** is an instant.
- **FLOAT and DOUBLE** are the shortest numbers that read back as the same, spelled as PHP's json_encode does.
- **JSON** on MySQL is the server's own text without white space: its order of keys, its spelling of numbers. On MariaDB it is a text like others: a string, or the document under the cast ` + "`json`" + `, as it was written.
- **Text** in any character set of the servers becomes UTF-8. What has no character in Unicode, or is no character of the set, becomes U+FFFD. (The server itself would show ` + "`?`" + `.)
- **Geometries** are GeoJSON with the order of axes that ST_AsGeoJSON gives on that server: on MySQL longitude first, on MariaDB as it was written. The cast ` + "`wkt`" + ` has the same order. The reference system's id (SRID) is not in it.
- **UUID, INET4, INET6 and VECTOR on MariaDB** look like bytes in its log; the table's definition tells them apart. Where that is not known as of the time of the row, reading stops.
- Generated columns, stored and virtual, invisible ones and a hidden primary key (` + "`my_row_id`" + `) are columns like others. NULL is null, whatever the type.

| type | value | JSON | under casts | server |
|---|---|---|---|---|
`

// typesDoc writes docs/TYPES.md of what each sample became by each cast.
func typesDoc(forms map[string]map[binlog.Cast]string) string {
	var b strings.Builder
	b.WriteString(typesHead)
	for _, s := range typeSamples {
		own := forms[s.name()]
		var casts []string
		for _, cast := range everyCast {
			if form, ok := own[cast]; ok && cast != binlog.CastDefault && form != own[binlog.CastDefault] {
				casts = append(casts, string(cast)+": "+cell(form))
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(s.column), cell(s.value), cell(own[binlog.CastDefault]), strings.Join(casts, "<br>"), servers(s.on))
	}
	return b.String()
}

// cell is code in a table; what is long is cut.
func cell(text string) string {
	const most = 72
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	text = strings.ReplaceAll(text, "|", `\|`)
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}

func servers(on []services.Kind) string {
	switch {
	case on == nil:
		return "all"
	case slices.Equal(on, onMySQL):
		return "MySQL"
	case slices.Equal(on, onMariaDB):
		return "MariaDB"
	default:
		return "MySQL, MariaDB 11.8"
	}
}
