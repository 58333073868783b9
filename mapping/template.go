package mapping

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// privatePrefix makes a Pusher channel one that the app must authorise.
const privatePrefix = "private-"

// A part of a template is literal text, or the value of a column or of what
// stands for one, such as tenantColumn.
type part struct {
	literal string
	column  string
}

// tenantColumn stands for the tenant, which is in the database's name.
const tenantColumn = "@tenant"

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// channelText is what may stand in a channel's name:
// https://pusher.com/docs/channels/using_channels/channels/#channel-naming-conventions
var channelText = regexp.MustCompile(`^[A-Za-z0-9_\-=@,.;]*$`)

// parseTemplate cuts "chorus.platform.{platform_id}" into its parts.
func parseTemplate(s string) ([]part, error) {
	var parts []part
	literal := func(text string) error {
		if !channelText.MatchString(text) {
			return fmt.Errorf("%q may not stand in a channel's name: use letters, digits and _-=@,.;", text)
		}
		if text != "" {
			parts = append(parts, part{literal: text})
		}
		return nil
	}
	at := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(s, -1) {
		if err := literal(s[at:m[0]]); err != nil {
			return nil, err
		}
		column := s[m[2]:m[3]]
		if column == "" {
			return nil, fmt.Errorf("{} names no column")
		}
		parts = append(parts, part{column: column})
		at = m[1]
	}
	return parts, literal(s[at:])
}

// head is the literal text that every name of a template starts with.
func head(parts []part) string {
	if len(parts) > 0 {
		return parts[0].literal
	}
	return ""
}

// scope is one entry of visible_to.
type scope struct {
	entry string // as it was written
	user  bool   // a user's own channel; otherwise one that Laravel authorises
	parts []part
}

// parseScope reads an entry of visible_to. userChannel is the template of a
// user's channel, in which {id} is the user's key.
func parseScope(entry, userChannel string) (scope, error) {
	kind, rest, found := strings.Cut(entry, ":")
	if !found {
		return scope{}, fmt.Errorf("%q is neither \"user:{column}\" nor \"channel:name.{column}\"", entry)
	}
	parts, err := parseTemplate(rest)
	if err != nil {
		return scope{}, fmt.Errorf("%q: %w", entry, err)
	}
	user, err := parseUserChannel(userChannel)
	if err != nil {
		return scope{}, err
	}
	s := scope{entry: entry, parts: parts}
	switch kind {
	case "user":
		if len(parts) != 1 || parts[0].column == "" || parts[0].column == tenantColumn {
			return scope{}, fmt.Errorf("%q must be \"user:\" and one column in braces, like \"user:{user_id}\"", entry)
		}
		s.user = true
		s.parts = nil
		for _, p := range user {
			if p.column == "id" {
				p.column = parts[0].column
			}
			s.parts = append(s.parts, p)
		}
	case "channel":
		if len(parts) == 0 {
			return scope{}, fmt.Errorf("%q names no channel", entry)
		}
		if mayMeet(parts, user) {
			return scope{}, fmt.Errorf("%q can name a user's own channel: write \"user:{column}\", or start it with other text", entry)
		}
	default:
		return scope{}, fmt.Errorf("%q: %q is neither \"user\" nor \"channel\"", entry, kind)
	}
	return s, nil
}

// mayMeet says whether two templates can make the same name. Values hold no
// dots, so the names are compared from dot to dot.
func mayMeet(a, b []part) bool {
	as, bs := segments(a), segments(b)
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		if as[i] != bs[i] && !strings.Contains(as[i]+bs[i], "{") {
			return false
		}
	}
	return true
}

// segments are the texts between dots, with a brace for each value.
func segments(parts []part) []string {
	var b strings.Builder
	for _, p := range parts {
		switch p.column {
		case "":
			b.WriteString(p.literal)
		case tenantColumn:
			b.WriteString(tenantMark)
		default:
			b.WriteByte('{')
		}
	}
	return strings.Split(b.String(), ".")
}

// tenantMark is the tenant in a segment.
const tenantMark = "{" + tenantColumn

// parseUserChannel reads the template of users' channels.
func parseUserChannel(s string) ([]part, error) {
	parts, err := parseTemplate(s)
	if err != nil {
		return nil, fmt.Errorf("user channel %q: %w", s, err)
	}
	ids := 0
	for _, p := range parts {
		switch p.column {
		case "", tenantColumn:
		case "id":
			ids++
		default:
			return nil, fmt.Errorf("user channel %q: {%s} is not known, only {id} and {@tenant} are", s, p.column)
		}
	}
	if ids != 1 || head(parts) == "" {
		return nil, fmt.Errorf("user channel %q must be text and one {id}, like \"chorus.user.{id}\"", s)
	}
	return parts, nil
}

// compiledScope is a scope for one version of a table.
type compiledScope struct {
	user  bool
	parts []compiledPart
	// unnameable says that the tenant's name cannot stand in a channel's.
	unnameable bool
}

type compiledPart struct {
	literal string
	column  int // with an encoder
	value   *binlog.Encoder
}

// maxChannel is the longest name that Pusher takes.
const maxChannel = 164

// encryptedPrefix marks channels whose data the publisher must encrypt, for
// which chorusd has no key.
var encryptedPrefix = []byte("private-encrypted-")

// appendChannel writes the scope's channel for a row. ok is false if the row
// has none: a column is NULL. bad is set if its values cannot stand in a
// name: with a dot or a blank they could make up another channel's.
func (s *compiledScope) appendChannel(dst []byte, row *binlog.Row) (name []byte, ok, bad bool, err error) {
	if s.unnameable {
		return dst, false, true, nil
	}
	dst = append(dst, privatePrefix...)
	for i := range s.parts {
		p := &s.parts[i]
		if p.value == nil {
			dst = append(dst, p.literal...)
			continue
		}
		if row.Null(p.column) {
			return dst, false, false, nil
		}
		at := len(dst)
		if dst, err = p.value.Append(dst, row); err != nil {
			return dst, false, false, err
		}
		value := dst[at:]
		if value[0] == '"' { // JSON text: take the quotes off
			copy(value, value[1:len(value)-1])
			dst = dst[:len(dst)-2]
			value = dst[at:]
		}
		if !plain(value) {
			return dst, false, true, nil
		}
	}
	if len(dst) > maxChannel || bytes.HasPrefix(dst, encryptedPrefix) {
		return dst, false, true, nil
	}
	return dst, true, false, nil
}

// plain says whether a value is letters, digits and _-=@,; only, and not empty.
func plain(value []byte) bool {
	for _, b := range value {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '_' || b == '-' || b == '=' || b == '@' || b == ',' || b == ';':
		default:
			return false
		}
	}
	return len(value) > 0
}
