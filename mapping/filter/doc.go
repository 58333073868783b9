// Package filter is the language of conditions and computed columns: the
// grammar of github.com/expr-lang/expr, of which a part is allowed, evaluated
// in SQL's three-valued logic over a row's columns. It also reads single
// columns as values and masks them. See DESIGN.md.
package filter
