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

// inSQL are the tokens at which SQL is no expression of the library's, and
// what to write instead.
var inSQL = map[string]string{
	"=":    "write == to compare",
	">":    "write != for <>",
	"AND":  "write and, in small letters",
	"OR":   "write or, in small letters",
	"IN":   "write in [1, 2, 3], in small letters",
	"IS":   "write == nil or != nil",
	"LIKE": "write startsWith, endsWith or contains",
}

// ofLibrary makes an error of one of the parser or the checker.
func (c *compiler) ofLibrary(err error) error {
	if e, ok := errors.AsType[*file.Error](err); ok {
		problem := e.Message
		for token, mend := range inSQL {
			if strings.Contains(strings.ToUpper(problem), `("`+token+`")`) {
				problem += ": " + mend
			}
		}
		return &Error{Text: c.text, At: e.From + 1, Problem: problem}
	}
	return &Error{Text: c.text, At: 1, Problem: err.Error()}
}
