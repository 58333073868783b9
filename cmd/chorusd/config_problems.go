package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// problems lists all that is wrong with a configuration. As an error it has
// one line per problem, sorted by where it is.
type problems []problem

// problem is one thing that keeps chorusd from starting: where it was written,
// what is wrong, and what mends it.
type problem struct {
	at   origin
	text string
}

func (p problem) String() string { return p.at.String() + ": " + p.text }

// add reports that what is set at the origin is wrong; the text says what is
// wrong and, after a semicolon, what mends it.
func (ps *problems) add(at origin, format string, args ...any) {
	*ps = append(*ps, problem{at: at, text: fmt.Sprintf(format, args...)})
}

// err is nil where there are no problems.
func (ps *problems) err() error {
	if len(*ps) == 0 {
		return nil
	}
	return *ps
}

// lines has one line per problem, sorted by where it is.
func (ps problems) lines() []string {
	slices.SortFunc(ps, func(a, b problem) int {
		return cmp.Or(a.at.compare(b.at), strings.Compare(a.text, b.text))
	})
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return lines
}

func (ps problems) Error() string { return strings.Join(ps.lines(), "\n") }

// source is the kind of place that a value comes from, in the order in which
// problems are listed.
type source int

const (
	sourceFile source = iota
	sourceEnvironment
	sourceFlag
	sourceServer
)

// origin is the place that a value comes from.
type origin struct {
	source source
	// name is the file's path, the variable, the flag with its dashes, or the
	// server as a person would name it.
	name string
	// line and column count from 1; 0: unknown.
	line, column int
}

func (o origin) String() string {
	switch {
	case o.line == 0:
		return o.name
	case o.column == 0:
		return fmt.Sprintf("%s:%d", o.name, o.line)
	default:
		return fmt.Sprintf("%s:%d:%d", o.name, o.line, o.column)
	}
}

// compare puts what has a line before what concerns the file as a whole.
func (o origin) compare(other origin) int {
	line := func(o origin) int {
		if o.line == 0 {
			return math.MaxInt
		}
		return o.line
	}
	return cmp.Or(
		cmp.Compare(o.source, other.source),
		strings.Compare(o.name, other.name),
		cmp.Compare(line(o), line(other)),
	)
}

// origins knows where each key, and each section of the file, was set. The
// empty key is the file itself.
type origins map[string]origin

// has tells whether key itself was set somewhere.
func (o origins) has(key string) bool {
	_, ok := o[key]
	return ok
}

// at is the origin of key, or of the nearest section around it.
func (o origins) at(key string) origin {
	for {
		if at, ok := o[key]; ok {
			return at
		}
		key = parentKey(key)
	}
}

// parentKey cuts the last segment of a key; of a single segment it leaves the
// empty key.
func parentKey(key string) string {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i]
	}
	return ""
}

// nearest finds the candidate that name is most likely a misspelling of: at
// most a third of its letters differ, or one is the start of the other.
func nearest(name string, candidates []string) (string, bool) {
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, candidate := range candidates {
		distance := editDistance(name, candidate)
		if shorter := min(len(name), len(candidate)); shorter >= 3 && name[:shorter] == candidate[:shorter] {
			distance = min(distance, 1)
		}
		if distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	return best, best != ""
}

// editDistance counts the bytes to insert, delete, replace or swap with their
// neighbour between a and b (optimal string alignment).
func editDistance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			d[i][j] = min(replace, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
