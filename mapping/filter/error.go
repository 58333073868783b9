package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// An Error says what is wrong with an expression, and where.
type Error struct {
	// Text is the expression, At the character in it, from 1.
	Text    string
	At      int
	Problem string
}

// shownText is how many characters of an expression an error shows.
const shownText = 40

func (e *Error) Error() string {
	rest := []rune(e.Text)[min(e.At-1, utf8.RuneCountInString(e.Text)):]
	if len(rest) == 0 {
		return fmt.Sprintf("%s, at the end", e.Problem)
	}
	shown := string(rest)
	if len(rest) > shownText {
		shown = string(rest[:shownText]) + "…"
	}
	return fmt.Sprintf("%s, at character %d: %s", e.Problem, e.At, strings.Join(strings.Fields(shown), " "))
}

// wrong makes an error about a part of the expression.
func (c *compiler) wrong(n ast.Node, format string, args ...any) error {
	return &Error{Text: c.text, At: n.Location().From + 1, Problem: fmt.Sprintf(format, args...)}
}

// ofLibrary makes an error of one of the parser or the checker.
func (c *compiler) ofLibrary(err error) error {
	if e, ok := errors.AsType[*file.Error](err); ok {
		return &Error{Text: c.text, At: e.From + 1, Problem: e.Message}
	}
	return &Error{Text: c.text, At: 1, Problem: err.Error()}
}
