package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// privatePrefix makes a Pusher channel one that the app must authorise, and
// encryptedPrefix one whose data the publisher encrypts besides.
const (
	privatePrefix   = "private-"
	encryptedPrefix = "private-encrypted-"
)

// A part of a template is literal text, or the value of what stands in braces:
// a column or path, or what stands for one, such as tenantColumn.
type part struct {
	literal string
	column  string
}

// tenantColumn stands for the tenant, which is in the database's name.
const tenantColumn = "@tenant"

// idColumn stands for the user's key in the template of users' channels.
const idColumn = "id"

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// channelText is what may stand in a channel's name:
// https://pusher.com/docs/channels/using_channels/channels/#channel-naming-conventions
var channelText = regexp.MustCompile(`^[A-Za-z0-9_\-=@,.;]*$`)

// A template makes the names of channels, without their prefix.
type template struct {
	entry string // of visible_to, that first asks for it
	user  bool   // of users' own channels; else of one that Laravel authorises
	parts []part
	names *regexp.Regexp // that it can make, with the prefix
}

// parseTemplate cuts "chorus.platform.{platform_id}" into its parts.
func parseTemplate(s string) ([]part, error) {
	if strings.HasPrefix(s, "encrypted-") {
		return nil, errors.New(`leave "encrypted-" out: with pusher.encryption_key it is put before every channel, and without it before none`)
	}
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
func parseUserChannel(s string, attributes []string) ([]part, error) {
	parts, err := parseTemplate(s)
	if err != nil {
		return nil, fmt.Errorf("user channel %q: %w", s, err)
	}
	ids := 0
	for _, p := range parts {
		switch {
		case p.column == "" || p.column == tenantColumn:
		case p.column == idColumn:
			ids++
		case !slices.Contains(attributes, p.column):
			return nil, fmt.Errorf("user channel %q: {%s} is not known: there are {id}, {@tenant} and the attributes of [users]", s, p.column)
		}
	}
	if ids != 1 || head(parts) == "" {
		return nil, fmt.Errorf("user channel %q must be text and one {id}, like \"chorus.user.{id}\"", s)
	}
	for _, segment := range segments(parts) {
		if strings.Count(segment, "{")-strings.Count(segment, tenantMark) > 1 {
			return nil, fmt.Errorf("user channel %q: where one value ends and the next begins cannot be told: put a dot between them", s)
		}
	}
	return parts, nil
}

// maxChannel is the longest name that Pusher takes.
const maxChannel = 164

// nameable says whether Pusher takes a name, and chorusd may send to it: to
// encrypted channels with a key only, and then to no others.
func (m *Mapper) nameable(name []byte) bool {
	return len(name) <= maxChannel && bytes.HasPrefix(name, []byte(encryptedPrefix)) == (m.prefix == encryptedPrefix)
}

// plain says whether a value is letters, digits and _-=@,; only, and not
// empty. With a dot or a blank it could make up another channel's name.
func plain[T string | []byte](value T) bool {
	for i := range len(value) {
		switch b := value[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '_' || b == '-' || b == '=' || b == '@' || b == ',' || b == ';':
		default:
			return false
		}
	}
	return len(value) > 0
}

// bare takes the quotes off a JSON text that is plain between them; other
// values stay as they are.
func bare[T string | []byte](json T) T {
	if n := len(json); n >= 2 && json[0] == '"' {
		return json[1 : n-1]
	}
	return json
}
