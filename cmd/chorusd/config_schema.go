package main

import (
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chorusd/chorusd/mapping"
)

// configKey is one setting of Config, outside of the rules: a scalar, or a list
// of texts.
type configKey struct {
	// name is the path in the file, such as "mysql.addr".
	name string
	typ  reflect.Type
	// def is the default, of the type typ.
	def any
}

var durationType = reflect.TypeFor[time.Duration]()

// secret tells whether the key's text hides itself from logs.
func (k configKey) secret() bool {
	return k.typ.Kind() == reflect.String && k.typ.Implements(reflect.TypeFor[slog.LogValuer]())
}

// variable is the name of the environment variable that sets the key.
func (k configKey) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// example is a line that sets the key in its section.
func (k configKey) example() string {
	_, last := splitKey(k.name)
	switch s := reflect.ValueOf(k.def); {
	case s.Kind() == reflect.String && s.Len() == 0:
		return last + ` = "…"`
	case s.Kind() == reflect.Slice:
		return last + ` = ["…"]`
	}
	return last + " = " + tomlValue(k.def)
}

// configKeys lists the settings in the order of Config's fields.
func configKeys() []configKey { return walkConfig(defaultConfig()) }

// walkConfig lists the settings, with the values of cfg for defaults.
func walkConfig(cfg Config) []configKey {
	var keys []configKey
	var walk func(section reflect.Value, prefix string)
	walk = func(section reflect.Value, prefix string) {
		for i := range section.NumField() {
			field := section.Type().Field(i)
			tag, ok := field.Tag.Lookup("koanf")
			switch {
			case !ok || field.Type.Kind() == reflect.Map:
			case tag == ",squash":
				walk(section.Field(i), prefix)
			case field.Type.Kind() == reflect.Struct:
				walk(section.Field(i), prefix+tag+".")
			default:
				keys = append(keys, configKey{
					name: prefix + tag,
					typ:  field.Type,
					def:  section.Field(i).Interface(),
				})
			}
		}
	}
	walk(reflect.ValueOf(cfg), "")
	return keys
}

// splitKey parts a key into its section, empty at the top, and its last segment.
func splitKey(key string) (section, last string) {
	section = parentKey(key)
	return section, strings.TrimPrefix(key[len(section):], ".")
}

// joinKey makes a key of its segments, quoting them as TOML would have them.
func joinKey(segments ...string) string {
	quoted := make([]string, len(segments))
	for i, segment := range segments {
		quoted[i] = segment
		if segment == "" || strings.ContainsFunc(segment, notBare) {
			quoted[i] = strconv.Quote(segment)
		}
	}
	return strings.Join(quoted, ".")
}

// notBare tells whether a TOML key with r in it has to be quoted.
func notBare(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	digit := '0' <= r && r <= '9'
	return !letter && !digit && r != '_' && r != '-'
}

