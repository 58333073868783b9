package main

import (
	"errors"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	gotoml "github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// parseTOML decodes a document and finds where each of its keys and sections
// first stands. On a syntax error only the problem is returned.
func parseTOML(path string, content []byte) (document map[string]any, positions origins, syntax *problem) {
	document, err := toml.Parser().Unmarshal(content)
	if err != nil {
		return nil, nil, syntaxProblem(path, content, err)
	}

	positions = origins{}
	var section string
	elements := map[string]int{} // of arrays of tables, so far
	eachExpression(content, func(p *unstable.Parser, node *unstable.Node) bool {
		switch node.Kind {
		case unstable.Table:
			section = locate(p, node.Key(), "", path, positions)
		case unstable.ArrayTable:
			key := locate(p, node.Key(), "", path, positions)
			section = indexed(key, elements[key])
			elements[key]++
			positions[section] = origin{source: sourceFile, name: path, line: lineOf(p, node.Key())}
		case unstable.KeyValue:
			locateValue(p, node, section, path, positions)
		}
		return true
	})
	return document, positions, nil
}

// locateValue records where a key stands, and those of an inline table in it.
func locateValue(p *unstable.Parser, node *unstable.Node, section, path string, positions origins) {
	key := locate(p, node.Key(), section, path, positions)
	if node.Value().Kind != unstable.InlineTable {
		return
	}
	for it := node.Value().Children(); it.Next(); {
		locateValue(p, it.Node(), key, path, positions)
	}
}

// locate records the position of each part of a dotted key that is new, and
// returns the whole path.
func locate(p *unstable.Parser, parts unstable.Iterator, section, path string, positions origins) string {
	key := section
	for parts.Next() {
		node := parts.Node()
		name := joinKey(string(node.Data))
		if key != "" {
			name = key + "." + name
		}
		key = name
		if !positions.has(key) {
			positions[key] = origin{source: sourceFile, name: path, line: p.Shape(node.Raw).Start.Line}
		}
	}
	return key
}

// lineOf is the line that a dotted key begins in.
func lineOf(p *unstable.Parser, parts unstable.Iterator) int {
	parts.Next()
	return p.Shape(parts.Node().Raw).Start.Line
}

// eachExpression parses a document expression by expression, until it ends,
// cannot be parsed, or visit returns false.
func eachExpression(content []byte, visit func(*unstable.Parser, *unstable.Node) bool) {
	var p unstable.Parser
	p.Reset(content)
	for p.NextExpression() {
		if !visit(&p, p.Expression()) {
			return
		}
	}
}

func syntaxProblem(path string, content []byte, err error) *problem {
	at := origin{source: sourceFile, name: path}
	mend := "texts stand in quotes, lists in brackets, and the file is UTF-8"
	if decode, ok := errors.AsType[*gotoml.DecodeError](err); ok {
		at.line, at.column = decode.Position()
	} else {
		at.line = firstBadLine(content)
		mend = "it stands further up already, keep one of the two"
	}
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "toml: "), "\n", " ")
	return &problem{at: at, text: "not valid TOML: " + text + "; " + mend}
}

// firstBadLine finds the expression that go-toml objects to without telling
// its position, as it does on a key that is defined twice: it is the last one
// of the shortest start of the document that has the error.
func firstBadLine(content []byte) int {
	line := 0
	eachExpression(content, func(p *unstable.Parser, node *unstable.Node) bool {
		parts := node.Key()
		parts.Next()
		start := p.Shape(parts.Node().Raw).Start
		before := content[:start.Offset-(start.Column-1)]
		var ignored map[string]any
		if gotoml.Unmarshal(before, &ignored) != nil {
			return false
		}
		line = start.Line
		return true
	})
	return line
}