// fromTOML takes a decoded TOML value for the type typ of the named key. It
// converts nothing but durations and the width of integers, so that a value
// which means something else than its author thought is refused, not bent. The
// error says what is wrong, without repeating a value that may be a secret.
func fromTOML(key string, raw any, typ reflect.Type) (any, error) {
	misfit := fmt.Errorf("%s is %s where %s belongs", key, describe(raw), describeType(typ))
	switch {
	case typ == durationType:
		text, ok := raw.(string)
		if !ok {
			return nil, misfit
		}
		return fromText(key, text, typ)
	case typ == reflect.TypeFor[mapping.Alternative]():
		if _, ok := raw.([]any); !ok {
			entry, err := fromTOML(key, raw, reflect.TypeFor[string]())
			if err != nil {
				return nil, err
			}
			return mapping.Alternative{entry.(string)}, nil
		}
		entries, err := fromTOML(key, raw, reflect.TypeFor[[]string]())
		if err != nil {
			return nil, err
		}
		return mapping.Alternative(entries.([]string)), nil
	case typ.Kind() == reflect.Slice:
		list, ok := raw.([]any)
		if !ok {
			return nil, misfit
		}
		out := reflect.MakeSlice(typ, len(list), len(list))
		for i, element := range list {
			v, err := fromTOML(fmt.Sprintf("%s[%d]", key, i), element, typ.Elem())
			if err != nil {
				return nil, err
			}
			out.Index(i).Set(reflect.ValueOf(v))
		}
		return out.Interface(), nil
	case typ.Kind() == reflect.Map:
		section, ok := raw.(map[string]any)
		if !ok {
			return nil, misfit
		}
		out := reflect.MakeMap(typ)
		for _, name := range sortedKeys(section) {
			v, err := fromTOML(key+"."+joinKey(name), section[name], typ.Elem())
			if err != nil {
				return nil, err
			}
			out.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(v))
		}
		return out.Interface(), nil
	}

	value := reflect.ValueOf(raw)
	out := reflect.New(typ).Elem()
	switch {
	case typ.Kind() == reflect.String && value.Kind() == reflect.String,
		typ.Kind() == reflect.Bool && value.Kind() == reflect.Bool:
		out.Set(value.Convert(typ))
	case out.CanInt() && value.CanInt():
		if out.OverflowInt(value.Int()) {
			return nil, outOfRange(key, typ)
		}
		out.SetInt(value.Int())
	case out.CanFloat() && value.CanFloat():
		out.SetFloat(value.Float())
	case out.CanFloat() && value.CanInt():
		out.SetFloat(float64(value.Int()))
	case out.CanUint() && value.CanInt():
		if value.Int() < 0 || out.OverflowUint(uint64(value.Int())) {
			return nil, outOfRange(key, typ)
		}
		out.SetUint(uint64(value.Int()))
	default:
		return nil, misfit
	}
	return out.Interface(), nil
}

// fromText reads the text of a variable or a flag as a scalar of the type typ,
// or as a list of texts with commas between them.
func fromText(key, text string, typ reflect.Type) (any, error) {
	misfit := fmt.Errorf("%s is %q, not %s", key, text, describeType(typ))
	out := reflect.New(typ).Elem()
	switch {
	case typ == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, misfit
		}
		return d, nil
	case typ == reflect.TypeFor[[]string]():
		var list []string
		for entry := range strings.SplitSeq(text, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				list = append(list, entry)
			}
		}
		return list, nil
	case typ.Kind() == reflect.String:
		out.SetString(text)
	case typ.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, misfit
		}
		out.SetBool(b)
	case out.CanFloat():
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, misfit
		}
		out.SetFloat(f)
	case out.CanInt(), out.CanUint():
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, misfit
		}
		return fromTOML(key, n, typ)
	default:
		return nil, misfit
	}
	return out.Interface(), nil
}

func outOfRange(key string, typ reflect.Type) error {
	if typ.Kind() == reflect.Uint32 {
		return fmt.Errorf("%s is outside of 0 to %d", key, uint32(math.MaxUint32))
	}
	return fmt.Errorf("%s is too large or too small for an %s", key, typ.Kind())
}

// describe names the TOML type of a decoded value.
func describe(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64:
		return "a whole number"
	case float64:
		return "a fraction"
	case []any:
		return "a list"
	case map[string]any:
		return "a section"
	default:
		return "a date or time"
	}
}

// describeType names the TOML type that a field wants.
func describeType(typ reflect.Type) string {
	switch {
	case typ == durationType:
		return `a duration such as "5s" or "250ms"`
	case typ.Kind() == reflect.String:
		return "a string"
	case typ.Kind() == reflect.Bool:
		return "true or false"
	case typ.Kind() == reflect.Float64:
		return "a number"
	case typ.Kind() == reflect.Slice:
		return "a list"
	case typ.Kind() == reflect.Map:
		return "a section"
	default:
		return "a whole number"
	}
}

// tomlValue writes a setting's value as TOML.
func tomlValue(value any) string {
	switch v := reflect.ValueOf(value); {
	case v.Type() == durationType:
		return strconv.Quote(shortDuration(value.(time.Duration)))
	case v.Kind() == reflect.String:
		return strconv.Quote(v.String())
	case v.Kind() == reflect.Slice:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = tomlValue(v.Index(i).Interface())
		}
		return "[" + strings.Join(list, ", ") + "]"
	default:
		return fmt.Sprint(value)
	}
}

// shortDuration is d without the zero units that Duration.String ends in.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
